#include "migrate.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/result.h"
#include "migrate_flags.h"

namespace ramjet {
namespace {

using migrate::Fate;
using migrate::Flag;

constexpr std::string_view kEngineFile = "/rank0.engine";

/// Of letters of either case, in lower case.
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// "--tp-size" and "--tp_size" are the same flag; short forms are spelt out.
std::string key_of(std::string_view flag) {
  if (flag == "-tp") return "tensor_parallel_size";
  if (flag == "-pp") return "pipeline_parallel_size";
  if (flag == "-dp") return "data_parallel_size";
  if (flag == "-q") return "quantization";
  if (flag == "-m") return "model";
  if (flag == "-w") return "workspace";
  std::string key(flag);
  key.erase(0, key.find_first_not_of('-'));
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), text) != names.end();
}

/// 4096, 4k (4000), 4K (4096); "auto" and -1 are the model's own.
Result<std::string> length_value(const std::string& text) {
  if (text == "auto" || text == "-1") return std::string("0");
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const double factor = unit == "k"   ? 1e3
                        : unit == "K" ? 1024
                        : unit == "m" ? 1e6
                        : unit == "M" ? 1048576
                                      : 1;
  const bool known = unit.empty() || factor != 1;
  if (error != std::errc() || !known || number < 0 || number * factor > 2e9) {
    return invalid_argument("'{}' is not a number of tokens (4096, 4k, 4K)", text);
  }
  return std::to_string(static_cast<int64_t>(number * factor));
}

/// One command line on its way.
class Line {
 public:
  /// With `own`, its flags and what is not known stay as they are.
  explicit Line(std::span<const Flag> flags, OwnFlag own = {})
      : flags_(flags), own_(std::move(own)), keeps_unknown_(own_ != nullptr) {}

  Status read(std::span<const std::string> arguments);
  Result<Translation> finish(std::vector<std::string> command);

  std::vector<std::string> positionals;
  std::string model;
  std::string engine_dir;

 private:
  Status apply(const Flag& flag, const std::string& shown, std::optional<std::string> value);
  Status convert(const Flag& flag, const std::string& shown, std::string value);
  Result<std::string> dtype_value(const std::string& shown, const std::string& value);
  Result<std::string> kv_dtype_value(const std::string& value);
  Result<std::string> quantize_value(const std::string& shown, const std::string& value);
  void note(const std::string& shown, std::string_view text) {
    notes_.push_back(shown + ": " + std::string(text));
  }

  const std::span<const Flag> flags_;
  const OwnFlag own_;
  const bool keeps_unknown_;
  std::vector<std::string> out_;
  std::vector<std::string> notes_;
  int64_t input_len_ = 0, output_len_ = 0;
  bool has_seq_len_ = false;
};

Result<std::string> Line::dtype_value(const std::string& shown, const std::string& value) {
  const std::string name = lower(value);
  if (is_one_of(name, {"float16", "half", "fp16", "f16"})) {
    note(shown, value + " runs as bf16 (f32 for exactness)");
    return std::string("bf16");
  }
  if (is_one_of(name, {"bfloat16", "bf16"})) return std::string("bf16");
  if (is_one_of(name, {"float32", "float", "fp32", "f32"})) return std::string("f32");
  return name;
}

Result<std::string> Line::kv_dtype_value(const std::string& value) {
  const std::string name = lower(value);
  if (is_one_of(name, {"auto", "fp8", "bf16", "f32"})) return name;
  if (name == "fp8_e4m3") return std::string("fp8");
  if (name == "bfloat16") return std::string("bf16");
  if (name == "float32") return std::string("f32");
  return unsupported("the cache is not kept as {}; there are auto, bf16, f32 and fp8 (e4m3)",
                     value);
}

Result<std::string> Line::quantize_value(const std::string& shown, const std::string& value) {
  const std::string name = lower(value);
  if (is_one_of(name, {"fp8", "none", "int8", "auto"})) return name;
  if (is_one_of(name, {"compressed_tensors", "compressed-tensors", "modelopt", "gguf"})) {
    note(shown, "told from the checkpoint itself");
    return std::string("auto");
  }
  return unsupported(
      "there is no {}; weights are quantized to int8 or fp8, or taken as the checkpoint has them "
      "(auto)",
      value);
}

Status Line::convert(const Flag& flag, const std::string& shown, std::string value) {
  Result<std::string> converted = value;
  if (flag.target == "--dtype") converted = dtype_value(shown, value);
  if (flag.target == "--kv-dtype") converted = kv_dtype_value(value);
  if (flag.target == "--quantize") converted = quantize_value(shown, value);
  if (flag.target == "--max-seq-len") converted = length_value(value);
  if (!converted.ok()) return converted.error().with_context(shown);
  if (flag.target == "--max-seq-len") has_seq_len_ = true;
  if (!flag.note.empty()) note(shown, std::string(flag.target) + ": " + std::string(flag.note));
  out_.emplace_back(flag.target);
  out_.push_back(std::move(*converted));
  return ok_status();
}

Status Line::apply(const Flag& flag, const std::string& shown, std::optional<std::string> value) {
  const bool takes = flag.fate != Fate::kSwitch && flag.fate != Fate::kIdleFlag &&
                     flag.fate != Fate::kRefusedFlag && flag.fate != Fate::kIdle;
  if (takes && !value) return invalid_argument("{}: a value is expected", shown);
  switch (flag.fate) {
    case Fate::kTo: return convert(flag, shown, *value);
    case Fate::kSwitch: out_.emplace_back(flag.target); return ok_status();
    case Fate::kModel:
      // trtllm-bench: the folder says more than the name.
      if (model.empty() || flag.name == "model_path") model = *value;
      return ok_status();
    case Fate::kEngine: engine_dir = *value; return ok_status();
    case Fate::kInputLen:
    case Fate::kOutputLen: {
      const Result<std::string> length = length_value(*value);
      if (!length.ok()) return length.error().with_context(shown);
      (flag.fate == Fate::kInputLen ? input_len_ : output_len_) = std::stoll(*length);
      return ok_status();
    }
    case Fate::kIdle:
    case Fate::kIdleFlag: note(shown, "not needed: " + std::string(flag.note)); return ok_status();
    case Fate::kOne:
      if (is_one_of(*value, {"0", "1"})) return ok_status();
      return unsupported("{} {}: {}", shown, *value, flag.note);
    case Fate::kRefused:
    case Fate::kRefusedFlag: return unsupported("{}: not supported: {}", shown, flag.note);
  }
  return ok_status();
}

Status Line::read(std::span<const std::string> arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.size() < 2 || argument[0] != '-') {
      (keeps_unknown_ ? out_ : positionals).push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string shown = argument.substr(0, equals);
    const std::string key = key_of(shown);
    const auto flag =
        std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) { return f.name == key; });
    // What is spelt alike is converted; what else is our own is meant.
    const bool known = flag != flags_.end() && (!own_ || flag->target == shown || !own_(shown));
    if (!known && (keeps_unknown_ || argument == "--help" || argument == "-h")) {
      out_.push_back(argument);
      continue;
    }
    const bool bare = known && (flag->fate == Fate::kSwitch || flag->fate == Fate::kIdleFlag ||
                                flag->fate == Fate::kRefusedFlag);
    std::optional<std::string> value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (!bare && i + 1 < arguments.size() && !arguments[i + 1].starts_with("--")) {
      value = arguments[++i];
    }
    if (!known) {
      note(value ? shown + " " + *value : shown, "not known, left out");
      continue;
    }
    RETURN_IF_ERROR(apply(*flag, shown, std::move(value)));
  }
  return ok_status();
}

Result<Translation> Line::finish(std::vector<std::string> command) {
  if (!has_seq_len_ && input_len_ + output_len_ > 0) {
    if (input_len_ > 0 && output_len_ > 0) {
      out_.insert(out_.end(), {"--max-seq-len", std::to_string(input_len_ + output_len_)});
    } else {
      note(input_len_ > 0 ? "--max_input_len" : "--max_output_len",
           "not needed: prompt and output share --max_seq_len");
    }
  }
  if (!model.empty()) command.push_back(model);
  command.insert(command.end(), out_.begin(), out_.end());
  return Translation{std::move(command), std::move(notes_)};
}

Result<Translation> build_line(std::span<const std::string> arguments) {
  Line line(migrate::trtllm_build_flags());
  RETURN_IF_ERROR(line.read(arguments));
  if (line.engine_dir.empty()) line.engine_dir = "engine_outputs";
  for (const std::string& extra : line.positionals) line.model = extra;
  return line.finish({"build", "-o", line.engine_dir + std::string(kEngineFile)});
}

Result<Translation> serve_line(std::span<const std::string> arguments) {
  Line line(migrate::trtllm_serve_flags());
  RETURN_IF_ERROR(line.read(arguments));
  std::vector<std::string>& words = line.positionals;
  if (!words.empty() && is_one_of(words.front(), {"disaggregated", "disaggregated_mpi_worker",
                                                  "mm_embedding_serve"})) {
    return unsupported("trtllm-serve {}: not supported: prefill and decode run in one server",
                       words.front());
  }
  if (!words.empty() && words.front() == "serve") words.erase(words.begin());
  if (!words.empty()) line.model = words.front();
  return line.finish({"serve"});
}

Result<Translation> bench_line(std::span<const std::string> arguments) {
  Line line(migrate::trtllm_bench_flags());
  RETURN_IF_ERROR(line.read(arguments));
  const std::string what = line.positionals.empty() ? "" : line.positionals.front();
  if (what == "build") {
    const std::string folder = line.engine_dir.empty() ? "engine_outputs" : line.engine_dir;
    return line.finish({"build", "-o", folder + std::string(kEngineFile)});
  }
  if (what != "throughput" && what != "latency") {
    return invalid_argument("trtllm-bench: one of throughput, latency and build is expected");
  }
  if (!line.engine_dir.empty()) line.model = line.engine_dir + std::string(kEngineFile);
  return line.finish({"bench", what});
}

}  // namespace

std::string_view migrant_program(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return is_one_of(name, {"trtllm-serve", "trtllm-build", "trtllm-bench", "vllm"}) ? name : "";
}

Result<Translation> translate_migrant(std::string_view program,
                                      std::span<const std::string> arguments, OwnFlag own) {
  if (program == "trtllm-build") return build_line(arguments);
  if (program == "trtllm-bench") return bench_line(arguments);
  if (program == "trtllm-serve") return serve_line(arguments);
  if (arguments.empty() || arguments.front() != "serve") {
    return invalid_argument("called as vllm, only `vllm serve MODEL` is known");
  }
  return translate_serve(arguments.subspan(1), std::move(own));
}

Result<Translation> translate_serve(std::span<const std::string> arguments, OwnFlag own) {
  Line line(migrate::vllm_serve_flags(), std::move(own));
  RETURN_IF_ERROR(line.read(arguments));
  return line.finish({"serve"});
}

std::vector<std::string_view> migrant_flags() {
  std::vector<std::string_view> names;
  for (const auto flags : {migrate::trtllm_serve_flags(), migrate::trtllm_build_flags(),
                           migrate::trtllm_bench_flags(), migrate::vllm_serve_flags()}) {
    for (const Flag& flag : flags) names.push_back(flag.name);
  }
  return names;
}

}  // namespace ramjet

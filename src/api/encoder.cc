#include <ramjet/builder.h>
#include <ramjet/encoder.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "api/engine_impl.h"
#include "base/json.h"
#include "base/result.h"

namespace ramjet {
namespace {

enum class Head : uint8_t { kNone, kSequence, kToken };

/// What models::Model::encoder says.
struct EncoderFacts {
  int64_t width = 0, first_position = 0, token_types = 1;
  Head head = Head::kNone;
  Pooling pooling = Pooling::kMean;
  std::vector<std::string> labels;
};

Result<EncoderFacts> read_facts(const Engine& engine) {
  const std::string_view text = engine.asset("encoder");
  if (text.empty()) {
    return unsupported("{}: {} is no encoder; those of BERT, RoBERTa and DistilBERT are",
                       engine.path(), engine.model().architecture);
  }
  const auto corrupted = [&] { return corrupt("{}: bad encoder facts", engine.path()); };
  ASSIGN_OR_RETURN(const Json json, parse_json(text, 8));
  const auto number = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_number_integer() ? it->get<int64_t>() : int64_t{-1};
  };
  EncoderFacts facts;
  if (!json.is_object()) return corrupted();
  facts.width = number("width");
  facts.first_position = number("first_position");
  facts.token_types = number("token_types");
  const std::string head = json.value("head", "");
  facts.head = head == "token" ? Head::kToken : head == "sequence" ? Head::kSequence : Head::kNone;
  const std::string pooling = json.value("pooling", "mean");
  facts.pooling = pooling == "first"  ? Pooling::kFirst
                  : pooling == "last" ? Pooling::kLast
                                      : Pooling::kMean;
  const auto labels = json.find("labels");
  if (labels == json.end() || !labels->is_array()) return corrupted();
  for (const Json& label : *labels) {
    if (!label.is_string()) return corrupted();
    facts.labels.push_back(label.get<std::string>());
  }
  const bool good = facts.width > 0 && facts.first_position >= 0 && facts.token_types > 0;
  if (!good) return corrupted();
  return facts;
}

/// Each table holds all that check() lets through to it: an engine may be another's.
Status check_tables(const Engine& engine, const EncoderFacts& facts) {
  const engine::Manifest& manifest = engine.impl().file->manifest();
  const engine::Program& program = manifest.programs[0];
  for (const engine::LaunchRecord& record : program.records) {
    if (record.op != OpKind::kEmbedding) continue;
    const engine::TensorRef& ids = record.inputs[0];
    const bool given = ids.space == engine::Space::kInput;
    const std::string name = given ? program.inputs[static_cast<size_t>(ids.index)].name : "";
    const int64_t rows = record.inputs[1].type.dims[0].offset;
    int64_t wanted = -1;
    if (name == "token_ids") wanted = manifest.model.vocab_size;
    if (name == "positions") wanted = facts.first_position + manifest.model.max_seq_len;
    if (name == "token_types") wanted = facts.token_types;
    if (wanted >= 0 && rows >= wanted) continue;
    return corrupt("{}: step '{}' looks {} rows up in a table of {}", engine.path(), record.name,
                   wanted, rows);
  }
  return ok_status();
}

HostTensor int_tensor(const std::vector<int32_t>& values) {
  HostTensor tensor{DType::kI32, {std::ssize(values)}, {}};
  tensor.bytes.resize(values.size() * sizeof(int32_t));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

void scale_to_one(std::vector<float>& vector) {
  double squares = 0;
  for (const float x : vector) squares += double{x} * double{x};
  const double length = std::max(std::sqrt(squares), 1e-12);
  for (float& x : vector) x = static_cast<float>(x / length);
}

}  // namespace

struct Encoder::Impl {
  std::shared_ptr<const Engine> engine;  // shared with the caller and the context
  std::unique_ptr<Context> context;
  EncoderFacts facts;

  using Rows = std::vector<std::vector<float>>;

  Status check(std::span<const EncoderInput> inputs) const {
    const ModelInfo& model = engine->model();
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto& [ids, types] = inputs[i];
      const int64_t most = std::min(model.max_seq_len, engine->limits().max_num_tokens);
      if (ids.empty() || std::ssize(ids) > most) {
        return invalid_argument("input {} has {} tokens, it must be 1 to {}", i, ids.size(), most);
      }
      if (!types.empty() && types.size() != ids.size()) {
        return invalid_argument("input {} has {} tokens and {} token types", i, ids.size(),
                                types.size());
      }
      for (const int32_t id : ids) {
        if (id >= 0 && id < model.vocab_size) continue;
        return invalid_argument("input {}: id {} is outside of the vocabulary of {}", i, id,
                                model.vocab_size);
      }
      for (const int32_t type : types) {
        if (type >= 0 && type < facts.token_types) continue;
        return invalid_argument("input {}: token type {}, the model has {}", i, type,
                                facts.token_types);
      }
    }
    return ok_status();
  }

  /// Runs inputs in steps within the engine's limits. `visit(first, count)` sees each step's.
  template <class F>
  Status each_step(std::span<const EncoderInput> inputs, F visit) {
    RETURN_IF_ERROR(check(inputs));
    const EngineLimits& limits = engine->limits();
    for (size_t first = 0; first < inputs.size();) {
      size_t count = 0;
      int64_t tokens = 0;
      while (first + count < inputs.size() && count < static_cast<size_t>(limits.max_batch_size)) {
        const int64_t more = std::ssize(inputs[first + count].ids);
        if (tokens + more > limits.max_num_tokens) break;
        tokens += more;
        ++count;
      }
      RETURN_IF_ERROR(run(inputs.subspan(first, count)));
      RETURN_IF_ERROR(visit(first, count));
      first += count;
    }
    return ok_status();
  }

  Status run(std::span<const EncoderInput> inputs) {
    std::vector<int32_t> ids, positions, types, starts = {0}, lengths;
    for (const EncoderInput& input : inputs) {
      ids.insert(ids.end(), input.ids.begin(), input.ids.end());
      for (size_t i = 0; i < input.ids.size(); ++i) {
        positions.push_back(static_cast<int32_t>(facts.first_position + static_cast<int64_t>(i)));
        types.push_back(input.token_types.empty() ? 0 : input.token_types[i]);
      }
      starts.push_back(static_cast<int32_t>(ids.size()));
      lengths.push_back(static_cast<int32_t>(input.ids.size()));
    }
    const std::vector<int32_t> first_rows(starts.begin(), starts.end() - 1);
    const std::pair<const char*, const std::vector<int32_t>*> named[] = {
        {"token_ids", &ids},      {"positions", &positions}, {"token_types", &types},
        {"query_start", &starts}, {"kv_len", &lengths},      {"first_rows", &first_rows}};
    for (const auto& [name, values] : named) {
      // What no op reads (DistilBERT's token types) is no input of the program.
      const Status set = context->set_input(name, int_tensor(*values));
      if (!set.ok() && set.error().code != ErrorCode::kNotFound) return set;
    }
    return context->run();
  }

  /// Rows of an output, an input each: all of its tokens', or one.
  Result<Rows> rows_of(std::span<const EncoderInput> inputs, const char* output, bool tokens) {
    Rows rows;
    RETURN_IF_ERROR(each_step(inputs, [&](size_t first, size_t count) -> Status {
      ASSIGN_OR_RETURN(const HostTensor out, context->output(output));
      const auto* values = reinterpret_cast<const float*>(out.bytes.data());
      const int64_t columns = out.extents.back();
      for (size_t i = first; i < first + count; ++i) {
        const int64_t size = (tokens ? std::ssize(inputs[i].ids) : 1) * columns;
        rows.emplace_back(values, values + size);
        values += size;
      }
      return ok_status();
    }));
    return rows;
  }

  std::vector<float> pooled(const std::vector<float>& rows, Pooling pooling) const {
    const auto width = static_cast<size_t>(facts.width);
    const size_t count = rows.size() / width;
    const auto row = [&](size_t i) {
      const auto from = rows.begin() + static_cast<ptrdiff_t>(i * width);
      return std::vector<float>(from, from + static_cast<ptrdiff_t>(width));
    };
    if (pooling == Pooling::kFirst) return row(0);
    if (pooling == Pooling::kLast) return row(count - 1);
    std::vector<float> mean(width);
    for (size_t k = 0; k < width; ++k) {
      double sum = 0;
      for (size_t i = 0; i < count; ++i) sum += double{rows[i * width + k]};
      mean[k] = static_cast<float>(sum / static_cast<double>(count));
    }
    return mean;
  }
};

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::~Encoder() = default;

Result<std::unique_ptr<Encoder>> Encoder::create(std::shared_ptr<const Engine> engine,
                                                 int num_threads) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->facts, read_facts(*engine));
  RETURN_IF_ERROR(check_tables(*engine, impl->facts));
  ASSIGN_OR_RETURN(impl->context, Context::create(engine, num_threads));
  impl->engine = std::move(engine);
  return std::unique_ptr<Encoder>(new Encoder(std::move(impl)));
}

Result<std::vector<std::vector<float>>> Encoder::embed(std::span<const EncoderInput> inputs,
                                                       const EmbedOptions& options) {
  const Pooling pooling =
      options.pooling == Pooling::kAuto ? impl_->facts.pooling : options.pooling;
  ASSIGN_OR_RETURN(auto rows, hidden(inputs));
  for (std::vector<float>& each : rows) {
    each = impl_->pooled(each, pooling);
    if (options.normalize) scale_to_one(each);
  }
  return rows;
}

Result<std::vector<std::vector<float>>> Encoder::hidden(std::span<const EncoderInput> inputs) {
  return impl_->rows_of(inputs, "hidden", true);
}

Result<std::vector<std::vector<float>>> Encoder::scores(std::span<const EncoderInput> inputs) {
  if (!has_head()) {
    return unsupported("{}: {} has no classification head; embed gives vectors",
                       impl_->engine->path(), impl_->engine->model().architecture);
  }
  return impl_->rows_of(inputs, "scores", scores_tokens());
}

int Encoder::width() const { return static_cast<int>(impl_->facts.width); }
int Encoder::max_tokens() const {
  return std::min(impl_->engine->model().max_seq_len, impl_->engine->limits().max_num_tokens);
}
int Encoder::token_types() const { return static_cast<int>(impl_->facts.token_types); }
bool Encoder::has_head() const { return impl_->facts.head != Head::kNone; }
bool Encoder::scores_tokens() const { return impl_->facts.head == Head::kToken; }
const std::vector<std::string>& Encoder::labels() const { return impl_->facts.labels; }

}  // namespace ramjet

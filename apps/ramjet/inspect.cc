#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "base/json.h"
#include "commands.h"
#include "engine/engine_file.h"
#include "output.h"

namespace ramjet {
namespace {

using engine::EngineFile;
using engine::LaunchRecord;
using engine::Manifest;
using engine::Program;
using engine::TacticChoice;

struct InspectArguments {
  std::string path;
  bool json = false;
  bool verify = false;
  bool steps = false;
  bool weights = false;
  bool tactics = false;
};

double mebibytes(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// The choice in force at the size the engine was tuned for.
const TacticChoice& typical_choice(const Program& program, const LaunchRecord& record) {
  std::vector<int64_t> typical;
  for (const Symbol& symbol : program.symbols) typical.push_back(symbol.opt);
  return record.choices[record.choice_at(typical)];
}

OrderedJson candidates_json(const TacticChoice& choice) {
  OrderedJson out = OrderedJson::array();
  for (const engine::Candidate& candidate : choice.candidates) {
    out.push_back({{"name", candidate.tactic}, {"us", candidate.us}});
  }
  return out;
}

OrderedJson step_json(const Program& program, const LaunchRecord& record) {
  const TacticChoice& typical = typical_choice(program, record);
  OrderedJson step = {{"program", program.name},
                      {"name", record.name},
                      {"op", op_name(record.op)},
                      {"fused", record.fused},
                      {"tactic", typical.tactic},
                      {"us", typical.us},
                      {"candidates", candidates_json(typical)}};
  OrderedJson choices = OrderedJson::array();
  for (const TacticChoice& choice : record.choices) {
    choices.push_back({{"upto", choice.upto},
                       {"tactic", choice.tactic},
                       {"us", choice.us},
                       {"candidates", candidates_json(choice)}});
  }
  step["choices"] = std::move(choices);
  for (const auto& [key, refs] :
       {std::pair("inputs", &record.inputs), {"outputs", &record.outputs}}) {
    step[key] = OrderedJson::array();
    for (const engine::TensorRef& ref : *refs) {
      step[key].push_back(type_text(ref.type, program.symbols));
    }
  }
  return step;
}

uint64_t weight_bytes(const Manifest& manifest) {
  uint64_t bytes = 0;
  for (const engine::WeightEntry& weight : manifest.weights) bytes += weight.bytes;
  return bytes;
}

int64_t kv_bytes_per_token(const Manifest& manifest) {
  int64_t bytes = 0;
  for (const engine::KvGroup& group : manifest.kv_groups) {
    bytes += group.num_layers * group.block_bytes(1);
  }
  return bytes;
}

OrderedJson memory_json(const Manifest& manifest) {
  OrderedJson arenas = OrderedJson::object();
  for (const Program& program : manifest.programs) arenas[program.name] = program.arena_bytes;
  OrderedJson groups = OrderedJson::array();
  for (const engine::KvGroup& group : manifest.kv_groups) {
    groups.push_back({{"layers", group.num_layers},
                      {"kv_heads", group.num_kv_heads},
                      {"head_dim", group.head_dim},
                      {"window", group.window},
                      {"dtype", dtype_name(group.dtype)}});
  }
  return {{"weights_bytes", weight_bytes(manifest)},
          {"arena_bytes", arenas},
          {"kv_bytes_per_token", kv_bytes_per_token(manifest)},
          {"kv_groups", groups},
          {"block_tokens", manifest.limits.block_tokens}};
}

OrderedJson model_json(const Manifest& manifest) {
  const ModelInfo& model = manifest.model;
  return {{"name", model.name},
          {"architecture", model.architecture},
          {"parameters", model.parameters},
          {"vocab_size", model.vocab_size},
          {"num_layers", model.num_layers},
          {"max_seq_len", model.max_seq_len},
          {"eos_ids", model.eos_ids},
          {"bos_id", model.bos_id},
          {"dtype", manifest.dtype},
          {"quantize", manifest.quantize},
          {"tp", manifest.tp},
          {"pp", manifest.pp}};
}

OrderedJson build_json(const engine::Provenance& provenance) {
  OrderedJson passes = OrderedJson::array();
  for (const PassTime& pass : provenance.passes) {
    passes.push_back({{"name", pass.name}, {"ms", pass.ms}});
  }
  return {{"machine", provenance.machine},
          {"source", provenance.source},
          {"options", provenance.options},
          {"seconds", provenance.build_seconds},
          {"passes", passes}};
}

OrderedJson weights_json(const Manifest& manifest) {
  OrderedJson out = OrderedJson::array();
  for (const engine::WeightEntry& weight : manifest.weights) {
    out.push_back({{"name", weight.name},
                   {"type", type_text(weight.type, {})},
                   {"layout", weight.layout},
                   {"bytes", weight.bytes},
                   {"seed", weight.seed}});
  }
  return out;
}

OrderedJson engine_json(const EngineFile& file, const InspectArguments& arguments) {
  const Manifest& manifest = file.manifest();
  OrderedJson sections = OrderedJson::array();
  for (const engine::SectionInfo& section : file.sections()) {
    sections.push_back({{"name", section.name},
                        {"offset", section.offset},
                        {"bytes", section.bytes},
                        {"checksum", fmt::format("{:016x}", section.checksum)}});
  }
  OrderedJson profiles = OrderedJson::array();
  OrderedJson steps = OrderedJson::array();
  for (const Program& program : manifest.programs) {
    for (const Symbol& symbol : program.symbols) {
      profiles.push_back({{"program", program.name},
                          {"symbol", symbol.name},
                          {"min", symbol.min},
                          {"opt", symbol.opt},
                          {"max", symbol.max}});
    }
    for (const LaunchRecord& record : program.records) steps.push_back(step_json(program, record));
  }
  OrderedJson json = {{"path", file.path()},
                      {"format", engine::kFormatVersion},
                      {"target", manifest.provenance.target},
                      {"version", manifest.provenance.ramjet_version},
                      {"model", model_json(manifest)},
                      {"limits",
                       {{"max_batch_size", manifest.limits.max_batch_size},
                        {"max_num_tokens", manifest.limits.max_num_tokens},
                        {"block_tokens", manifest.limits.block_tokens}}},
                      {"sections", sections},
                      {"profiles", profiles},
                      {"steps", steps},
                      {"memory", memory_json(manifest)},
                      {"build", build_json(manifest.provenance)},
                      {"facts", manifest.facts},
                      {"verified", arguments.verify}};
  if (arguments.weights) json["weights"] = weights_json(manifest);
  return json;
}

/// "model.layers.17.mlp.up_proj" -> "model.layers.*.mlp.up_proj": layers are shown together.
std::string without_numbers(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    const bool starts = digit && i > 0 && name[i - 1] == '.';
    if (starts) out += '*';
    while (starts && i + 1 < name.size() && name[i + 1] >= '0' && name[i + 1] <= '9') ++i;
    if (!starts) out += name[i];
  }
  return out;
}

struct StepLine {
  std::string op, text;
  int count = 0;
  double us = 0;
};

/// One line a step, or one for those that differ in the layer's number only.
std::vector<StepLine> step_lines(const Program& program, bool every) {
  std::vector<StepLine> lines;
  std::map<std::string, size_t> line_of;
  for (const LaunchRecord& record : program.records) {
    const TacticChoice& choice = typical_choice(program, record);
    const std::string name = every ? record.name : without_numbers(record.name);
    std::string text = fmt::format("{:<44} {}", name, choice.tactic);
    if (record.fused.size() > 1) text += fmt::format("  (fuses {})", record.fused.size());
    const auto [it, fresh] = line_of.emplace(text, lines.size());
    if (fresh || every) {
      it->second = lines.size();
      lines.push_back({std::string(op_name(record.op)), std::move(text)});
    }
    ++lines[it->second].count;
    lines[it->second].us += choice.us;
  }
  return lines;
}

std::string steps_text(const Program& program, bool every) {
  std::string out = fmt::format("program {}: {} steps, arena {:.1f} MiB\n", program.name,
                                program.records.size(), mebibytes(program.arena_bytes));
  for (const Symbol& symbol : program.symbols) {
    out +=
        fmt::format("  {} {}..{}, tuned at {}\n", symbol.name, symbol.min, symbol.max, symbol.opt);
  }
  for (const StepLine& line : step_lines(program, every)) {
    const std::string time = line.us > 0 ? fmt::format("{:.1f} us", line.us) : "";
    out += fmt::format("  {:>4} x {:<16} {:>13}  {}\n", line.count, line.op, time, line.text);
  }
  return out;
}

/// "upto 64  sm90.gemm_t64.v1  12.3 us  (cublaslt 13.0 us, x 1.06)".
std::string choice_line(const TacticChoice& choice) {
  std::string line = fmt::format("    upto {:>6}  {:<28}", choice.upto, choice.tactic);
  if (choice.us > 0) line += fmt::format(" {:>9.2f} us", choice.us);
  for (const engine::Candidate& candidate : choice.candidates) {
    if (candidate.tactic == choice.tactic) continue;
    line += fmt::format("  {} {:.2f} ({:.2f}x)", candidate.tactic, candidate.us,
                        choice.us > 0 ? candidate.us / choice.us : 0);
  }
  return line + "\n";
}

/// What was chosen at each size, once for all steps that chose alike.
std::string tactics_text(const Program& program) {
  std::string out;
  std::map<std::string, int> seen;
  for (const LaunchRecord& record : program.records) {
    if (record.choices.size() < 2) continue;
    std::string text;
    for (const engine::TensorRef& ref : record.inputs) {
      text += (text.empty() ? "" : ", ") + type_text(ref.type, program.symbols);
    }
    text = fmt::format("  {} {} by {}: {}\n", op_name(record.op), without_numbers(record.name),
                       program.symbols[static_cast<size_t>(record.symbol)].name, text);
    for (const TacticChoice& choice : record.choices) text += choice_line(choice);
    if (seen[text]++ == 0) out += text;
  }
  return out;
}

std::string engine_text(const EngineFile& file, const InspectArguments& arguments) {
  const Manifest& m = file.manifest();
  std::string out = fmt::format(
      "{}: engine format {}, built by ramjet {} for {}{}\n", file.path(), engine::kFormatVersion,
      m.provenance.ramjet_version, m.provenance.target,
      m.provenance.machine.empty() ? ", not tuned" : ", tuned on " + m.provenance.machine);
  out += fmt::format("model {}: {}, {:.1f} M parameters, {} layers, vocabulary {}, {} positions\n",
                     m.model.name, m.model.architecture,
                     static_cast<double>(m.model.parameters) * 1e-6, m.model.num_layers,
                     m.model.vocab_size, m.model.max_seq_len);
  out += fmt::format("{} activations, quantize {}, at most {} sequences and {} tokens a step\n",
                     m.dtype, m.quantize, m.limits.max_batch_size, m.limits.max_num_tokens);
  out += fmt::format(
      "memory: weights {:.1f} MiB, KV cache {} bytes a token{}\n", mebibytes(weight_bytes(m)),
      kv_bytes_per_token(m),
      m.kv_groups.empty() ? "" : fmt::format(" ({})", dtype_name(m.kv_groups[0].dtype)));
  out += arguments.verify ? "sections (all checksums hold):\n" : "sections:\n";
  for (const engine::SectionInfo& section : file.sections()) {
    out += fmt::format("  {:<28} {:>14} bytes  {:016x}\n", section.name, section.bytes,
                       section.checksum);
  }
  for (const Program& program : m.programs) {
    out += steps_text(program, arguments.steps);
    if (arguments.tactics) out += tactics_text(program);
  }
  if (!arguments.weights) return out;
  for (const engine::WeightEntry& weight : m.weights) {
    out += fmt::format("  {:<52} {:<24} {:<20} {:>12} bytes\n", weight.name,
                       type_text(weight.type, {}), weight.layout, weight.bytes);
  }
  return out;
}

int inspect(const InspectArguments& arguments) {
  if (is_directory(arguments.path)) {
    return fail(
        invalid_argument("{}: a folder; inspect reads engine files: ramjet build {} -o "
                         "F.engine makes one",
                         arguments.path, arguments.path));
  }
  const auto verify =
      arguments.verify ? EngineFile::Verify::kChecksums : EngineFile::Verify::kStructure;
  const Result<EngineFile> file = EngineFile::open(arguments.path, verify);
  if (!file.ok()) return fail(file.error());
  if (arguments.json) {
    print_json(engine_json(*file, arguments));
  } else {
    print_text(engine_text(*file, arguments));
  }
  return 0;
}

}  // namespace

void add_inspect_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("inspect", "say what is inside an engine file");
  auto arguments = std::make_shared<InspectArguments>();  // shared with the callback below
  command->add_option("ENGINE", arguments->path, "an engine file")->required();
  command->add_flag("--json", arguments->json, "one JSON object, with every step and candidate");
  command->add_flag("--verify", arguments->verify, "read every byte and check all checksums");
  command->add_flag("--steps", arguments->steps,
                    "show each step instead of one line for all layers");
  command->add_flag("--weights", arguments->weights, "list the weights and their layouts");
  command->add_flag("--tactics", arguments->tactics,
                    "what was chosen at each size, beside the other candidates' times");
  command->callback(
      [&runner, arguments] { runner.run = [arguments] { return inspect(*arguments); }; });
}

}  // namespace ramjet

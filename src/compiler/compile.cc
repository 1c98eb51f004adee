#include <ramjet/version.h>

#include <map>

#include "base/clock.h"
#include "compiler/compiler.h"
#include "compiler/emit/device_code.h"
#include "compiler/emit/materialise.h"
#include "compiler/emit/write_weights.h"
#include "compiler/memory/plan.h"
#include "compiler/sampling_programs.h"
#include "engine/dummy_weights.h"
#include "engine/engine_file.h"
#include "op/fields.h"

namespace ramjet::compiler {
namespace {

Status check_profiles(const ir::Graph& graph) {
  for (const Symbol& symbol : graph.symbols) {
    if (symbol.max > 0) continue;
    return invalid_argument("symbol '{}' has no profile; give its range with set_profile",
                            symbol.name);
  }
  if (graph.outputs.empty()) return invalid_argument("the network has no output; use mark_output");
  return ok_status();
}

/// Gives each output a value of its own that a node makes: inputs, weights and values marked
/// twice are copied.
void separate_outputs(ir::Graph& graph) {
  std::map<ir::ValueId, int> seen;
  for (ir::GraphOutput& output : graph.outputs) {
    const ir::ValueId id = output.value;
    if (graph.value(id).kind == ir::Value::Kind::kResult && seen[id]++ == 0) continue;
    const TensorType type = graph.value(id).type;
    const ir::NodeId copy =
        graph.add_node(OpKind::kReshape, {id}, {type}, std::monostate{}, "copy." + output.name);
    output.value = graph.result(copy);
  }
}

class Emitter {
 public:
  Emitter(const ir::Graph& graph, const PassContext& context, engine::Manifest& manifest,
          DeviceCode& device_code)
      : graph_(graph), context_(context), manifest_(manifest), device_code_(device_code) {}

  Status plan() {
    std::map<ir::NodeId, uint64_t> workspaces;
    for (ir::NodeId id : graph_.order()) {
      const uint64_t bytes = workspace_bytes(id);
      if (bytes > 0) workspaces[id] = bytes;
    }
    plan_ = plan_memory(graph_, workspaces);
    RETURN_IF_ERROR(add_weights());
    add_program();
    return ok_status();
  }

  Status write(engine::EngineWriter& writer, const WeightSource& weights) {
    const CompileOptions& options = *context_.options;
    using Weights = BuildOptions::Weights;
    RETURN_IF_ERROR(writer.begin_weights());
    if (options.weights != Weights::kDummySeed) {
      std::vector<WeightJob> jobs;
      for (size_t i = 0; i < values_.size(); ++i) {
        jobs.push_back({&graph_.value(values_[i]), &manifest_.weights[first_weight_ + i]});
      }
      const auto progress = [&](double share) {
        if (options.progress) options.progress("weights", share);
      };
      RETURN_IF_ERROR(write_weights(jobs,
                                    options.weights == Weights::kDummyStored ? nullptr : &weights,
                                    options.num_threads, writer, progress));
    }
    return writer.end_weights();
  }

 private:
  const std::vector<engine::TacticChoice>& choices(ir::NodeId id) const {
    return context_.choices.at(id).choices;
  }

  /// Bytes of scratch that the node's choices want; on a GPU also plans its launches.
  uint64_t workspace_bytes(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    std::vector<TensorType> inputs, outputs;
    for (ir::ValueId v : node.inputs) inputs.push_back(graph_.value(v).type);
    for (ir::ValueId v : node.outputs) outputs.push_back(graph_.value(v).type);
    const kernels::OpDesc desc{node.op, &node.attrs, inputs, outputs, graph_.symbols};
    int64_t bytes = 0;
    std::map<std::string_view, std::vector<DeviceLaunch>> planned;  // by tactic
    for (const engine::TacticChoice& choice : choices(id)) {
      if (const auto it = planned.find(choice.tactic); it != planned.end()) {
        launches_[id].push_back(it->second);
        continue;
      }
      const kernels::Tactic* tactic = kernels::find_tactic(choice.tactic);
      if (tactic != nullptr && tactic->plan != nullptr) {
        kernels::DevicePlan plan;
        tactic->plan(desc, *tactic, facts_, plan);
        planned[choice.tactic] = device_code_.add(plan);
        launches_[id].push_back(planned[choice.tactic]);
        bytes = std::max(bytes, plan.workspace_bytes);
      }
      if (tactic == nullptr || tactic->workspace_bytes == nullptr) continue;
      bytes = std::max(bytes, tactic->workspace_bytes(desc));
    }
    return static_cast<uint64_t>(bytes);
  }

  Status add_weights() {
    first_weight_ = manifest_.weights.size();
    const auto users = graph_.users();
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const ir::Value& value = graph_.values[i];
      if (value.kind != ir::Value::Kind::kWeight || users[i].empty()) continue;
      engine::WeightEntry entry{.name = value.name, .type = value.type};
      entry.layout = value.recipe.layout;
      ASSIGN_OR_RETURN(entry.bytes, packed_bytes(value));
      if (context_.options->weights == BuildOptions::Weights::kDummySeed) {
        entry.seed = engine::dummy_seed(value.name);
      }
      weight_index_[static_cast<ir::ValueId>(i)] = static_cast<int32_t>(manifest_.weights.size());
      values_.push_back(static_cast<ir::ValueId>(i));
      manifest_.weights.push_back(std::move(entry));
    }
    return ok_status();
  }

  engine::TensorRef reference(ir::ValueId id) const {
    const MemoryPlan::Place& place = plan_.places[static_cast<size_t>(id)];
    engine::TensorRef ref{place.space, place.index, graph_.value(id).type};
    if (place.space == engine::Space::kWeight) ref.index = weight_index_.at(place.index);
    return ref;
  }

  void add_program() {
    engine::Program program{.name = graph_.name, .symbols = graph_.symbols};
    for (const ir::Value& value : graph_.values) {
      if (value.kind == ir::Value::Kind::kInput) program.inputs.push_back({value.name, value.type});
    }
    for (const ir::GraphOutput& output : graph_.outputs) {
      program.outputs.push_back({output.name, graph_.value(output.value).type});
    }
    program.arena = plan_.slots;
    program.arena_bytes = plan_.arena_bytes;
    for (ir::NodeId id : graph_.order()) {
      if (plan_.is_view[static_cast<size_t>(id)]) continue;
      const ir::Node& node = graph_.node(id);
      engine::LaunchRecord record{.op = node.op, .name = node.name, .fused = node.fused};
      if (record.name.empty()) record.name = op_name(node.op);
      record.attrs = attrs_text(node.attrs);
      for (ir::ValueId v : node.inputs) record.inputs.push_back(reference(v));
      for (ir::ValueId v : node.outputs) record.outputs.push_back(reference(v));
      if (auto it = plan_.workspaces.find(id); it != plan_.workspaces.end()) {
        record.workspace = it->second;
      }
      record.choices = choices(id);
      record.symbol = context_.choices.at(id).symbol;
      if (auto it = launches_.find(id); it != launches_.end()) {
        for (size_t i = 0; i < record.choices.size(); ++i)
          record.choices[i].launches = it->second[i];
      }
      program.records.push_back(std::move(record));
    }
    manifest_.programs.push_back(std::move(program));
  }

  const ir::Graph& graph_;
  const PassContext& context_;
  engine::Manifest& manifest_;
  MemoryPlan plan_;
  kernels::DeviceFacts facts_ = kernels::device_facts(context_.options->target);
  DeviceCode& device_code_;                                                // of all programs
  std::map<ir::NodeId, std::vector<std::vector<DeviceLaunch>>> launches_;  // of each choice
  size_t first_weight_ = 0;
  std::vector<ir::ValueId> values_;  // weights, in the order of their entries
  std::map<ir::ValueId, int32_t> weight_index_;
};

/// Machine code, for targets that need some.
Status write_kernels(DeviceCode& code, const CompileOptions& options, engine::Manifest& manifest,
                     engine::EngineWriter& writer) {
  if (code.modules() == 0) return ok_status();
  const auto progress = [&](double share) {
    if (options.progress) options.progress("kernels", share);
  };
  ASSIGN_OR_RETURN(const std::string section,
                   code.compile(options.target.name(), options.num_threads, manifest, progress));
  return writer.add_section("kernels", section);
}

/// Programs without weights. Their operands mean too much to be made up: nothing is timed.
Status add_programs(std::vector<ir::Graph> graphs, CompileOptions options,
                    engine::Manifest& manifest, DeviceCode& code) {
  options.tune = false;
  for (ir::Graph& graph : graphs) {
    PassContext context{.options = &options};
    RETURN_IF_ERROR(run_passes(graph, context));
    RETURN_IF_ERROR(Emitter(graph, context, manifest, code).plan());
  }
  return ok_status();
}

}  // namespace

Result<BuildReport> compile(ir::Graph graph, const WeightSource& weights, engine::Manifest manifest,
                            const std::map<std::string, std::string>& assets,
                            const std::string& path, const CompileOptions& options) {
  const double start = SteadyClock::instance().now_s();
  RETURN_IF_ERROR(check_profiles(graph));
  separate_outputs(graph);
  PassContext context{.options = &options};
  ASSIGN_OR_RETURN(manifest.provenance.passes, run_passes(graph, context));

  DeviceCode device_code;
  Emitter emitter(graph, context, manifest, device_code);
  RETURN_IF_ERROR(emitter.plan());
  if (options.target.is_gpu()) {
    RETURN_IF_ERROR(add_programs(sampling_programs(graph), options, manifest, device_code));
  }
  ASSIGN_OR_RETURN(engine::EngineWriter writer, engine::EngineWriter::create(path));
  for (const auto& [name, bytes] : assets) {
    RETURN_IF_ERROR(writer.add_section("asset/" + name, bytes));
  }
  std::vector<PassTime> phases = std::move(context.phases);
  const auto timed = [&](const char* name, Status status, double since) {
    phases.push_back({name, (SteadyClock::instance().now_s() - since) * 1e3});
    return status;
  };
  double now = SteadyClock::instance().now_s();
  RETURN_IF_ERROR(
      timed("emit.kernels", write_kernels(device_code, options, manifest, writer), now));
  now = SteadyClock::instance().now_s();
  RETURN_IF_ERROR(timed("emit.weights", emitter.write(writer, weights), now));

  engine::Provenance& provenance = manifest.provenance;
  if (provenance.ramjet_version.empty()) provenance.ramjet_version = RAMJET_VERSION;
  provenance.target = options.target.name();
  provenance.machine = context.tuned ? context.machine : "";
  provenance.build_seconds = SteadyClock::instance().now_s() - start;
  BuildReport report{.path = path, .target = provenance.target, .passes = provenance.passes};
  report.passes.insert(report.passes.end(), phases.begin(), phases.end());
  report.tuned = context.tuned;
  report.invariant_costs = context.invariant_costs;
  ASSIGN_OR_RETURN(report.bytes, writer.finish(manifest));
  report.seconds = SteadyClock::instance().now_s() - start;
  return report;
}

}  // namespace ramjet::compiler

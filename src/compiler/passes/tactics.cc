// tactics: which kernel runs each node, for each bucket of the symbol that its rows follow.
// Candidates are timed if the engine is built for this machine; reference tactics are never timed
// and serve only where nothing else does.
#include <algorithm>
#include <map>
#include <set>

#include "base/clock.h"
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"
#include "compiler/tactics/choose.h"
#include "compiler/tactics/cpu_timer.h"
#include "compiler/tactics/device_timer.h"

namespace ramjet::compiler {
namespace {

using kernels::Tactic;

struct NodeDesc {  // stays where it is: desc borrows from it
  std::vector<TensorType> inputs, outputs;
  kernels::OpDesc desc;
  std::vector<const Tactic*> candidates;
};

/// Tactics that can run the node, the preferred first. Only a stored weight can be laid out, so a
/// computed operand wants it row-major.
std::vector<const Tactic*> candidates(const ir::Graph& graph, const ir::Node& node,
                                      const kernels::OpDesc& desc, const CompileOptions& options) {
  std::vector<const Tactic*> found =
      kernels::find_tactics(desc, options.target, options.batch_invariant);
  bool stored = false;  // what a layout is about
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!has_layout(node.op, i)) continue;
    stored = graph.value(node.inputs[i]).kind == ir::Value::Kind::kWeight;
    if (!stored) break;
  }
  std::erase_if(found, [stored](const Tactic* tactic) {
    return tactic->weight_layout != "row_major" && !stored;
  });
  const Tactic* const reference = kernels::reference_tactic(node.op);
  if (found.size() > 1) std::erase(found, reference);
  // Attention is timed in steps of pure decode, but the same step may hold prompts, which tactics
  // of earlier GPUs leave to the kernel of any shape: they are no alternative to the GPU's own.
  if (node.op == OpKind::kPagedAttention && !found.empty()) {
    const int own = std::ranges::max(found, {}, &Tactic::sm)->sm;
    std::erase_if(found, [own](const Tactic* tactic) { return tactic->sm < own; });
  }
  return found;
}

/// The choice at the symbol's optimum: what the graph's text shows.
const std::string& typical(const NodeChoice& choice, const ir::Graph& graph) {
  const auto symbol = static_cast<size_t>(choice.symbol);
  const int64_t at = graph.symbols.empty() ? 1 : graph.symbols[symbol].opt;
  for (const engine::TacticChoice& each : choice.choices) {
    if (at <= each.upto) return each.tactic;
  }
  return choice.choices.back().tactic;
}

/// Null where the engine is for another machine, or times are not wanted.
Result<std::unique_ptr<TacticTimer>> make_timer(const CompileOptions& options) {
  std::unique_ptr<TacticTimer> timer;
  if (!options.tune || !options.target.runs_here()) return timer;
  if (!options.target.is_gpu()) {
    timer = std::make_unique<CpuTimer>(options.num_threads);
    return timer;
  }
  ASSIGN_OR_RETURN(timer, DeviceTimer::create(options.target, options.num_threads));
  return timer;
}

class Tactics final : public Pass {
 public:
  std::string_view name() const override { return "tactics"; }
  bool required() const override { return true; }
  Result<bool> run(ir::Graph& graph, PassContext& context) override {
    const CompileOptions& options = *context.options;
    ASSIGN_OR_RETURN(const auto timer, make_timer(options));
    Chooser chooser{timer.get(), std::nullopt, options.batch_invariant};
    if (options.target.is_gpu()) chooser.facts = kernels::device_facts(options.target);
    std::map<ir::NodeId, NodeDesc> descs;
    for (ir::NodeId id : graph.order()) {
      RETURN_IF_ERROR(find_candidates(graph, id, options, descs[id]));
    }
    RETURN_IF_ERROR(prepare(descs, chooser, context));
    const double start = SteadyClock::instance().now_s();
    double done = 0;
    for (const auto& [id, node] : descs) {
      ASSIGN_OR_RETURN(NodeChoice chosen, choose_tactics(node.candidates, node.desc, chooser));
      graph.node(id).tactic = typical(chosen, graph);
      context.tuned |= chosen.choices[0].us > 0;
      add_costs(chosen, graph, context);
      context.choices[id] = std::move(chosen);
      if (options.progress && timer) {
        options.progress("timing", ++done / static_cast<double>(descs.size()));
      }
    }
    if (timer) {
      timer->save();
      context.machine = timer->machine();
      context.phases.push_back({"tactics.time", (SteadyClock::instance().now_s() - start) * 1e3});
    }
    return true;
  }

 private:
  /// A node's share of what a fixed order costs steps of one token, of 64, and of as many as go.
  static void add_costs(const NodeChoice& chosen, const ir::Graph& graph, PassContext& context) {
    constexpr int64_t kBatch = 64;
    if (chosen.costs.empty() || graph.symbols.empty()) return;
    const int64_t most = graph.symbols[0].max;
    if (context.invariant_costs.empty()) {
      for (const int64_t tokens : std::set<int64_t>{1, std::min(kBatch, most), most}) {
        context.invariant_costs.push_back({tokens});
      }
    }
    for (InvariantCost& sum : context.invariant_costs) {
      const auto holds = [&](const OrderCost& cost) { return sum.tokens <= cost.upto; };
      auto cost = std::ranges::find_if(chosen.costs, holds);
      if (cost == chosen.costs.end()) --cost;
      sum.us += cost->us, sum.free_us += cost->free_us;
    }
  }

  static Status find_candidates(const ir::Graph& graph, ir::NodeId id,
                                const CompileOptions& options, NodeDesc& node) {
    const ir::Node& n = graph.node(id);
    for (ir::ValueId v : n.inputs) node.inputs.push_back(graph.value(v).type);
    for (ir::ValueId v : n.outputs) node.outputs.push_back(graph.value(v).type);
    node.desc = {n.op, &n.attrs, node.inputs, node.outputs, graph.symbols};
    node.candidates = candidates(graph, n, node.desc, options);
    if (!node.candidates.empty()) return ok_status();
    std::string shapes;
    for (const TensorType& type : node.inputs) {
      shapes += (shapes.empty() ? "" : ", ") + type_text(type, graph.symbols);
    }
    return unsupported("no kernel for {} '{}' of {} on {}", op_name(n.op), n.name, shapes,
                       options.target.name());
  }

  /// Tells the timer of everything, so that it compiles in parallel.
  static Status prepare(const std::map<ir::NodeId, NodeDesc>& descs, const Chooser& chooser,
                        PassContext& context) {
    if (chooser.timer == nullptr) return ok_status();
    const double start = SteadyClock::instance().now_s();
    std::vector<TimingJob> jobs;
    for (const auto& [id, node] : descs) {
      for (TimingJob& job : timing_jobs(node.candidates, node.desc, chooser)) {
        jobs.push_back(std::move(job));
      }
    }
    const auto progress = [&](double share) {
      if (context.options->progress) context.options->progress("compiling", share);
    };
    RETURN_IF_ERROR(chooser.timer->prepare(jobs, progress));
    context.phases.push_back({"tactics.compile", (SteadyClock::instance().now_s() - start) * 1e3});
    return ok_status();
  }
};

}  // namespace

std::unique_ptr<Pass> make_tactics() { return std::make_unique<Tactics>(); }

}  // namespace ramjet::compiler

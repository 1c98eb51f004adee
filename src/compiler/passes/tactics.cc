// tactics: which kernel runs each node, for each bucket of the program's first symbol. Candidates
// are timed if the engine is built for this machine; reference tactics are never timed and serve
// only where nothing else does.
#include <algorithm>

#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"
#include "compiler/tactics/choose.h"

namespace ramjet::compiler {
namespace {

using kernels::Tactic;

struct NodeDesc {
  std::vector<TensorType> inputs, outputs;
  kernels::OpDesc desc;
};

/// Tactics that can run the node, the preferred first. Only a stored weight can be laid out, so a
/// computed operand wants it row-major.
std::vector<const Tactic*> candidates(const ir::Graph& graph, const ir::Node& node,
                                      const kernels::OpDesc& desc, const kernels::Target& target) {
  std::vector<const Tactic*> found = kernels::find_tactics(desc, target);
  const int operand = layout_operand(node.op);
  std::erase_if(found, [&](const Tactic* tactic) {
    if (tactic->weight_layout == "row_major") return false;
    return operand < 0 ||
           graph.value(node.inputs[static_cast<size_t>(operand)]).kind != ir::Value::Kind::kWeight;
  });
  const Tactic* const reference = kernels::reference_tactic(node.op);
  if (found.size() > 1) std::erase(found, reference);
  return found;
}

/// The choice at the symbol's optimum: what the graph's text shows.
const std::string& typical(const std::vector<engine::TacticChoice>& choices,
                           const ir::Graph& graph) {
  const int64_t at = graph.symbols.empty() ? 1 : graph.symbols[0].opt;
  for (const engine::TacticChoice& choice : choices) {
    if (at <= choice.upto) return choice.tactic;
  }
  return choices.back().tactic;
}

class Tactics final : public Pass {
 public:
  std::string_view name() const override { return "tactics"; }
  bool required() const override { return true; }
  Result<bool> run(ir::Graph& graph, PassContext& context) override {
    const CompileOptions& options = *context.options;
    std::unique_ptr<TacticTimer> timer;
    if (options.tune && options.target.runs_on(kernels::Target::host())) {
      timer = std::make_unique<TacticTimer>(options.num_threads);
    }
    size_t done = 0;
    for (ir::NodeId id : graph.order()) {
      ir::Node& node = graph.node(id);
      NodeDesc types;
      for (ir::ValueId v : node.inputs) types.inputs.push_back(graph.value(v).type);
      for (ir::ValueId v : node.outputs) types.outputs.push_back(graph.value(v).type);
      const kernels::OpDesc desc{node.op, &node.attrs, types.inputs, types.outputs, graph.symbols};
      const auto found = candidates(graph, node, desc, context.options->target);
      if (found.empty()) {
        std::string shapes;
        for (const TensorType& type : types.inputs) {
          shapes += (shapes.empty() ? "" : ", ") + type_text(type, graph.symbols);
        }
        return unsupported("no kernel for {} '{}' of {} on {}", op_name(node.op), node.name, shapes,
                           context.options->target.name());
      }
      context.choices[id] = choose_tactics(found, desc, timer.get());
      node.tactic = typical(context.choices[id], graph);
      context.tuned |= context.choices[id][0].us > 0;
      const double share = static_cast<double>(++done) / static_cast<double>(graph.order().size());
      if (options.progress && timer != nullptr) options.progress("tuning", share);
    }
    if (timer != nullptr) timer->save();
    return true;
  }
};

}  // namespace

std::unique_ptr<Pass> make_tactics() { return std::make_unique<Tactics>(); }

}  // namespace ramjet::compiler

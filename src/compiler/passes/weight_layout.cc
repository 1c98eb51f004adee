// weight_layout: each weight lies as the tactics of its users want it. A weight that users want
// differently (a tied embedding and head) is stored once for each layout.
#include <map>
#include <string>

#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

constexpr std::string_view kRowMajor = "row_major";

struct Use {
  ir::NodeId node = ir::kNoNode;
  size_t operand = 0;
};

Result<std::string> wanted_layout(const ir::Node& node, size_t operand) {
  if (!has_layout(node.op, operand)) return std::string(kRowMajor);
  const kernels::Tactic* tactic = kernels::find_tactic(node.tactic);
  if (tactic == nullptr) {
    return internal_error("{} '{}' has no known tactic: '{}'", op_name(node.op), node.name,
                          node.tactic);
  }
  return std::string(kernels::layout_of(*tactic, operand));
}

class WeightLayoutPass final : public Pass {
 public:
  std::string_view name() const override { return "weight_layout"; }
  bool required() const override { return true; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    std::map<ir::ValueId, std::map<std::string, std::vector<Use>>> weights;
    for (ir::NodeId id : graph.order()) {
      const ir::Node& node = graph.node(id);
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (graph.value(node.inputs[i]).kind != ir::Value::Kind::kWeight) continue;
        ASSIGN_OR_RETURN(std::string layout, wanted_layout(node, i));
        weights[node.inputs[i]][std::move(layout)].push_back({id, i});
      }
    }
    bool changed = false;
    for (auto& [id, layouts] : weights) {
      // The plain one keeps its name if there is one, else the first.
      const std::string kept = layouts.contains(std::string(kRowMajor)) ? std::string(kRowMajor)
                                                                        : layouts.begin()->first;
      for (const auto& [layout, uses] : layouts) {
        ir::ValueId stored = id;
        if (layout != kept) {
          const ir::Value original = graph.value(id);
          stored = graph.add_weight(original.name + ".packed", original.type, original.recipe);
          for (const Use& use : uses) graph.node(use.node).inputs[use.operand] = stored;
        }
        changed |= graph.value(stored).recipe.layout != layout;
        graph.value(stored).recipe.layout = layout;
      }
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_weight_layout() { return std::make_unique<WeightLayoutPass>(); }

}  // namespace ramjet::compiler

// fuse_gated: two matmuls of one input whose results meet in pointwise ops (gate and up of a gated
// MLP) become one with two accumulators and a weight that alternates tiles of both, so that
// fuse_matmul can put the meeting into its epilogue.
#include <set>

#include "compiler/passes/merge_weights.h"
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

constexpr int64_t kTileRows = 16;

/// Pointwise nodes that `value` reaches through pointwise nodes of its own shape.
std::set<ir::NodeId> reached(const ir::Graph& graph, ir::ValueId value,
                             const std::vector<std::vector<ir::NodeId>>& users) {
  std::set<ir::NodeId> seen;
  std::vector<ir::ValueId> open{value};
  while (!open.empty()) {
    const ir::ValueId next = open.back();
    open.pop_back();
    for (ir::NodeId user : users[static_cast<size_t>(next)]) {
      const ir::Node& node = graph.node(user);
      if (node.op != OpKind::kPointwise || seen.contains(user)) continue;
      if (graph.value(node.outputs[0]).type.dims != graph.value(value).type.dims) continue;
      seen.insert(user);
      open.insert(open.end(), node.outputs.begin(), node.outputs.end());
    }
  }
  return seen;
}

bool meet(const ir::Graph& graph, const ir::Node& a, const ir::Node& b,
          const std::vector<std::vector<ir::NodeId>>& users) {
  const auto from_a = reached(graph, a.outputs[0], users);
  for (ir::NodeId id : reached(graph, b.outputs[0], users)) {
    if (from_a.contains(id)) return true;
  }
  return false;
}

void fuse(ir::Graph& graph, ir::NodeId gate_id, ir::NodeId up_id) {
  const ir::Node up = graph.node(up_id);
  const ir::NodeId parts[] = {gate_id, up_id};
  const std::vector<ir::ValueId> operands =
      merge_weight_operands(graph, parts, ir::WeightRecipe::Combine::kInterleave, "gate_up");
  ir::Node& gate = graph.node(gate_id);
  gate.inputs = {gate.inputs[0]};
  gate.inputs.insert(gate.inputs.end(), operands.begin(), operands.end());
  gate.outputs.push_back(up.outputs[0]);
  graph.value(up.outputs[0]).producer = gate_id;
  MatmulDesc& desc = std::get<MatmulDesc>(gate.attrs);
  desc.accumulators = 2;
  desc.epilogue.num_inputs = 2;
  desc.epilogue.outputs = {0, 1};
  note_fused(gate, up);
  const std::string& weight_name = graph.value(gate.inputs[1]).name;
  gate.name = weight_name.substr(0, weight_name.find(".weight"));
  graph.erase_node(up_id);
}

class FuseGated final : public Pass {
 public:
  std::string_view name() const override { return "fuse_gated"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    const std::vector<ir::NodeId> order = graph.order();
    const auto users = graph.users();
    for (size_t i = 0; i < order.size(); ++i) {
      if (graph.node(order[i]).erased || graph.node(order[i]).op != OpKind::kMatmul) continue;
      for (ir::NodeId other : users[static_cast<size_t>(graph.node(order[i]).inputs[0])]) {
        const ir::Node &a = graph.node(order[i]), &b = graph.node(other);
        if (other == order[i] || b.erased || b.op != OpKind::kMatmul) continue;
        const ir::NodeId parts[] = {order[i], other};
        if (!can_merge_weights(graph, parts)) continue;
        const TensorType& type = graph.value(a.inputs[1]).type;
        if (type != graph.value(b.inputs[1]).type || type.dims[0].offset % kTileRows != 0) continue;
        if (!meet(graph, a, b, users)) continue;
        fuse(graph, order[i], other);
        changed = true;
        break;
      }
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_gated() { return std::make_unique<FuseGated>(); }

}  // namespace ramjet::compiler

// fuse_norm: an addition and the RMS norm of its sum become one pass over the rows. It runs after
// fuse_matmul: a residual that a matmul's epilogue has taken is cheaper there.
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

/// The node that makes `value` as the plain sum of two tensors of its shape, else kNoNode.
ir::NodeId sum_of(const ir::Graph& graph, ir::ValueId value) {
  const ir::NodeId id = graph.value(value).producer;
  if (id == ir::kNoNode || graph.node(id).op != OpKind::kPointwise) return ir::kNoNode;
  const ir::Node& node = graph.node(id);
  const PointwiseProgram& program = std::get<PointwiseDesc>(node.attrs).program;
  if (program != PointwiseProgram::single(PointwiseOp::kAdd)) return ir::kNoNode;
  for (ir::ValueId input : node.inputs) {
    if (graph.value(input).type.dims != graph.value(value).type.dims) return ir::kNoNode;
  }
  return id;
}

class FuseNorm final : public Pass {
 public:
  std::string_view name() const override { return "fuse_norm"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    const std::vector<ir::NodeId> order = graph.order();
    for (ir::NodeId id : order) {
      ir::Node& norm = graph.node(id);
      if (norm.op != OpKind::kNorm || norm.inputs.size() != 2) continue;
      if (std::get<NormDesc>(norm.attrs).kind != NormKind::kRms) continue;
      const ir::NodeId sum = sum_of(graph, norm.inputs[0]);
      if (sum == ir::kNoNode || graph.value(norm.inputs[1]).kind == ir::Value::Kind::kResult) {
        continue;
      }
      const ir::Node added = graph.node(sum);
      norm.op = OpKind::kAddNorm;
      norm.inputs = {added.inputs[0], added.inputs[1], norm.inputs[1]};
      norm.outputs.insert(norm.outputs.begin(), added.outputs[0]);
      graph.value(added.outputs[0]).producer = id;
      note_fused(norm, added);
      move_before(graph, id, sum);
      graph.erase_node(sum);
      changed = true;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_norm() { return std::make_unique<FuseNorm>(); }

}  // namespace ramjet::compiler

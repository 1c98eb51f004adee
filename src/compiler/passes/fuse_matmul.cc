// fuse_matmul: pointwise ops around a matmul become part of it. Those of its results go into the
// epilogue, where intermediates that others need are stored too; those that only make its operands
// go into the prologue or are computed in the epilogue. Epilogues of all matmuls come first: an op
// between two matmuls belongs to the first.
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

bool is_pointwise(const ir::Graph& graph, ir::NodeId id) {
  return id != ir::kNoNode && graph.node(id).op == OpKind::kPointwise;
}

bool fold_one_consumer(ir::Graph& graph, ir::NodeId matmul) {
  const auto users = graph.users();
  for (ir::ValueId result : graph.node(matmul).outputs) {
    for (ir::NodeId user : users[static_cast<size_t>(result)]) {
      if (is_pointwise(graph, user) && fold_into_epilogue(graph, matmul, user)) return true;
    }
  }
  return false;
}

bool fold_one_producer(ir::Graph& graph, ir::NodeId matmul) {
  const std::vector<ir::ValueId> inputs = graph.node(matmul).inputs;
  for (ir::ValueId input : inputs) {
    const ir::NodeId producer = graph.value(input).producer;
    if (is_pointwise(graph, producer) && fold_into_operands(graph, matmul, producer)) return true;
  }
  return false;
}

class FuseMatmul final : public Pass {
 public:
  std::string_view name() const override { return "fuse_matmul"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    for (const auto fold : {fold_one_consumer, fold_one_producer}) {
      const std::vector<ir::NodeId> order = graph.order();
      for (ir::NodeId id : order) {
        if (graph.node(id).op != OpKind::kMatmul) continue;
        while (fold(graph, id)) changed = true;
      }
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_matmul() { return std::make_unique<FuseMatmul>(); }

}  // namespace ramjet::compiler

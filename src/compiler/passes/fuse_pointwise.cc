// fuse_pointwise: what is left of pointwise ops becomes clusters of one program each. An
// intermediate that others need is stored too, if it has the cluster's shape.
#include <algorithm>

#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

bool merge_one(ir::Graph& graph, ir::NodeId consumer) {
  const std::vector<ir::ValueId> inputs = graph.node(consumer).inputs;
  for (ir::ValueId input : inputs) {
    const ir::NodeId producer = graph.value(input).producer;
    if (producer == ir::kNoNode || graph.node(producer).op != OpKind::kPointwise) continue;
    if (merge_pointwise(graph, producer, consumer)) return true;
  }
  return false;
}

class FusePointwise final : public Pass {
 public:
  std::string_view name() const override { return "fuse_pointwise"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    std::vector<ir::NodeId> order = graph.order();
    std::reverse(order.begin(), order.end());
    for (ir::NodeId id : order) {
      if (graph.node(id).erased || graph.node(id).op != OpKind::kPointwise) continue;
      while (merge_one(graph, id)) changed = true;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_pointwise() { return std::make_unique<FusePointwise>(); }

}  // namespace ramjet::compiler

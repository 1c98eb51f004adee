// fuse_quantize: a norm whose result is only quantized gives eight bits and scales itself, so that
// the floats in between are neither written nor read. It runs after fuse_norm and takes what that
// made of a norm.
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

bool is_norm(OpKind op) { return op == OpKind::kNorm || op == OpKind::kAddNorm; }

class FuseQuantize final : public Pass {
 public:
  std::string_view name() const override { return "fuse_quantize"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    const std::vector<ir::NodeId> order = graph.order();
    const auto users = graph.users();
    for (ir::NodeId id : order) {
      if (graph.node(id).op != OpKind::kQuantize) continue;
      const ir::Node quantize = graph.node(id);
      const ir::ValueId normed = quantize.inputs[0];
      const ir::NodeId producer = graph.value(normed).producer;
      if (producer == ir::kNoNode || graph.is_output(normed)) continue;
      ir::Node& norm = graph.node(producer);
      // The last result of either op is the normed one; the sum of an add_norm stays as it is.
      if (!is_norm(norm.op) || norm.outputs.back() != normed) continue;
      if (users[static_cast<size_t>(normed)].size() != 1) continue;
      std::get<NormDesc>(norm.attrs).quant = ActivationQuant::kFp8Token;
      note_fused(norm, quantize);
      norm.outputs.pop_back();
      for (ir::ValueId value : quantize.outputs) {
        norm.outputs.push_back(value);
        graph.value(value).producer = producer;
      }
      graph.erase_node(id);
      changed = true;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_quantize() { return std::make_unique<FuseQuantize>(); }

}  // namespace ramjet::compiler

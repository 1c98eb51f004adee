// quantize: weight-only int8 with one scale a row (output channel). Every constant weight of a
// matmul is quantized, the head's too: a weight that an embedding shares with it is stored twice,
// in floats for the embedding and in int8 for the head.
#include <map>

#include "compiler/passes/passes.h"

namespace ramjet::compiler {
namespace {

struct Quantized {
  ir::ValueId values = ir::kNoValue;
  ir::ValueId scales = ir::kNoValue;
};

Quantized quantized(ir::Graph& graph, ir::ValueId id, WeightQuant quant) {
  const ir::Value weight = graph.value(id);
  ir::WeightRecipe recipe = weight.recipe;
  recipe.quant = quant;
  Quantized result;
  result.values = graph.add_weight(weight.name + ".int8", {DType::kI8, weight.type.dims}, recipe);
  recipe.part = ir::WeightRecipe::Part::kScales;
  result.scales =
      graph.add_weight(weight.name + ".scales", {DType::kF32, {weight.type.dims[0]}}, recipe);
  return result;
}

class Quantize final : public Pass {
 public:
  std::string_view name() const override { return "quantize"; }
  bool required() const override { return true; }  // what the caller asked for in CompileOptions
  Result<bool> run(ir::Graph& graph, PassContext& context) override {
    const WeightQuant quant = context.options->quant;
    if (quant == WeightQuant::kNone) return false;
    std::map<ir::ValueId, Quantized> done;
    bool changed = false;
    for (ir::NodeId id : graph.order()) {
      MatmulDesc* desc = std::get_if<MatmulDesc>(&graph.node(id).attrs);
      if (desc == nullptr || !desc->transpose_b || desc->quant != WeightQuant::kNone) continue;
      const ir::ValueId b = graph.node(id).inputs[1];
      if (graph.value(b).kind != ir::Value::Kind::kWeight) continue;
      if (!done.contains(b)) done[b] = quantized(graph, b, quant);
      auto& inputs = graph.node(id).inputs;
      inputs[1] = done[b].values;
      inputs.insert(inputs.begin() + 2, done[b].scales);
      desc->quant = quant;
      changed = true;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_quantize() { return std::make_unique<Quantize>(); }

}  // namespace ramjet::compiler

// quantize: constant weights of matmuls to eight bits, one scale a row (output channel).
//
// int8: weights alone, the head's too: a weight that an embedding shares with it is stored twice,
// in floats for the embedding and in int8 for the head. Experts' weights as well, but not the
// routers', whose near ties decide which experts run.
// fp8: weights and activations, but for those whose sources the caller excludes and those whose
// rows are no multiple of 16 bytes, and the experts'. An activation is quantized once for all its
// matmuls, by an op of its own; fuse_quantize joins it to the norm before it.
#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "compiler/passes/passes.h"

namespace ramjet::compiler {
namespace {

constexpr int64_t kFp8RowBytes = 16;  // what the matrix units' loads want

struct Quantized {
  ir::ValueId values = ir::kNoValue;
  ir::ValueId scales = ir::kNoValue;
};

class Quantizer {
 public:
  Quantizer(ir::Graph& graph, const CompileOptions& options)
      : graph_(graph), options_(options), fp8_(options.quant == WeightQuant::kFp8Channel) {}

  bool run() {
    const std::vector<ir::NodeId> order = graph_.order();
    find_routers();
    for (ir::NodeId id : order) {
      if (graph_.node(id).op == OpKind::kMoe && !fp8_) quantize_experts(id);
      const MatmulDesc* desc = std::get_if<MatmulDesc>(&graph_.node(id).attrs);
      if (desc == nullptr || !desc->transpose_b || desc->quant != WeightQuant::kNone) continue;
      if (wanted(graph_.node(id))) quantize(id);
    }
    if (narrow_ > 0) {
      log_info("{} matmuls stay in floats: fp8 wants rows of a multiple of {} values", narrow_,
               kFp8RowBytes);
    }
    return !weights_.empty();
  }

 private:
  /// Weights of matmuls from which, through pointwise ops at most, experts are chosen.
  void find_routers() {
    for (ir::NodeId id : graph_.order()) {
      if (graph_.node(id).op != OpKind::kMoeRoute) continue;
      ir::NodeId at = graph_.value(graph_.node(id).inputs[0]).producer;
      while (at != ir::kNoNode && graph_.node(at).op == OpKind::kPointwise) {
        at = graph_.value(graph_.node(at).inputs[0]).producer;
      }
      if (at != ir::kNoNode && graph_.node(at).op == OpKind::kMatmul) {
        routers_.insert(graph_.node(at).inputs[1]);
      }
    }
  }

  void quantize_experts(ir::NodeId id) {
    for (const size_t i : {size_t{1}, size_t{2}}) {
      if (graph_.value(graph_.node(id).inputs[i]).kind != ir::Value::Kind::kWeight) return;
    }
    for (const size_t i : {size_t{1}, size_t{2}}) {
      const ir::ValueId b = graph_.node(id).inputs[i];
      if (!weights_.contains(b)) weights_[b] = weight(b);
      ir::Node& node = graph_.node(id);
      node.inputs[i] = weights_[b].values;
      node.inputs.insert(node.inputs.begin() + static_cast<ptrdiff_t>(4 + i), weights_[b].scales);
    }
    auto& desc = std::get<MoeDesc>(graph_.node(id).attrs);
    desc.up.quant = desc.down.quant = options_.quant;
  }

  bool wanted(const ir::Node& node) {
    const ir::Value& b = graph_.value(node.inputs[1]);
    if (b.kind != ir::Value::Kind::kWeight || routers_.contains(node.inputs[1])) return false;
    if (!fp8_) return true;
    const auto excluded = [&](const std::string& source) {
      const auto& list = options_.unquantized;
      return std::find(list.begin(), list.end(), source) != list.end();
    };
    if (std::any_of(b.recipe.sources.begin(), b.recipe.sources.end(), excluded)) return false;
    if (b.type.dims[1].offset % kFp8RowBytes == 0) return true;
    ++narrow_;
    return false;
  }

  void quantize(ir::NodeId id) {
    const ir::ValueId a = graph_.node(id).inputs[0], b = graph_.node(id).inputs[1];
    if (!weights_.contains(b)) weights_[b] = weight(b);
    if (fp8_ && !activations_.contains(a)) activations_[a] = activation(a, id);
    ir::Node& node = graph_.node(id);
    node.inputs[1] = weights_[b].values;
    node.inputs.insert(node.inputs.begin() + 2, weights_[b].scales);
    if (fp8_) {
      node.inputs[0] = activations_[a].values;
      node.inputs.insert(node.inputs.begin() + 3, activations_[a].scales);
    }
    std::get<MatmulDesc>(node.attrs).quant = options_.quant;
  }

  Quantized weight(ir::ValueId id) {
    const ir::Value weight = graph_.value(id);
    ir::WeightRecipe recipe = weight.recipe;
    recipe.quant = options_.quant;
    const DType dtype = fp8_ ? DType::kF8E4M3 : DType::kI8;
    Quantized result;
    result.values = graph_.add_weight(weight.name + (fp8_ ? ".fp8" : ".int8"),
                                      {dtype, weight.type.dims}, recipe);
    recipe.part = ir::WeightRecipe::Part::kScales;
    std::vector<Dim> rows = weight.type.dims;
    rows.pop_back();
    result.scales =
        graph_.add_weight(weight.name + ".scales", {DType::kF32, std::move(rows)}, recipe);
    return result;
  }

  Quantized activation(ir::ValueId id, ir::NodeId user) {
    TensorType values = graph_.value(id).type, scales = values;
    values.dtype = DType::kF8E4M3;
    scales.dtype = DType::kF32;
    scales.dims.pop_back();
    ir::Node node{.op = OpKind::kQuantize, .name = "quantize", .inputs = {id}};
    const ir::NodeId made = graph_.insert_node_before(user, std::move(node), {values, scales});
    return {graph_.result(made, 0), graph_.result(made, 1)};
  }

  ir::Graph& graph_;
  const CompileOptions& options_;
  bool fp8_;
  int narrow_ = 0;
  std::set<ir::ValueId> routers_;
  std::map<ir::ValueId, Quantized> weights_, activations_;
};

class Quantize final : public Pass {
 public:
  std::string_view name() const override { return "quantize"; }
  bool required() const override { return true; }  // what the caller asked for in CompileOptions
  Result<bool> run(ir::Graph& graph, PassContext& context) override {
    if (context.options->quant == WeightQuant::kNone) return false;
    return Quantizer(graph, *context.options).run();
  }
};

}  // namespace

std::unique_ptr<Pass> make_quantize() { return std::make_unique<Quantize>(); }

}  // namespace ramjet::compiler

#include "models/moe.h"

#include "base/check.h"
#include "ir/network.h"

namespace ramjet::models {
namespace {

using Recipe = ir::WeightRecipe;

constexpr int64_t kMaxExperts = 1 << 16;  // of all layers: each has a name or three

PointwiseProgram gated_program(Activation activation) {
  PointwiseOp op = PointwiseOp::kSilu;
  if (activation == Activation::kGelu) op = PointwiseOp::kGelu;
  if (activation == Activation::kGeluTanh) op = PointwiseOp::kGeluTanh;
  if (activation == Activation::kRelu) op = PointwiseOp::kRelu;
  PointwiseProgram program;
  program.num_inputs = 2;
  program.instrs = {{.op = op, .a = 0}, {.op = PointwiseOp::kMul, .a = 2, .b = 1}};
  program.outputs = {3};
  return program;
}

}  // namespace

Result<MoeConfig> read_moe(const ConfigReader& config, const char* experts_field,
                           const char* intermediate_field) {
  MoeConfig moe;
  ASSIGN_OR_RETURN(moe.experts, config.integer(experts_field, {1, 1 << 16}));
  ASSIGN_OR_RETURN(moe.per_token, config.integer("num_experts_per_tok", {1, 1 << 16}));
  ASSIGN_OR_RETURN(moe.intermediate_size, config.integer(intermediate_field, {1, 1 << 20}));
  ASSIGN_OR_RETURN(const int64_t layers, config.integer("num_hidden_layers", {1, 1024}));
  if (moe.experts * layers > kMaxExperts) {
    return invalid_argument("config: {} {} in each of {} layers; at most {} are possible in all",
                            experts_field, moe.experts, layers, kMaxExperts);
  }
  if (moe.per_token > moe.experts) {
    return invalid_argument("config: num_experts_per_tok {} of {} {}", moe.per_token, experts_field,
                            moe.experts);
  }
  return moe;
}

Tensor router_logits(const MlpSite& site, const std::string& name, int64_t experts, bool bias) {
  const DType dtype = site.input.options.dtype;
  Tensor logits = cast(
      matmul(site.x, site.network.weight(name + ".weight", dtype, {experts, site.width}), true),
      DType::kF32);
  if (!bias) return logits;
  return logits + site.network.weight(name + ".bias", DType::kF32, {experts});
}

Tensor gated_experts(const MlpSite& site, const std::string& name, const MoeConfig& config,
                     const ExpertNames& names) {
  const DType dtype = site.input.options.dtype;
  const int64_t experts = config.experts, width = config.intermediate_size;
  const std::string prefix = name + ".experts";
  const bool stacked = site.input.has_tensor(prefix + ".gate_up_proj");
  Recipe up{.combine = Recipe::Combine::kInterleave, .experts = experts};
  Recipe down{.experts = experts};
  if (stacked) {
    up.sources = {prefix + ".gate_up_proj", prefix + ".gate_up_proj"};
    up.rows = {{.first = 0, .count = width}, {.first = width, .count = width}};
    down.sources = {prefix + ".down_proj"};
  }
  for (int64_t i = 0; i < experts && !stacked; ++i) {
    up.sources.push_back(fmt::format("{}.{}.{}.weight", prefix, i, names.gate));
    up.sources.push_back(fmt::format("{}.{}.{}.weight", prefix, i, names.up));
    down.sources.push_back(fmt::format("{}.{}.{}.weight", prefix, i, names.down));
  }
  MoeDesc desc;
  desc.up.accumulators = 2;
  desc.up.epilogue = gated_program(config.activation);
  const Tensor logits = router_logits(site, name + ".gate", experts, false);
  const auto [ids, weights] = ir::moe_route(
      logits, {.k = config.per_token, .renormalize = config.renormalize, .scale = config.scale});
  const Tensor operands[] = {
      ir::stored_weight(site.network, prefix + ".gate_up.weight",
                        {dtype, {experts, 2 * width, site.width}}, std::move(up)),
      ir::stored_weight(site.network, prefix + ".down.weight",
                        {dtype, {experts, site.width, width}}, std::move(down)),
      ids, weights};
  return ir::moe(site.x, operands, desc);
}

}  // namespace ramjet::models

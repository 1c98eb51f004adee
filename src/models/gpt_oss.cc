// GPT-OSS (OpenAI 2025): experts with biases and a clamped SwiGLU, an attention sink for each head,
// a window in every other layer.
//
// The experts' gate and up rows alternate. Their floats are stored [in, out]; the four-bit form
// ("_blocks" with "_scales") [out, in].
#include "base/json.h"
#include "ir/network.h"
#include "models/families.h"
#include "models/moe.h"

namespace ramjet::models {
namespace {

using Recipe = ir::WeightRecipe;

struct GptOss {
  MoeConfig moe;
  double alpha = 1.702;
  double limit = 7;
};

/// gate and up with their biases added and clamped, then (up + 1) * gate * sigmoid(alpha * gate).
PointwiseProgram clamped_swiglu(const GptOss& family) {
  using Op = PointwiseOp;
  const auto limit = static_cast<float>(family.limit);
  PointwiseProgram program;
  program.num_inputs = 4;  // gate, up, their biases
  program.instrs = {
      {.op = Op::kAdd, .a = 0, .b = 2},                               // 4: gate
      {.op = Op::kAdd, .a = 1, .b = 3},                               // 5: up
      {.op = Op::kConst, .value = limit},                             // 6
      {.op = Op::kConst, .value = -limit},                            // 7
      {.op = Op::kMin, .a = 4, .b = 6},                               // 8
      {.op = Op::kMin, .a = 5, .b = 6},                               // 9
      {.op = Op::kMax, .a = 9, .b = 7},                               // 10
      {.op = Op::kConst, .value = static_cast<float>(family.alpha)},  // 11
      {.op = Op::kMul, .a = 8, .b = 11},                              // 12
      {.op = Op::kSigmoid, .a = 12},                                  // 13
      {.op = Op::kMul, .a = 8, .b = 13},                              // 14
      {.op = Op::kConst, .value = 1.0f},                              // 15
      {.op = Op::kAdd, .a = 10, .b = 15},                             // 16
      {.op = Op::kMul, .a = 16, .b = 14},                             // 17
  };
  program.outputs = {17};
  return program;
}

Tensor block(const MlpSite& site, const GptOss& family) {
  const DType dtype = site.input.options.dtype;
  const std::string prefix = site.layer + ".mlp.experts";
  const int64_t experts = family.moe.experts, width = family.moe.intermediate_size;
  const bool four_bits = site.input.has_tensor(prefix + ".gate_up_proj_blocks");
  const auto made = [&](const std::string& name, std::vector<Dim> dims, Recipe recipe) {
    recipe.experts = experts;
    return ir::stored_weight(site.network, prefix + "." + name, {dtype, std::move(dims)},
                             std::move(recipe));
  };
  const std::string up = prefix + (four_bits ? ".gate_up_proj_blocks" : ".gate_up_proj");
  const std::string down = prefix + (four_bits ? ".down_proj_blocks" : ".down_proj");
  // Every other row, from the first or the second on.
  const ir::RowSelection gates = {.first = 0, .count = width, .run = 1, .stride = 2};
  const ir::RowSelection ups = {.first = 1, .count = width, .run = 1, .stride = 2};
  const std::vector<std::string> up_bias = {prefix + ".gate_up_proj_bias"};

  MoeDesc desc;
  desc.up.accumulators = 2;
  desc.up.epilogue = clamped_swiglu(family);
  desc.down.epilogue = PointwiseProgram::single(PointwiseOp::kAdd);
  const Tensor logits = router_logits(site, site.layer + ".mlp.router", experts, true);
  const auto [ids, weights] =
      ir::moe_route(logits, {.k = family.moe.per_token, .renormalize = true});
  const Tensor operands[] = {
      made("gate_up.weight", {experts, 2 * width, site.width},
           {.sources = {up, up},
            .rows = {gates, ups},
            .combine = Recipe::Combine::kInterleave,
            .transpose = !four_bits}),
      made("down.weight", {experts, site.width, width},
           {.sources = {down}, .transpose = !four_bits}),
      ids,
      weights,
      made("gate.bias", {experts, width}, {.sources = up_bias, .rows = {gates}}),
      made("up.bias", {experts, width}, {.sources = up_bias, .rows = {ups}}),
      made("down.bias", {experts, site.width}, {.sources = {prefix + ".down_proj_bias"}})};
  return ir::moe(site.x, operands, desc);
}

}  // namespace

Result<Model> build_gpt_oss(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 131072;
  defaults.num_kv_heads = 8;
  defaults.head_dim = 64;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool bias, input.config.flag("attention_bias", true));
  config.attention.qkv_bias = config.attention.o_bias = bias;
  config.attention.sinks = true;
  ASSIGN_OR_RETURN(const int64_t window, input.config.integer("sliding_window", {1, 1 << 26}, 128));
  ASSIGN_OR_RETURN(const auto sliding,
                   sliding_layers(input.config, config.num_layers,
                                  [](int64_t layer) { return layer % 2 == 0; }));
  config.attention.windows = windows_of(sliding, window);
  GptOss family;
  ASSIGN_OR_RETURN(family.moe, read_moe(input.config, "num_local_experts", "intermediate_size"));
  ASSIGN_OR_RETURN(family.alpha, input.config.number("swiglu_alpha", 0, 1e6, family.alpha));
  ASSIGN_OR_RETURN(family.limit, input.config.number("swiglu_limit", 0, 1e6, family.limit));
  config.mlp_hook = [family](const MlpSite& site) { return block(site, family); };
  return build_decoder(config, input);
}

}  // namespace ramjet::models

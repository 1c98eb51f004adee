// Qwen2-MoE (Qwen1.5-MoE, Qwen2-57B) and Qwen3-MoE: experts in every decoder_sparse_step-th layer
// but those of mlp_only_layers, the rest dense. Qwen2's have a shared expert beside them, behind a
// gate of its own.
#include <algorithm>

#include "base/json.h"
#include "models/families.h"
#include "models/moe.h"
#include "models/qwen_window.h"

namespace ramjet::models {
namespace {

struct QwenMoe {
  MoeConfig experts;
  std::vector<bool> sparse;  // of each layer
  int64_t shared_size = 0;   // 0: no shared expert
};

Result<std::vector<bool>> sparse_layers(const ConfigReader& config, int64_t num_layers) {
  ASSIGN_OR_RETURN(const int64_t step, config.integer("decoder_sparse_step", {1, 1 << 20}, 1));
  std::vector<bool> sparse(static_cast<size_t>(num_layers));
  for (int64_t i = 0; i < num_layers; ++i) sparse[static_cast<size_t>(i)] = (i + 1) % step == 0;
  if (!config.has("mlp_only_layers")) return sparse;
  const Json& dense = config.json()["mlp_only_layers"];
  const bool list = dense.is_array() && std::all_of(dense.begin(), dense.end(), [](const Json& i) {
                      return i.is_number_integer();
                    });
  if (!list) return invalid_argument("config: mlp_only_layers must be a list of layers");
  for (const Json& i : dense) {
    const auto layer = i.get<int64_t>();
    if (layer >= 0 && layer < num_layers) sparse[static_cast<size_t>(layer)] = false;
  }
  return sparse;
}

Tensor block(const MlpSite& site, const QwenMoe& moe) {
  const std::string name = site.layer + ".mlp";
  if (!moe.sparse[static_cast<size_t>(site.index)]) return site.dense(name, 0);
  const Tensor y = gated_experts(site, name, moe.experts, {});
  if (moe.shared_size == 0) return y;
  const Tensor gate = matmul(site.x,
                             site.network.weight(name + ".shared_expert_gate.weight",
                                                 site.input.options.dtype, {1, site.width}),
                             true);
  return y + sigmoid(gate) * site.dense(name + ".shared_expert", moe.shared_size);
}

Result<Model> build(DecoderConfig config, const FamilyInput& input, QwenMoe moe) {
  // Newer versions of transformers write the other name.
  const char* const experts = input.config.has("num_experts") ? "num_experts" : "num_local_experts";
  ASSIGN_OR_RETURN(moe.experts, read_moe(input.config, experts, "moe_intermediate_size"));
  ASSIGN_OR_RETURN(moe.experts.renormalize, input.config.flag("norm_topk_prob", false));
  moe.experts.activation = config.mlp.activation;
  ASSIGN_OR_RETURN(moe.sparse, sparse_layers(input.config, config.num_layers));
  config.mlp_hook = [moe = std::move(moe)](const MlpSite& site) { return block(site, moe); };
  return build_decoder(config, input);
}

}  // namespace

Result<Model> build_qwen2_moe(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 32768;
  defaults.num_kv_heads = 16;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("qkv_bias", true));
  ASSIGN_OR_RETURN(const bool windowed, input.config.flag("use_sliding_window", false));
  if (windowed && !input.config.has("layer_types")) {
    return unsupported("config: use_sliding_window without layer_types, which say where");
  }
  ASSIGN_OR_RETURN(config.attention.windows, qwen_windows(input.config, config.num_layers));
  QwenMoe moe;
  ASSIGN_OR_RETURN(moe.shared_size,
                   input.config.integer("shared_expert_intermediate_size", {1, 1 << 20}, 5632));
  return build(std::move(config), input, std::move(moe));
}

Result<Model> build_qwen3_moe(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 32768;
  defaults.num_kv_heads = 4;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool bias, input.config.flag("attention_bias", false));
  config.attention.qkv_bias = config.attention.o_bias = bias;
  config.attention.qk_norm = QkNorm::kHead;
  ASSIGN_OR_RETURN(const bool windowed, input.config.flag("use_sliding_window", false));
  if (windowed) {
    ASSIGN_OR_RETURN(const int64_t window,
                     input.config.integer("sliding_window", {1, 1 << 26}, 4096));
    ASSIGN_OR_RETURN(const auto sliding,
                     sliding_layers(input.config, config.num_layers, [](int64_t) { return true; }));
    config.attention.windows = windows_of(sliding, window);
  }
  return build(std::move(config), input, {});
}

}  // namespace ramjet::models

// StarCoder2 (Lozhkov et al. 2024): layer norms and biases, grouped queries, a window in all
// layers, and an MLP without a gate.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_starcoder2(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 4096;
  defaults.num_kv_heads = 2;
  defaults.tied = true;
  defaults.eps_field = "norm_epsilon";
  defaults.eps = 1e-5;
  defaults.activation = "gelu_pytorch_tanh";
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool bias, input.config.flag("use_bias", true));
  ASSIGN_OR_RETURN(const int64_t window, input.config.integer("sliding_window", {1, 1 << 26}, 0));
  config.attention.windows.assign(config.attention.windows.size(), window);
  config.attention.qkv_bias = config.attention.o_bias = config.mlp.bias = bias;
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  config.mlp.gated = false;
  config.mlp.up = "c_fc";
  config.mlp.down = "c_proj";
  return build_decoder(config, input);
}

}  // namespace ramjet::models

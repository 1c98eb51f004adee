// GLM-4 (Zeng et al. 2024): GlmForCausalLM, and the Glm4ForCausalLM of 2025 that norms what each
// branch adds, too. Half of a head rotates, in adjacent pairs; q, k and v have biases, gate and up
// are one tensor.
#include "models/families.h"

namespace ramjet::models {
namespace {

Result<DecoderConfig> read_glm(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 131072;
  defaults.num_kv_heads = 2;
  defaults.head_dim = 128;
  defaults.eps = 1.5625e-7;
  defaults.rope.share = 0.5;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("attention_bias", true));
  config.ropes[0].interleaved = true;
  config.mlp.gate_up = "gate_up_proj";
  return config;
}

}  // namespace

Result<Model> build_glm(const FamilyInput& input) {
  ASSIGN_OR_RETURN(const DecoderConfig config, read_glm(input));
  return build_decoder(config, input);
}

Result<Model> build_glm4(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_glm(input));
  config.norm.names = {"input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm",
                       "post_mlp_layernorm"};
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// OLMo 2 (2025): norms stand after attention and MLP, none before them, and q and k are normed over
// all their heads together.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_olmo2(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.eps = 1e-5;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("attention_bias", false));
  config.attention.o_bias = config.attention.qkv_bias;
  config.attention.qk_norm = QkNorm::kWidth;
  config.norm.names = {"", "post_attention_layernorm", "", "post_feedforward_layernorm"};
  return build_decoder(config, input);
}

}  // namespace ramjet::models

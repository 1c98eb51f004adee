// Qwen3, dense (Yang et al. 2025): no biases by default, a norm on each head of q and k, and a
// head_dim of its own.
#include "models/families.h"
#include "models/qwen_window.h"

namespace ramjet::models {

Result<Model> build_qwen3(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 32768;
  defaults.num_kv_heads = 32;
  defaults.head_dim = 128;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool bias, input.config.flag("attention_bias", false));
  config.attention.qkv_bias = bias;
  config.attention.o_bias = bias;
  config.attention.qk_norm = QkNorm::kHead;
  ASSIGN_OR_RETURN(config.attention.windows, qwen_windows(input.config, config.num_layers));
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// Llama 2, 3, 3.1 and later (Touvron et al. 2023, Dubey et al. 2024), and the many models that
// share the architecture's name: Vicuna, CodeLlama, TinyLlama, SmolLM, ...
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_llama(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, {}));
  ASSIGN_OR_RETURN(const bool attention_bias, input.config.flag("attention_bias", false));
  config.attention.qkv_bias = attention_bias;
  config.attention.o_bias = attention_bias;
  ASSIGN_OR_RETURN(config.mlp.bias, input.config.flag("mlp_bias", false));
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// Granite 3 (IBM, 2024): Llama with multipliers on embeddings, on the scores of attention, on what
// each branch adds, and with logits divided by a scale.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_granite(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, {}));
  const ConfigReader& reader = input.config;
  ASSIGN_OR_RETURN(config.attention.qkv_bias, reader.flag("attention_bias", false));
  config.attention.o_bias = config.attention.qkv_bias;
  ASSIGN_OR_RETURN(config.mlp.bias, reader.flag("mlp_bias", false));
  constexpr double kMost = 1e6;
  ASSIGN_OR_RETURN(config.scales.embedding, reader.number("embedding_multiplier", 0, kMost, 1.0));
  ASSIGN_OR_RETURN(config.scales.residual, reader.number("residual_multiplier", 0, kMost, 1.0));
  ASSIGN_OR_RETURN(config.attention.scale, reader.number("attention_multiplier", 0, kMost, 1.0));
  ASSIGN_OR_RETURN(const double logits, reader.number("logits_scaling", 1e-6, kMost, 1.0));
  config.scales.logits = 1 / logits;
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al. 2024): Llama with q, k and v in one tensor, gate and
// up in another, LongRoPE, and in Phi-4-mini a rotation of three quarters of a head.
//
// LongRoPE rotates by the short factors until a sequence is longer than the trained context. As in
// transformers' forward pass, the keys of a prompt share its own choice and what is generated past
// the boundary is rotated by the long factors; keys before the boundary stay as they are, where
// transformers' generate() would compute them again.
#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_phi3(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 4096;
  defaults.eps = 1e-5;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const int64_t window, input.config.integer("sliding_window", {1, 1 << 26}, 0));
  config.attention.windows.assign(config.attention.windows.size(), window);
  config.attention.form = QkvForm::kStacked;
  config.mlp.gate_up = "gate_up_proj";
  return build_decoder(config, input);
}

}  // namespace ramjet::models

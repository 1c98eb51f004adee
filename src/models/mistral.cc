// Mistral 7B (Jiang et al. 2023) and its successors without experts: Llama with a sliding window
// in all layers, which later versions switch off with null.
#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_mistral(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 4096 * 32;
  defaults.num_kv_heads = 8;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  // An absent field means the first version's window; null means none.
  const bool none = input.config.json().contains("sliding_window");
  ASSIGN_OR_RETURN(const int64_t window,
                   input.config.integer("sliding_window", {1, 1 << 26}, none ? 0 : 4096));
  ASSIGN_OR_RETURN(const auto sliding,
                   sliding_layers(input.config, config.num_layers, [](int64_t) { return true; }));
  config.attention.windows = windows_of(sliding, window);
  return build_decoder(config, input);
}

}  // namespace ramjet::models

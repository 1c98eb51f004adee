// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases on q, k and v, and an optional window in
// the layers from max_window_layers on.
#include "models/families.h"
#include "models/qwen_window.h"

namespace ramjet::models {

Result<std::vector<int64_t>> qwen_windows(const ConfigReader& config, int64_t num_layers) {
  ASSIGN_OR_RETURN(const bool windowed, config.flag("use_sliding_window", false));
  if (!windowed) return std::vector<int64_t>(static_cast<size_t>(num_layers), 0);
  ASSIGN_OR_RETURN(const int64_t window, config.integer("sliding_window", {1, 1 << 26}, 4096));
  ASSIGN_OR_RETURN(const int64_t first, config.integer("max_window_layers", {0, 1 << 20}, 28));
  ASSIGN_OR_RETURN(const auto sliding, sliding_layers(config, num_layers, [first](int64_t layer) {
                     return layer >= first;
                   }));
  return windows_of(sliding, window);
}

Result<Model> build_qwen2(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 32768;
  defaults.num_kv_heads = 32;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  config.attention.qkv_bias = true;
  ASSIGN_OR_RETURN(config.attention.windows, qwen_windows(input.config, config.num_layers));
  return build_decoder(config, input);
}

}  // namespace ramjet::models

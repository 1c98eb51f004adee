// SmolLM3 (Hugging Face, 2025): Llama in which every fourth layer rotates nothing (NoPE).
#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {
namespace {

/// Whether each layer rotates: no_rope_layers has a 1 for those that do.
Result<std::vector<bool>> rotating_layers(const ConfigReader& config, int64_t num_layers) {
  ASSIGN_OR_RETURN(const int64_t period, config.integer("no_rope_layer_interval", {1, 1024}, 4));
  std::vector<bool> rotating;
  if (!config.has("no_rope_layers")) {
    for (int64_t i = 0; i < num_layers; ++i) rotating.push_back((i + 1) % period != 0);
    return rotating;
  }
  const Json& list = config.json()["no_rope_layers"];
  if (!list.is_array() || static_cast<int64_t>(list.size()) != num_layers) {
    return invalid_argument("config: no_rope_layers must list {} layers", num_layers);
  }
  for (const Json& entry : list) {
    if (entry != 0 && entry != 1) {
      return invalid_argument("config: no_rope_layers has {}; it is 0 or 1 for each layer",
                              dump_json(entry).substr(0, 64));
    }
    rotating.push_back(entry == 1);
  }
  return rotating;
}

}  // namespace

Result<Model> build_smollm3(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 32768;
  defaults.num_kv_heads = 4;
  defaults.tied = true;
  defaults.rope.theta = 2e6;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  const ConfigReader& reader = input.config;
  ASSIGN_OR_RETURN(config.attention.qkv_bias, reader.flag("attention_bias", false));
  config.attention.o_bias = config.attention.qkv_bias;
  ASSIGN_OR_RETURN(config.mlp.bias, reader.flag("mlp_bias", false));
  ASSIGN_OR_RETURN(const auto rotating, rotating_layers(reader, config.num_layers));
  for (size_t i = 0; i < rotating.size(); ++i) config.attention.ropes[i] = rotating[i] ? 0 : -1;
  ASSIGN_OR_RETURN(const bool windowed, reader.flag("use_sliding_window", false));
  if (windowed) {
    ASSIGN_OR_RETURN(const int64_t window, reader.integer("sliding_window", {1, 1 << 26}, 0));
    ASSIGN_OR_RETURN(const auto sliding, sliding_layers(reader, config.num_layers, [&](int64_t i) {
                       return !rotating[static_cast<size_t>(i)];
                     }));
    config.attention.windows = windows_of(sliding, window);
  }
  return build_decoder(config, input);
}

}  // namespace ramjet::models

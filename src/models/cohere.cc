// Command R and Aya 23 (Cohere, 2024), and Command R7B (Cohere2): attention and MLP side by side
// behind one layer norm without bias, adjacent pairs rotate, logits are scaled. Cohere2 has a
// window in three layers of four and rotates nothing in the fourth.
#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {
namespace {

Result<DecoderConfig> read_cohere(const FamilyInput& input, double theta) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 8192;
  defaults.tied = true;
  defaults.eps_field = "layer_norm_eps";
  defaults.eps = 1e-5;
  defaults.rope.theta = theta;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(config.scales.logits, input.config.number("logit_scale", 0, 1e6, 0.0625));
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("attention_bias", false));
  config.attention.o_bias = config.attention.qkv_bias;
  ASSIGN_OR_RETURN(const bool head_norms, input.config.flag("use_qk_norm", false));
  if (head_norms) {
    return unsupported(
        "config: use_qk_norm is true (Command R+); Cohere models are supported "
        "without layer norms of each head");
  }
  config.ropes[0].interleaved = true;
  config.parallel = true;
  config.norm.kind = NormKind::kLayer;
  config.norm.names = {.before_attention = "input_layernorm", .before_mlp = ""};
  return config;
}

}  // namespace

Result<Model> build_cohere(const FamilyInput& input) {
  ASSIGN_OR_RETURN(const DecoderConfig config, read_cohere(input, 500000));
  return build_decoder(config, input);
}

Result<Model> build_cohere2(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_cohere(input, 10000));
  ASSIGN_OR_RETURN(const int64_t period,
                   input.config.integer("sliding_window_pattern", {1, 1024}, 4));
  const bool none = input.config.json().contains("sliding_window");
  ASSIGN_OR_RETURN(const int64_t window,
                   input.config.integer("sliding_window", {1, 1 << 26}, none ? 0 : 4096));
  ASSIGN_OR_RETURN(const auto sliding,
                   sliding_layers(input.config, config.num_layers,
                                  [period](int64_t i) { return (i + 1) % period != 0; }));
  config.attention.windows = windows_of(sliding, window);
  for (size_t i = 0; i < sliding.size(); ++i) config.attention.ropes[i] = sliding[i] ? 0 : -1;
  return build_decoder(config, input);
}

}  // namespace ramjet::models

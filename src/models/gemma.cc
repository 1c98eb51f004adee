// Gemma (2024), Gemma 2 (2024) and Gemma 3 (2025), text: norms scale by 1 + weight, embeddings by
// the root of the width, and the MLP's gate is a tanh GELU. Gemma 2 norms what a branch adds too,
// caps the scores of attention and the logits, and sees a window in every other layer; Gemma 3 has
// norms of each head in place of the caps, a window in five layers of six, and another rope there.
#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "models/families.h"
#include "tensor/half.h"

namespace ramjet::models {
namespace {

FamilyDefaults gemma_defaults() {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 8192;
  defaults.head_dim = 256;
  defaults.tied = true;
  defaults.activation_field = "hidden_activation";
  defaults.activation = "gelu_pytorch_tanh";
  return defaults;
}

/// transformers keeps the embeddings' scale in their dtype, as the models were trained.
double embedding_scale(const DecoderConfig& config, DType dtype) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
  return dtype == DType::kBf16 ? bf16_to_f32(f32_to_bf16(root)) : root;
}

Result<DecoderConfig> read_gemma(const FamilyInput& input, const FamilyDefaults& defaults) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool both_ways, input.config.flag("use_bidirectional_attention", false));
  if (both_ways) {
    return unsupported("config: use_bidirectional_attention makes an encoder of this decoder");
  }
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("attention_bias", false));
  config.attention.o_bias = config.attention.qkv_bias;
  config.norm.weight_offset = 1;
  config.scales.embedding = embedding_scale(config, input.options.dtype);
  return config;
}

/// What Gemma 2 and 3 share; `period`: one layer of so many sees all keys.
Result<DecoderConfig> read_sandwich(const FamilyInput& input, const FamilyDefaults& defaults,
                                    int64_t period) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_gemma(input, defaults));
  config.norm.names = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                       "post_feedforward_layernorm"};
  ASSIGN_OR_RETURN(const double scalar,
                   input.config.number("query_pre_attn_scalar", 1e-6, 1 << 20, 256.0));
  config.attention.scale = 1 / std::sqrt(scalar);
  const bool windowless = input.config.json().contains("sliding_window");
  ASSIGN_OR_RETURN(const int64_t window,
                   input.config.integer("sliding_window", {1, 1 << 26}, windowless ? 0 : 4096));
  ASSIGN_OR_RETURN(const auto sliding,
                   sliding_layers(input.config, config.num_layers,
                                  [period](int64_t i) { return (i + 1) % period != 0; }));
  config.attention.windows = windows_of(sliding, window);
  for (size_t i = 0; i < sliding.size(); ++i) config.attention.ropes[i] = sliding[i] ? 1 : 0;
  return config;
}

/// A cap that is there unless null; absent: `fallback`.
Result<double> read_cap(const ConfigReader& config, const char* field, double fallback) {
  return config.number(field, 0, 1e6, config.json().contains(field) ? 0.0 : fallback);
}

/// Where a checkpoint keeps the text model: that of a multimodal one lies deeper.
struct TextNames {
  std::string model = "model.";
  std::string head = "lm_head";
};

Result<Model> build_gemma3_text(const FamilyInput& input, const TextNames& names) {
  FamilyDefaults defaults = gemma_defaults();
  defaults.max_position_embeddings = 131072;
  defaults.vocab_size = 262208;
  defaults.num_heads = 8;
  defaults.num_kv_heads = 4;
  defaults.rope = {.theta = 1e6, .layer_type = "full_attention"};
  const ConfigReader& reader = input.config;
  ASSIGN_OR_RETURN(const int64_t period, reader.integer("sliding_window_pattern", {1, 1024}, 6));
  ASSIGN_OR_RETURN(DecoderConfig config, read_sandwich(input, defaults, period));
  // The model's positions are those under the scaling already.
  ASSIGN_OR_RETURN(config.max_positions,
                   reader.integer("max_position_embeddings", {1, 1 << 26}, 131072));
  const RopeDefaults local{
      .theta_field = "rope_local_base_freq", .layer_type = "sliding_attention", .scaled = false};
  ASSIGN_OR_RETURN(RopeConfig rope,
                   read_rope(reader, config.attention.head_dim, config.max_positions, local));
  config.ropes.push_back(std::move(rope.spec));
  config.attention.qk_norm = QkNorm::kHead;
  ASSIGN_OR_RETURN(config.attention.softcap, read_cap(reader, "attn_logit_softcapping", 0));
  ASSIGN_OR_RETURN(config.scales.logit_softcap, read_cap(reader, "final_logit_softcapping", 0));
  config.names.embedding = names.model + "embed_tokens";
  config.names.layers = names.model + "layers";
  config.names.final_norm = names.model + "norm";
  config.names.head = names.head;
  return build_decoder(config, input);
}

}  // namespace

Result<Model> build_gemma(const FamilyInput& input) {
  FamilyDefaults defaults = gemma_defaults();
  // The first releases say "gelu" and mean its tanh form.
  if (!input.config.has("hidden_activation")) defaults.activation_field = "hidden_act";
  ASSIGN_OR_RETURN(DecoderConfig config, read_gemma(input, defaults));
  if (config.mlp.activation == Activation::kGelu) config.mlp.activation = Activation::kGeluTanh;
  return build_decoder(config, input);
}

Result<Model> build_gemma2(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_sandwich(input, gemma_defaults(), 2));
  config.attention.ropes.assign(config.attention.ropes.size(), 0);
  ASSIGN_OR_RETURN(config.attention.softcap, read_cap(input.config, "attn_logit_softcapping", 50));
  ASSIGN_OR_RETURN(config.scales.logit_softcap,
                   read_cap(input.config, "final_logit_softcapping", 30));
  return build_decoder(config, input);
}

Result<Model> build_gemma3(const FamilyInput& input) { return build_gemma3_text(input, {}); }

Result<Model> build_gemma3_multimodal(const FamilyInput& input) {
  ASSIGN_OR_RETURN(const ConfigReader text, input.config.object("text_config"));
  TextNames names{"language_model.model.", "language_model.lm_head"};
  if (input.has_tensor("model.language_model.embed_tokens.weight")) {
    names = {"model.language_model.", "lm_head"};
  }
  ASSIGN_OR_RETURN(Model model, build_gemma3_text({text, input.options, input.has_tensor}, names));
  ASSIGN_OR_RETURN(auto eos, input.config.ids("eos_token_id"));
  if (!eos.empty()) model.info.eos_ids = std::move(eos);
  return model;
}

}  // namespace ramjet::models

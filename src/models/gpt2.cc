// GPT-2 (Radford et al. 2019): layer norms and biases throughout, learned positions, and matrices
// that lie as [in, out]; q, k and v are one tensor, and the head is the embedding.
#include <cmath>

#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {
namespace {

/// Fields have names of their own.
Result<DecoderConfig> read_gpt2(const ConfigReader& config) {
  DecoderConfig out;
  ASSIGN_OR_RETURN(out.vocab_size, config.integer("vocab_size", {1, 1 << 22}, 50257));
  ASSIGN_OR_RETURN(out.hidden_size, config.integer("n_embd", {2, 1 << 17}, 768));
  ASSIGN_OR_RETURN(out.num_layers, config.integer("n_layer", {1, 1024}, 12));
  ASSIGN_OR_RETURN(out.max_positions, config.integer("n_positions", {1, 1 << 26}, 1024));
  ASSIGN_OR_RETURN(out.norm.eps, config.number("layer_norm_epsilon", 0, 1, 1e-5));
  ASSIGN_OR_RETURN(out.mlp.intermediate_size,
                   config.integer("n_inner", {1, 1 << 20}, 4 * out.hidden_size));
  ASSIGN_OR_RETURN(out.mlp.activation, read_activation(config, "activation_function", "gelu_new"));
  ASSIGN_OR_RETURN(out.tied_embeddings, config.flag("tie_word_embeddings", true));
  AttentionConfig& attention = out.attention;
  ASSIGN_OR_RETURN(attention.num_heads, config.integer("n_head", {1, 4096}, 12));
  if (out.hidden_size % attention.num_heads != 0 || out.hidden_size / attention.num_heads > 1024) {
    return invalid_argument(
        "config: n_embd {} is no multiple of n_head {}, or its heads are wider "
        "than 1024",
        out.hidden_size, attention.num_heads);
  }
  attention.num_kv_heads = attention.num_heads;
  attention.head_dim = out.hidden_size / attention.num_heads;
  return out;
}

}  // namespace

Result<Model> build_gpt2(const FamilyInput& input) {
  ASSIGN_OR_RETURN(DecoderConfig config, read_gpt2(input.config));
  ASSIGN_OR_RETURN(const bool by_layer,
                   input.config.flag("scale_attn_by_inverse_layer_idx", false));
  if (by_layer) {
    return unsupported(
        "config: scale_attn_by_inverse_layer_idx is true; GPT-2 is supported "
        "without that scaling");
  }
  ASSIGN_OR_RETURN(const bool scaled, input.config.flag("scale_attn_weights", true));
  if (!scaled) config.attention.scale = 1;
  const auto layers = static_cast<size_t>(config.num_layers);
  config.attention.windows.assign(layers, 0);
  config.attention.ropes.assign(layers, -1);
  config.attention.qkv_bias = config.attention.o_bias = config.mlp.bias = true;
  config.attention.form = QkvForm::kStacked;
  config.attention.names = {.scope = "attn", .qkv = "c_attn", .o = "c_proj"};
  config.mlp.gated = false;
  config.mlp.up = "c_fc";
  config.mlp.down = "c_proj";
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  config.norm.names = {.before_attention = "ln_1", .before_mlp = "ln_2"};
  // The first releases have no "transformer." before names.
  const std::string prefix = input.has_tensor("wte.weight") ? "" : "transformer.";
  config.names = {.embedding = prefix + "wte",
                  .positions = prefix + "wpe",
                  .layers = prefix + "h",
                  .final_norm = prefix + "ln_f",
                  .transposed = true};
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// Falcon (Almazrouei et al. 2023): layer norms, one or few KV heads, q, k and v in one tensor, and
// attention and MLP side by side. Those with ALiBi in place of a rotation are refused.
#include "models/families.h"

namespace ramjet::models {
namespace {

Result<int64_t> read_kv_heads(const ConfigReader& config, int64_t heads, bool modern) {
  ASSIGN_OR_RETURN(const bool one, config.flag("multi_query", true));
  if (!modern) return one ? 1 : heads;
  ASSIGN_OR_RETURN(const int64_t kv_heads, config.integer("num_kv_heads", {1, 4096}, heads));
  if (heads % kv_heads == 0) return kv_heads;
  return invalid_argument("config: num_attention_heads {} is no multiple of num_kv_heads {}", heads,
                          kv_heads);
}

Result<BlockNorms> read_norms(const ConfigReader& config, bool modern, bool parallel) {
  if (!parallel) return BlockNorms{};
  ASSIGN_OR_RETURN(const int64_t count,
                   config.integer("num_ln_in_parallel_attn", {1, 2}, modern ? 2 : 1));
  if (modern && count == 2)
    return BlockNorms{.before_attention = "ln_attn", .before_mlp = "ln_mlp"};
  return BlockNorms{.before_attention = "input_layernorm", .before_mlp = ""};
}

}  // namespace

Result<Model> build_falcon(const FamilyInput& input) {
  const ConfigReader& reader = input.config;
  FamilyDefaults defaults;
  defaults.vocab_size = 65024;
  defaults.intermediate_size = 1;  // it has another name
  defaults.tied = true;
  defaults.eps_field = "layer_norm_epsilon";
  defaults.eps = 1e-5;
  defaults.activation_field = "activation";
  defaults.activation = "gelu";
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool alibi, reader.flag("alibi", false));
  if (alibi) return unsupported("config: alibi is true; Falcon is supported with rotations only");
  ASSIGN_OR_RETURN(config.mlp.intermediate_size,
                   reader.integer("ffn_hidden_size", {1, 1 << 20}, 4 * config.hidden_size));
  ASSIGN_OR_RETURN(const bool modern, reader.flag("new_decoder_architecture", false));
  ASSIGN_OR_RETURN(const bool side_by_side, reader.flag("parallel_attn", true));
  ASSIGN_OR_RETURN(const bool bias, reader.flag("bias", false));
  config.parallel = modern || side_by_side;
  if (config.parallel != side_by_side) {
    return unsupported("config: parallel_attn is false in Falcon's new architecture");
  }
  AttentionConfig& attention = config.attention;
  ASSIGN_OR_RETURN(attention.num_kv_heads, read_kv_heads(reader, attention.num_heads, modern));
  ASSIGN_OR_RETURN(config.norm.names, read_norms(reader, modern, config.parallel));
  attention.qkv_bias = attention.o_bias = config.mlp.bias = bias;
  attention.form = QkvForm::kGrouped;
  attention.names = {.scope = "self_attention", .qkv = "query_key_value", .o = "dense"};
  config.mlp.gated = false;
  config.mlp.up = "dense_h_to_4h";
  config.mlp.down = "dense_4h_to_h";
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  config.names = {.embedding = "transformer.word_embeddings",
                  .layers = "transformer.h",
                  .final_norm = "transformer.ln_f"};
  return build_decoder(config, input);
}

}  // namespace ramjet::models

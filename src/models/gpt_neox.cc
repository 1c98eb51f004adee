// GPT-NeoX (Black et al. 2022) and Pythia: layer norms and biases, a rotation of part of each head,
// q, k and v of one head after another in one tensor, and attention and MLP side by side, each
// behind a norm of its own.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_gpt_neox(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.eps_field = "layer_norm_eps";
  defaults.eps = 1e-5;
  defaults.activation = "gelu";
  defaults.rope.share = 0.25;
  defaults.rope.theta_field = "rotary_emb_base";
  defaults.rope.share_field = "rotary_pct";
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool bias, input.config.flag("attention_bias", true));
  ASSIGN_OR_RETURN(config.parallel, input.config.flag("use_parallel_residual", true));
  config.attention.qkv_bias = config.attention.o_bias = bias;
  config.attention.form = QkvForm::kGrouped;
  config.attention.names = {.scope = "attention", .qkv = "query_key_value", .o = "dense"};
  config.mlp.bias = true;
  config.mlp.gated = false;
  config.mlp.up = "dense_h_to_4h";
  config.mlp.down = "dense_4h_to_h";
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  config.names = {.embedding = "gpt_neox.embed_in",
                  .layers = "gpt_neox.layers",
                  .final_norm = "gpt_neox.final_layer_norm",
                  .head = input.has_tensor("lm_head.weight") ? "lm_head" : "embed_out"};
  return build_decoder(config, input);
}

}  // namespace ramjet::models

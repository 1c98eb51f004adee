// Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023): layer norms and biases, a rotation of part of
// each head, and attention and MLP side by side behind one norm.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_phi(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.eps_field = "layer_norm_eps";
  defaults.eps = 1e-5;
  defaults.activation = "gelu_new";
  defaults.rope.share = 0.5;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool head_norms, input.config.flag("qk_layernorm", false));
  if (head_norms) {
    return unsupported(
        "config: qk_layernorm is true; Phi is supported without layer norms of q and "
        "k");
  }
  config.parallel = true;
  config.attention.qkv_bias = config.attention.o_bias = config.mlp.bias = true;
  config.attention.names.o = "dense";
  config.mlp.gated = false;
  config.mlp.up = "fc1";
  config.mlp.down = "fc2";
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  config.norm.names = {.before_attention = "input_layernorm", .before_mlp = ""};
  config.names.final_norm = "model.final_layernorm";
  config.names.head_bias = true;
  return build_decoder(config, input);
}

}  // namespace ramjet::models

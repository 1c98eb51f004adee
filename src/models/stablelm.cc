// StableLM 2 and StableLM 3B (Bellagente et al. 2024): layer norms, a rotation of a quarter of each
// head, and in some models attention and MLP side by side.
#include "models/families.h"

namespace ramjet::models {

Result<Model> build_stablelm(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 4096;
  defaults.num_kv_heads = 32;
  defaults.eps_field = "layer_norm_eps";
  defaults.eps = 1e-5;
  defaults.rope.share = 0.25;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const bool head_norms, input.config.flag("qk_layernorm", false));
  if (head_norms) {
    return unsupported(
        "config: qk_layernorm is true; StableLM is supported without layer norms of "
        "its own for each head");
  }
  ASSIGN_OR_RETURN(config.attention.qkv_bias, input.config.flag("use_qkv_bias", false));
  ASSIGN_OR_RETURN(config.parallel, input.config.flag("use_parallel_residual", false));
  if (config.parallel) config.norm.names.before_mlp.clear();
  config.norm.kind = NormKind::kLayer;
  config.norm.bias = true;
  return build_decoder(config, input);
}

}  // namespace ramjet::models

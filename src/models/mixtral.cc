// Mixtral (Jiang et al. 2024): Mistral with experts in each layer, whose weights are softmaxed over
// the chosen ones.
#include "models/families.h"
#include "models/moe.h"

namespace ramjet::models {

Result<Model> build_mixtral(const FamilyInput& input) {
  FamilyDefaults defaults;
  defaults.max_position_embeddings = 4096 * 32;
  defaults.num_kv_heads = 8;
  ASSIGN_OR_RETURN(DecoderConfig config, read_decoder_config(input, defaults));
  ASSIGN_OR_RETURN(const int64_t window, input.config.integer("sliding_window", {1, 1 << 26}, 0));
  ASSIGN_OR_RETURN(const auto sliding,
                   sliding_layers(input.config, config.num_layers, [](int64_t) { return true; }));
  config.attention.windows = windows_of(sliding, window);
  ASSIGN_OR_RETURN(MoeConfig moe, read_moe(input.config, "num_local_experts", "intermediate_size"));
  moe.activation = config.mlp.activation;
  config.mlp_hook = [moe](const MlpSite& site) {
    // Folders written from the newer class's own state call the block "mlp".
    const bool renamed = site.input.has_tensor(site.layer + ".mlp.gate.weight");
    return gated_experts(site, site.layer + (renamed ? ".mlp" : ".block_sparse_moe"), moe,
                         {.gate = "w1", .up = "w3", .down = "w2"});
  };
  return build_decoder(config, input);
}

}  // namespace ramjet::models

// Mixture-of-experts blocks: the parts of a decoder's MLP that families with experts share.
//
// Plain values and free functions. Weights are found under the names that checkpoints use: each
// expert's own tensors, or tensors of all experts stacked.
#pragma once

#include <string>
#include <string_view>

#include "models/decoder.h"

namespace ramjet::models {

struct MoeConfig {
  int64_t experts = 0;
  int64_t per_token = 0;
  int64_t intermediate_size = 0;  // of one expert
  bool renormalize = true;        // weights of the chosen experts sum to 1
  double scale = 1;               // of their sum
  Activation activation = Activation::kSilu;
};

/// What a family calls the matrices of an expert.
struct ExpertNames {
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
};

/// num_experts_per_tok, and `experts` and `intermediate_size` from the fields named.
Result<MoeConfig> read_moe(const ConfigReader& config, const char* experts_field,
                           const char* intermediate_field);

/// Logits of the router "NAME.weight" with "NAME.bias" if `bias`, in f32.
Tensor router_logits(const MlpSite& site, const std::string& name, int64_t experts, bool bias);

/// The whole block under `name` ("model.layers.0.mlp"), with its router "NAME.gate".
Tensor gated_experts(const MlpSite& site, const std::string& name, const MoeConfig& config,
                     const ExpertNames& names);

}  // namespace ramjet::models

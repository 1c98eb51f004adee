// Rotary embedding of a Hugging Face configuration, in the old spelling (rope_theta, rope_scaling)
// and the new one (rope_parameters). Stateless.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "models/config_reader.h"
#include "op/descriptors.h"

namespace ramjet::models {

struct RopeConfig {
  RopeSpec spec;
  /// Positions the scaling is made for: what max_position_embeddings becomes under it.
  int64_t max_positions = 0;
};

/// A family's fields of the old spelling, and what stands in for absent ones.
struct RopeDefaults {
  double theta = 10000;
  double share = 1;  // of a head's dimensions that rotate
  const char* theta_field = "rope_theta";
  const char* share_field = "partial_rotary_factor";
  const char* layer_type = nullptr;  // whose entry counts where rope_parameters has one a type
  bool scaled = true;                // whether rope_scaling is of these layers
};

/// Kinds: default, linear, dynamic, llama3, yarn, longrope (also spelled "su"). Follows
/// transformers' modeling_rope_utils for defaults and for what stands in for absent fields.
Result<RopeConfig> read_rope(const ConfigReader& config, int64_t head_dim, int64_t max_position,
                             const RopeDefaults& defaults = {});

}  // namespace ramjet::models

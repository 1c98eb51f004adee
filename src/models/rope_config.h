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

/// Kinds: default, linear, dynamic, llama3, yarn, longrope (also spelled "su"). Follows
/// transformers' modeling_rope_utils for defaults and for what stands in for absent fields.
Result<RopeConfig> read_rope(const ConfigReader& config, int64_t head_dim, int64_t max_position);

}  // namespace ramjet::models

// Rotary embedding frequencies: the one definition that every backend's rope_table uses.
#pragma once

#include <span>

#include "op/descriptors.h"

namespace ramjet {

/// Fills inv_freq[rotary_dim / 2] for a sequence of `kv_len` tokens (dynamic and longrope depend
/// on it) and returns the factor for cos and sin. Follows transformers' modeling_rope_utils:
/// linear, dynamic NTK, llama3 (Llama 3.1), YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024).
float rope_inv_freq(const RopeSpec& spec, int64_t kv_len, std::span<float> inv_freq);

}  // namespace ramjet

// The reference of sampling, one row at a time: by sorting. Pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernel.h"
#include "op/sampling.h"

namespace ramjet::kernels::reference {

struct SampleFilter {
  float temperature = 1;  // 0: the most likely token
  int32_t top_k = 0;      // 0 and below: off
  float top_p = 1;
  float min_p = 0;
};

/// The token that `uniform` in [0, 1) draws from finite logits, one of them above minus infinity.
int32_t draw_token(std::span<const float> x, const SampleFilter& filter, double uniform);

/// The op with `nudge` added to every random number: where the choice changes, rounding may too.
void sample_nudged(const KernelCall& call, double nudge);

}  // namespace ramjet::kernels::reference

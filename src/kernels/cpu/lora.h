// lora on the CPU: which ones the fast kernels take, and how a step's rows are grouped for them.
//
// Rows of one slot form tiles, so that a slot's matrices are read once for several tokens. All of
// it lies in the call's workspace. Pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernel.h"

namespace ramjet::kernels::cpu {

/// All operands but slots and scales in one float dtype.
bool lora_ok(const OpDesc& desc);
int64_t lora_workspace(const OpDesc& desc);

/// Up to so many rows of a slot; slot -1: of none, to be cleared.
struct LoraTile {
  int32_t first = 0;  // in LoraPlan::rows
  int32_t count = 0;
  int32_t slot = -1;
};

struct LoraPlan {
  std::span<const LoraTile> tiles;
  const int32_t* rows = nullptr;  // of x, by slot
  float* inner = nullptr;         // [rows of x, inner_width]: what the first matrices give
  int64_t inner_width = 0;        // ranks of all parts
  bool idle = true;               // no row has an adapter; the rest is unset
};

LoraPlan plan_lora(const KernelCall& call, int32_t tile_rows);

}  // namespace ramjet::kernels::cpu

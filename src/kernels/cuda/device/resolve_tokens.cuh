// resolve_tokens: ids below zero stand for tokens that an earlier step chose (op/sampling.h).
//   ROW_FACTOR, ROW_OFFSET
#pragma once

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(256)
    resolve_tokens(const int* ids, const int* chosen, int* out, const int* symbol) {
  allow_next_kernel();
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  await_last_kernel();
  if (at >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return;
  const int id = ids[at];
  out[at] = id < 0 ? chosen[-1 - id] : id;
}

// topk: a block a row, one round a result. A key orders as the op does (NaN first, equal values by
// index); a thread keeps the largest key of its own elements that is not yet taken, so a round
// costs one reduction and one thread's look at its elements.
//   X_T OUT_T, K; the including source defines index_t, outer_extent, axis_extent
#pragma once

#include "general.cuh"

inline constexpr int kThreads = 1024;

__device__ __forceinline__ uint64_t topk_key(float value, uint32_t index) {
  if (value == 0.0f) value = 0.0f;  // both zeros are equal
  uint32_t bits = __float_as_uint(value);
  bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (value != value) bits = 0xfff00000u;  // above infinity, and no key is the largest of all
  return uint64_t{bits} << 32 | ~index;
}

/// The largest key below `below` among the thread's elements; 0: none.
__device__ __forceinline__ uint64_t largest_below(const X_T* row, uint32_t width, uint64_t below) {
  uint64_t best = 0;
#pragma unroll 8
  for (uint32_t i = threadIdx.x; i < width; i += kThreads) {
    const uint64_t key = topk_key(to_float(row[i]), i);
    if (key < below && key > best) best = key;
  }
  return best;
}

__device__ __forceinline__ uint64_t block_largest(uint64_t key, uint64_t* scratch) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, key, step);
    key = other > key ? other : key;
  }
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = key;
  __syncthreads();
  key = scratch[threadIdx.x % 32];
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, key, step);
    key = other > key ? other : key;
  }
  __syncthreads();
  return key;
}

extern "C" __global__ void __launch_bounds__(kThreads)
    topk_rows(const X_T* x, OUT_T* values, int32_t* indices, const int* symbols) {
  __shared__ uint64_t scratch[kThreads / 32];
  allow_next_kernel();
  await_last_kernel();
  const index_t rows = outer_extent(symbols), width = axis_extent(symbols);
  for (index_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const X_T* from = x + row * width;
    uint64_t own = largest_below(from, uint32_t(width), ~uint64_t{0});
    for (int k = 0; k < K; ++k) {
      const uint64_t best = block_largest(own, scratch);
      const uint32_t index = ~static_cast<uint32_t>(best);
      if (threadIdx.x == 0) {
        narrow(to_float(from[index]), values[row * K + k]);
        indices[row * K + k] = static_cast<int32_t>(index);
      }
      if (own == best && k + 1 < K) own = largest_below(from, uint32_t(width), best);
    }
  }
}

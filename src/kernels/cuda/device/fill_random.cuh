// Random bits that are finite numbers of moderate size: what kernels are timed on, since zeros
// cost less power. Words are two bf16 (or f16) of magnitude about 0.01 to 0.03, or an f32 of the
// like; or, with NARROW, four e4m3 below 2.
#pragma once

#include "types.cuh"

__device__ __forceinline__ uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

extern "C" __global__ void __launch_bounds__(256)
    fill_random(uint4* out, int64_t count, uint32_t seed) {
  constexpr uint32_t kKept = NARROW ? 0xbfbfbfbfu : 0x80ff80ffu, kSet = NARROW ? 0 : 0x3c003c00u;
  const int64_t stride = int64_t{gridDim.x} * 256;
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < count; i += stride) {
    const uint32_t at = seed + static_cast<uint32_t>(i) * 4;
    uint4 words;
    words.x = (mixed(at) & kKept) | kSet;
    words.y = (mixed(at + 1) & kKept) | kSet;
    words.z = (mixed(at + 2) & kKept) | kSet;
    words.w = (mixed(at + 3) & kKept) | kSet;
    out[i] = words;
  }
}

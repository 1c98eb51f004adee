// moe_route: the k best experts of each token and their weights, a warp a token. Experts are
// ordered by their logits, equal ones by their numbers; one that is no number comes last. Round i
// finds the largest key below that of round i - 1.
//   X_T, EXPERTS, K, RENORMALIZE, SCALE, ROW_FACTOR, ROW_OFFSET
#pragma once

#include "rows.cuh"

inline constexpr int kWarps = 4;
inline constexpr int kItems = (EXPERTS + 31) / 32;  // logits of a lane
inline constexpr bool kHeld = kItems <= 16;         // in registers

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

__device__ __forceinline__ uint64_t route_key(float value, int expert) {
  uint32_t bits = __float_as_uint(value + 0.0f);  // both zeros are equal
  bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{bits} << 32 | ~static_cast<uint32_t>(expert);
}
__device__ __forceinline__ float value_of(uint64_t key) {
  const uint32_t bits = static_cast<uint32_t>(key >> 32);
  return __uint_as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
}

/// A lane's logits: experts lane, lane + 32, ...
struct Logits {
  const X_T* from;
  float held[kHeld ? kItems : 1];

  __device__ static int expert(int i) { return i * 32 + static_cast<int>(threadIdx.x) % 32; }
  __device__ __forceinline__ float load(int i) const {
    const float value = to_float(from[expert(i)]);
    return value != value ? -infinity() : value;
  }
  __device__ __forceinline__ Logits(const X_T* row) : from(row) {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < kItems; ++i) held[i] = expert(i) < EXPERTS ? load(i) : 0;
    }
  }
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        if (expert(i) < EXPERTS) f(held[i], expert(i));
      }
    } else {
      for (int i = 0; expert(i) < EXPERTS; ++i) f(load(i), expert(i));
    }
  }
};

__device__ __forceinline__ uint64_t warp_largest(uint64_t key) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, key, step);
    key = other > key ? other : key;
  }
  return key;
}

extern "C" __global__ void __launch_bounds__(kWarps * 32)
    moe_route(const X_T* x, int32_t* ids, float* weights, const int* symbol) {
  allow_next_kernel();
  await_last_kernel();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Logits logits(x + row * EXPERTS);
  ids += row * K, weights += row * K;
  uint64_t key = ~uint64_t{0};
  float top = 0, chosen = 0;
  // Where the largest is no finite number all count alike.
  const auto score = [&](float value) {
    return fabsf(top) == infinity() ? 1.0f : expf(value - top);
  };
  for (int k = 0; k < K; ++k) {
    uint64_t best = 0;
    logits.each([&](float value, int expert) {
      const uint64_t own = route_key(value, expert);
      if (own < key && own > best) best = own;
    });
    key = warp_largest(best);
    if (k == 0) top = value_of(key);
    const float weight = score(value_of(key));
    chosen += weight;
    if (lane == k % 32) {
      ids[k] = static_cast<int32_t>(~static_cast<uint32_t>(key));
      weights[k] = weight;
    }
  }
  float all = 0;
  if (!RENORMALIZE) {
    logits.each([&](float value, int) { all += score(value); });
    all = warp_reduce<SumOf>(all);
  }
  const float factor = SCALE / (RENORMALIZE ? chosen : all);
  for (int k = lane; k < K; k += 32) weights[k] *= factor;  // the lane's own
}

// What kernels over rows share: packs of elements, reductions, the number of rows, and the order
// of launches. Sealed: includes nothing outside this folder.
#pragma once

#include "launch_order.cuh"
#include "types.cuh"

struct f16_t {
  uint16_t bits;
};
__device__ __forceinline__ float to_float(f16_t x) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
  return out;
}
__device__ __forceinline__ float to_float(int32_t x) { return static_cast<float>(x); }

/// kCount elements that move together, in accesses of at most 16 bytes.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount >= 16 ? 16 : sizeof(T) * kCount) Pack {
  T element[kCount];
};

template <class T, int kCount>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <int kCount, class T>
__device__ __forceinline__ void widen(const Pack<T, kCount>& pack, float (&out)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = to_float(pack.element[i]);
}

__device__ __forceinline__ void narrow(float x, float& out) { out = x; }
__device__ __forceinline__ void narrow(float x, bf16_t& out) { out = to_bf16(x); }
__device__ __forceinline__ void narrow(float x, f16_t& out) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
}
__device__ __forceinline__ void narrow(float x, int32_t& out) {
  asm("cvt.rni.s32.f32 %0, %1;" : "=r"(out) : "f"(x));  // saturates; NaN gives 0
}
/// Needs sm_89. A NaN stays one.
__device__ __forceinline__ void narrow(float x, e4m3_t& out) {
  out.bits = static_cast<uint8_t>(pack_e4m3(x, 0.0f) & 0xff);
}

template <int kCount, class T>
__device__ __forceinline__ void store_pack(T* to, const float (&values)[kCount]) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) narrow(values[i], pack.element[i]);
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

struct SumOf {
  __device__ float operator()(float a, float b) const { return a + b; }
  static constexpr float kNone = 0;
};
/// Of magnitudes; a NaN wins, so that it reaches the scale and is seen.
struct LargestOf {
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
  static constexpr float kNone = 0;
};

template <class Op>
__device__ __forceinline__ float warp_reduce(float value) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    value = Op()(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  return value;
}

/// Over the kThreads threads of a row: a warp, or a whole block. `scratch` holds a float a warp.
template <class Op, int kThreads>
__device__ __forceinline__ float row_reduce(float value, float* scratch) {
  value = warp_reduce<Op>(value);
  if constexpr (kThreads > 32) {
    constexpr int kWarps = kThreads / 32;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    value = warp_reduce<Op>(lane < kWarps ? scratch[lane] : Op::kNone);
    __syncthreads();  // scratch is free again
  }
  return value;
}

/// factor * symbol + offset; a fixed extent reads nothing.
template <int64_t kFactor, int64_t kOffset>
__device__ __forceinline__ int64_t extent_of(const int* symbol) {
  if constexpr (kFactor == 0) return kOffset;
  return kFactor * int64_t{*symbol} + kOffset;
}

/// The sequence whose rows hold `row`: query_start[s] <= row < query_start[s + 1].
__device__ __forceinline__ int sequence_of(const int* query_start, int sequences, int row) {
  int low = 0, high = sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (query_start[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

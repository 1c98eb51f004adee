// What generated kernels of any shape share: the element types that rows.cuh lacks, chunks of
// neighbouring elements, a loop of a grid over any number of them. Sealed.
#pragma once

#include "pointwise.cuh"
#include "rows.cuh"

using int8_t = signed char;
__device__ __forceinline__ float to_float(int8_t x) { return static_cast<float>(x); }
#if __CUDA_ARCH__ >= 890
__device__ __forceinline__ float to_float(e4m3_t x) {
  float out;
  asm("{.reg .b32 p; .reg .b16 l, h; cvt.rn.f16x2.e4m3x2 p, %1; mov.b32 {l, h}, p;\n"
      "cvt.f32.f16 %0, l;}"
      : "=f"(out)
      : "h"(uint16_t{x.bits}));
  return out;
}
#endif

/// kCount neighbouring elements, or one for all.
template <int kCount, class T>
__device__ __forceinline__ void load_chunk(const T* from, float (&to)[kCount]) {
  widen(load_pack<T, kCount>(from), to);
}
template <int kCount, class T>
__device__ __forceinline__ void spread(const T* from, float (&to)[kCount]) {
  const float value = to_float(*from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = value;
}

__device__ __forceinline__ float plus_infinity() { return __int_as_float(0x7f800000); }

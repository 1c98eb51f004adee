// The scalar ops of PointwiseProgram and loads and stores of the element types they see: what
// generated code (kernels/cuda/pointwise_codegen.h) calls.
#pragma once

#include "types.cuh"

/// A product that never becomes part of a fused multiply-add: whichever way an epilogue is done, it
/// rounds alike.
__device__ __forceinline__ float scaled(float a, float scale) { return __fmul_rn(a, scale); }
__device__ __forceinline__ float pw_max(float a, float b) { return a != a || a > b ? a : b; }
__device__ __forceinline__ float pw_min(float a, float b) { return a != a || a < b ? a : b; }
__device__ __forceinline__ float pw_relu(float a) { return a != a || a > 0.0f ? a : 0.0f; }
/// To two units in the last place, denominators beyond 2^126 included; a correctly rounded division
/// costs an epilogue of pairs more than all else.
__device__ __forceinline__ float pw_divide(float a, float b) {
  float out;
  asm("div.full.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
  return out;
}
__device__ __forceinline__ float pw_sigmoid(float a) { return pw_divide(1.0f, 1.0f + __expf(-a)); }
/// a * sigmoid(b).
__device__ __forceinline__ float pw_gate(float a, float b) {
  return pw_divide(a, 1.0f + __expf(-b));
}
__device__ __forceinline__ float pw_silu(float a) { return pw_gate(a, a); }
__device__ __forceinline__ float pw_gelu(float a) {
  return 0.5f * a * (1.0f + erff(a * 0.70710678118654752f));
}
/// 0.5 (1 + tanh(u)) = sigmoid(2 u).
__device__ __forceinline__ float pw_gelu_tanh(float a) {
  return pw_gate(a, 1.5957691216057308f * (a + 0.044715f * a * a * a));
}
__device__ __forceinline__ float pw_cast_bf16(float a) { return to_float(to_bf16(a)); }
__device__ __forceinline__ float pw_cast_f16(float a) {
  float out;
  asm("{.reg .b16 h; cvt.rn.f16.f32 h, %1; cvt.f32.f16 %0, h;}" : "=f"(out) : "f"(a));
  return out;
}

/// kCount neighbouring elements from `index`, which is a multiple of kCount (1, 4 or 8).
template <int kCount>
__device__ __forceinline__ void load_elements(const float* from, int64_t index,
                                              float (&to)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(from + index + i);
      to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = from[index + i];
  }
}
template <int kCount>
__device__ __forceinline__ void load_elements(const bf16_t* from, int64_t index,
                                              float (&to)[kCount]) {
  if constexpr (kCount == 8) {
    const uint4 v = *reinterpret_cast<const uint4*>(from + index);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      to[2 * i] = bf16_low(words[i]);
      to[2 * i + 1] = bf16_high(words[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = to_float(from[index + i]);
  }
}
template <int kCount>
__device__ __forceinline__ void store_elements(float* to, int64_t index,
                                               const float (&from)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      *reinterpret_cast<float4*>(to + index + i) =
          make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[index + i] = from[i];
  }
}
template <int kCount>
__device__ __forceinline__ void store_elements(bf16_t* to, int64_t index,
                                               const float (&from)[kCount]) {
  if constexpr (kCount == 8) {
    *reinterpret_cast<uint4*>(to + index) =
        make_uint4(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]),
                   pack_bf16(from[4], from[5]), pack_bf16(from[6], from[7]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[index + i] = to_bf16(from[i]);
  }
}

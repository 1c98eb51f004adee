// Element types and conversions over PTX. Sealed: includes nothing outside this folder.
#pragma once

using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;

static_assert(sizeof(uint64_t) == 8 && sizeof(uint32_t) == 4, "unexpected widths");

struct bf16_t {
  uint16_t bits;
};
struct e4m3_t {
  uint8_t bits;
};

__device__ __forceinline__ float to_float(bf16_t x) {
  return __int_as_float(uint32_t{x.bits} << 16);
}
__device__ __forceinline__ float to_float(float x) { return x; }

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ __forceinline__ bf16_t to_bf16(float x) {
  bf16_t out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
  return out;
}
__device__ __forceinline__ float bf16_low(uint32_t packed) { return __int_as_float(packed << 16); }
__device__ __forceinline__ float bf16_high(uint32_t packed) {
  return __int_as_float(packed & 0xffff0000u);
}

/// Two values to e4m3, saturating at 448; the low byte is `low`.
__device__ __forceinline__ uint16_t pack_e4m3(float low, float high) {
  uint16_t packed;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(packed) : "f"(high), "f"(low));
  return packed;
}

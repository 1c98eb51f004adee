// What the paged attention kernels share: constants of a layer, the cache's layout, conversions.
//
// Defined by the host: ATT_HEADS, ATT_KV_HEADS, ATT_DIM, ATT_V_DIM, ATT_BLOCK_TOKENS, ATT_KV (0:
// bf16, 1: e4m3, 2: f32, 3: f16), ATT_Q_F32, ATT_WINDOW, ATT_SOFTCAP, ATT_SCALE, ATT_K_SCALE,
// ATT_V_SCALE, ATT_MAX_BLOCKS, ATT_MAX_SEQUENCES, ATT_ROWS (0: all sequences, 1: of one query, 2:
// of more), ATT_SINKS.
#pragma once

#include "launch_order.cuh"
#include "types.cuh"

constexpr int kGroup = ATT_HEADS / ATT_KV_HEADS;
constexpr int kKvBytes = ATT_KV == 1 ? 1 : ATT_KV == 2 ? 4 : 2;
constexpr int64_t kKeyBytes = int64_t{ATT_KV_HEADS} * ATT_BLOCK_TOKENS * ATT_DIM * kKvBytes;
constexpr int64_t kValueBytes = int64_t{ATT_KV_HEADS} * ATT_BLOCK_TOKENS * ATT_V_DIM * kKvBytes;
constexpr float kLog2E = 1.4426950408889634f;
/// Scores in registers are q.k as stored; this makes them exponents of two.
constexpr float kScoreScale = ATT_SCALE * ATT_K_SCALE;

struct AttentionArguments {
  const uint8_t* q;
  const int* query_start;
  const int* kv_len;
  const int* block_table;
  const int* sequences;
  const uint8_t* cache;
  uint8_t* out;
  const float* sinks;  // of each head, with ATT_SINKS
};
#if ATT_SINKS
#define SINKS_PARAMETER , const float* sinks
#define SINKS_VALUE , sinks
#else
#define SINKS_PARAMETER
#define SINKS_VALUE , nullptr
#endif

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// A raw score as an exponent of two.
__device__ __forceinline__ float score_exponent(float raw) {
  if (ATT_SOFTCAP > 0) {
    constexpr float kCap = ATT_SOFTCAP > 0 ? ATT_SOFTCAP : 1.0f;
    // tanh(x) = 1 - 2 / (exp(2x) + 1), which is right at both infinities.
    const float e = exp2_fast(raw * (kScoreScale / kCap * 2 * kLog2E));
    return (kCap * kLog2E) * (1.0f - 2.0f / (e + 1.0f));
  }
  return raw * (kScoreScale * kLog2E);
}
/// What a head's sink, which has no value, adds to a row's sum of weights 2^(x - top).
__device__ __forceinline__ float sink_weight(const AttentionArguments& a, int head, float top) {
#if ATT_SINKS
  return exp2_fast(a.sinks[head] * kLog2E - top);
#else
  return 0;
#endif
}
__device__ __forceinline__ int first_visible(int position) {
  return ATT_WINDOW > 0 && position >= ATT_WINDOW ? position - ATT_WINDOW + 1 : 0;
}
__device__ __forceinline__ const uint8_t* key_row(const uint8_t* cache, int block, int head,
                                                  int token) {
  return cache + block * (kKeyBytes + kValueBytes) +
         int64_t{head * ATT_BLOCK_TOKENS + token} * (ATT_DIM * kKvBytes);
}
__device__ __forceinline__ const uint8_t* value_row(const uint8_t* cache, int block, int head,
                                                    int token) {
  return cache + block * (kKeyBytes + kValueBytes) + kKeyBytes +
         int64_t{head * ATT_BLOCK_TOKENS + token} * (ATT_V_DIM * kKvBytes);
}
/// Two e4m3 to f16, exactly.
__device__ __forceinline__ uint32_t e4m3_to_f16(uint16_t pair) {
  uint32_t out;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(out) : "h"(pair));
  return out;
}
__device__ __forceinline__ float f16_low(uint32_t packed) {
  float f;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(packed));
  return f;
}
__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

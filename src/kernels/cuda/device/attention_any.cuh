// Paged attention of any shape and type: one warp a query and head, 32 keys at a time, a lane a
// key for the scores and a lane a dimension for the sum. The slow path that every model has.
#pragma once

#include "attention_common.cuh"

constexpr int kLaneDims = (ATT_V_DIM + 31) / 32;
constexpr int kAnyWarps = 4;

__device__ __forceinline__ float cache_value(const uint8_t* row, int i) {
#if ATT_KV == 0
  return to_float(reinterpret_cast<const bf16_t*>(row)[i]);
#elif ATT_KV == 3
  return f16_low(reinterpret_cast<const uint16_t*>(row)[i]);
#elif ATT_KV == 1
#if __CUDA_ARCH__ >= 890
  return f16_low(e4m3_to_f16(row[i]));
#else
  // Shifted into an f16 with its exponent 8 too low, which one product mends; NaN is 0x7f.
  const uint32_t bits = row[i];
  if ((bits & 0x7f) == 0x7f) return __int_as_float(0x7fc00000);
  return f16_low((bits & 0x80) << 8 | (bits & 0x7f) << 7) * 256.0f;
#endif
#else
  return reinterpret_cast<const float*>(row)[i];
#endif
}

// Queries and results: ATT_Q_F32 is 0 for bf16, 1 for f32, 2 for f16.
__device__ __forceinline__ float query_value(const uint8_t* q, int64_t at) {
#if ATT_Q_F32 == 1
  return reinterpret_cast<const float*>(q)[at];
#elif ATT_Q_F32 == 2
  return f16_low(reinterpret_cast<const uint16_t*>(q)[at]);
#else
  return to_float(reinterpret_cast<const bf16_t*>(q)[at]);
#endif
}
__device__ __forceinline__ void store_result(uint8_t* out, int64_t at, float value) {
#if ATT_Q_F32 == 1
  reinterpret_cast<float*>(out)[at] = value;
#elif ATT_Q_F32 == 2
  reinterpret_cast<uint16_t*>(out)[at] = static_cast<uint16_t>(pack_f16(value, 0.0f) & 0xffff);
#else
  reinterpret_cast<bf16_t*>(out)[at] = to_bf16(value);
#endif
}

__device__ void attend_any(const AttentionArguments& a, const float* sinks, float* query,
                           int64_t item, int sequence, int position) {
  const int lane = threadIdx.x % 32;
  const int head = item % ATT_HEADS, kv_head = head / kGroup;
  const int* table = a.block_table + int64_t{sequence} * ATT_MAX_BLOCKS;
  for (int i = lane; i < ATT_DIM; i += 32) query[i] = query_value(a.q, item * ATT_DIM + i);
  __syncwarp();
  float top = -infinity(), sum = 0, out[kLaneDims] = {};
#if ATT_SINKS
  // A sink takes weight and gives no value; lanes' sums are added at the end.
  top = sinks[head] * kLog2E;
  sum = lane == 0 && top != -infinity() ? 1.0f : 0.0f;
#endif
  for (int start = first_visible(position); start <= position; start += 32) {
    const int p = start + lane;
    float score = -infinity();
    if (p <= position) {
      const uint8_t* key =
          key_row(a.cache, table[p / ATT_BLOCK_TOKENS], kv_head, p % ATT_BLOCK_TOKENS);
      float dot = 0;
      for (int i = 0; i < ATT_DIM; ++i) dot += query[i] * cache_value(key, i);
      score = score_exponent(dot);
    }
    float most = score;
#pragma unroll
    for (int d = 16; d > 0; d /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
    most = fmaxf(most, top);
    const float scale = exp2f(top - most), weight = exp2f(score - most);
    top = most;
    sum = sum * scale + weight;
#pragma unroll
    for (int d = 0; d < kLaneDims; ++d) out[d] *= scale;
    const int count = position - start + 1 < 32 ? position - start + 1 : 32;
    for (int k = 0; k < count; ++k) {
      const float w = __shfl_sync(~0u, weight, k);
      const int at = start + k;
      const uint8_t* value =
          value_row(a.cache, table[at / ATT_BLOCK_TOKENS], kv_head, at % ATT_BLOCK_TOKENS);
#pragma unroll
      for (int d = 0; d < kLaneDims; ++d) {
        const int i = d * 32 + lane;
        if (i < ATT_V_DIM) out[d] += w * cache_value(value, i);
      }
    }
  }
#pragma unroll
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
  const float scale = ATT_V_SCALE / sum;
#pragma unroll
  for (int d = 0; d < kLaneDims; ++d) {
    const int i = d * 32 + lane;
    if (i >= ATT_V_DIM) continue;
    store_result(a.out, item * ATT_V_DIM + i, out[d] * scale);
  }
  __syncwarp();
}

extern "C" __global__ void __launch_bounds__(kAnyWarps * 32, ATT_KV == 2 ? 4 : 8)
    attention_any(const uint8_t* q, const int* query_start, const int* kv_len,
                  const int* block_table, const int* sequences, const uint8_t* cache, uint8_t* out,
                  const float* sinks) {
  __shared__ float queries[kAnyWarps][ATT_DIM];
  const AttentionArguments a = {q, query_start, kv_len, block_table, sequences, cache, out, sinks};
  allow_next_kernel();
  await_last_kernel();
  const int count = *sequences;
  if (count == 0) return;
  const int64_t items = int64_t{query_start[count]} * ATT_HEADS;
  const int warp = threadIdx.x / 32;
  for (int64_t item = int64_t{blockIdx.x} * kAnyWarps + warp; item < items;
       item += int64_t{gridDim.x} * kAnyWarps) {
    const int row = static_cast<int>(item / ATT_HEADS);
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (query_start[middle] <= row ? low : high) = middle;
    }
    const int end = query_start[low + 1];
    const bool single = end - query_start[low] == 1;
    if (ATT_ROWS == 1 ? !single : ATT_ROWS == 2 ? single : false) continue;
    attend_any(a, sinks, queries[warp], item, low, kv_len[low] - (end - row));
  }
}

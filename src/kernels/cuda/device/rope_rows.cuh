// rope, kv_append and qkv_rope_append: a warp a head of a row. The head passes through shared
// memory, so that partners of a rotation lie in any lanes and every access is a pack.
//   X_T V_T OUT_T KV_T, DIM, V_DIM, HEADS (of q), KV_HEADS, ROTARY (0: none), INTERLEAVED
//   QK_NORM, Q_WEIGHT_T, K_WEIGHT_T, EPS, WEIGHT_OFFSET
//   APPEND, BLOCK_TOKENS, K_SCALE, V_SCALE, FUSED (q, k and v lie in one row)
//   ROW_*: rows; SEQ_*: sequences; TABLE_*: blocks a sequence, each FACTOR and OFFSET of a symbol
#pragma once

#include "rows.cuh"

constexpr int pack_of(int width) {
  return width % 8 == 0 && width >= 256 ? 8 : width % 4 == 0 ? 4 : width % 2 == 0 ? 2 : 1;
}
inline constexpr int kWarps = 4;
inline constexpr int kVec = pack_of(DIM), kValueVec = pack_of(V_DIM);
inline constexpr int64_t kBlockElements = int64_t{KV_HEADS} * BLOCK_TOKENS * (DIM + V_DIM);

template <class W>
__device__ __forceinline__ void norm_head(float* head, const W* weight, int lane) {
  float square = 0;
  for (int i = lane; i < DIM; i += 32) square += head[i] * head[i];
  const float scale = 1.0f / sqrtf(warp_reduce<SumOf>(square) / DIM + EPS);
  for (int i = lane; i < DIM; i += 32) {
    head[i] = head[i] * scale * (WEIGHT_OFFSET + to_float(weight[i]));
  }
  __syncwarp();
}

/// Element i of the rotated head; `angles` holds ROTARY / 2 cosines, then as many sines.
__device__ __forceinline__ float rotated(const float* head, const float* angles, int i) {
  constexpr int kHalf = ROTARY / 2;
  if (i >= 2 * kHalf) return head[i];
  const int pair = INTERLEAVED ? i / 2 : i % (kHalf > 0 ? kHalf : 1);
  const bool second = INTERLEAVED ? i % 2 == 1 : i >= kHalf;
  const float cosine = angles[pair], sine = angles[kHalf + pair];
  const int step = INTERLEAVED ? 1 : kHalf;
  return second ? head[i] * cosine + head[i - step] * sine
                : head[i] * cosine - head[i + step] * sine;
}

template <class T>
__device__ __forceinline__ void load_head(const T* from, float* head, int lane) {
  for (int i = lane * kVec; i < DIM; i += 32 * kVec) {
    float values[kVec];
    widen(load_pack<T, kVec>(from + i), values);
#pragma unroll
    for (int j = 0; j < kVec; ++j) head[i + j] = values[j];
  }
  __syncwarp();
}

template <class T>
__device__ __forceinline__ void store_head(T* to, const float* head, const float* angles, int lane,
                                           float divisor) {
  for (int i = lane * kVec; i < DIM; i += 32 * kVec) {
    float values[kVec];
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      values[j] = ROTARY > 0 ? rotated(head, angles, i + j) : head[i + j];
      values[j] = values[j] / divisor;
    }
    store_pack<kVec>(to + i, values);
  }
}

/// Where a row's token lies in the cache, in elements, but for its head.
struct Slot {
  int64_t block;  // first element
  int token;
};
__device__ __forceinline__ Slot slot_of(const int* query_start, const int* kv_len,
                                        const int* block_table, int sequences, int64_t blocks,
                                        int row) {
  const int s = sequence_of(query_start, sequences, row);
  const int position = kv_len[s] - (query_start[s + 1] - row);
  const int64_t block = block_table[s * blocks + position / BLOCK_TOKENS];
  return {block * kBlockElements, position % BLOCK_TOKENS};
}

__device__ __forceinline__ void append_value(const V_T* from, KV_T* to, int lane) {
  for (int i = lane * kValueVec; i < V_DIM; i += 32 * kValueVec) {
    float values[kValueVec];
    widen(load_pack<V_T, kValueVec>(from + i), values);
#pragma unroll
    for (int j = 0; j < kValueVec; ++j) values[j] = values[j] / V_SCALE;
    store_pack<kValueVec>(to + i, values);
  }
}

#if APPEND
// Items of a row: q heads (fused only), k heads, v heads.
extern "C" __global__ void __launch_bounds__(kWarps * 32)
    append_rows(const X_T* x, const V_T* v, const float* table, const Q_WEIGHT_T* q_weight,
                const K_WEIGHT_T* k_weight, OUT_T* out, KV_T* cache, const int* query_start,
                const int* kv_len, const int* block_table, const int* seq_symbol,
                const int* table_symbol) {
  __shared__ float heads[kWarps][DIM];
  allow_next_kernel();
  constexpr int kQ = FUSED ? HEADS : 0, kItems = kQ + 2 * KV_HEADS;
  constexpr int64_t kRow = FUSED ? (HEADS + KV_HEADS) * DIM + KV_HEADS * V_DIM : KV_HEADS * DIM;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t at = int64_t{blockIdx.x} * kWarps + warp;
  const int64_t row = at / kItems;
  const int item = static_cast<int>(at % kItems);
  const int sequences = static_cast<int>(extent_of<SEQ_FACTOR, SEQ_OFFSET>(seq_symbol));
  if (sequences == 0 || row >= query_start[sequences]) return await_last_kernel();
  const int64_t blocks = extent_of<TABLE_FACTOR, TABLE_OFFSET>(table_symbol);
  const Slot slot = item < kQ ? Slot{0, 0}
                              : slot_of(query_start, kv_len, block_table, sequences, blocks,
                                        static_cast<int>(row));
  await_last_kernel();
  if (item >= kQ + KV_HEADS) {
    const int head = item - kQ - KV_HEADS;
    const V_T* from = v + row * (FUSED ? kRow : KV_HEADS * V_DIM) +
                      (FUSED ? (HEADS + KV_HEADS) * DIM : 0) + head * V_DIM;
    KV_T* values = cache + slot.block + int64_t{KV_HEADS} * BLOCK_TOKENS * DIM;
    append_value(from, values + (int64_t{head} * BLOCK_TOKENS + slot.token) * V_DIM, lane);
    return;
  }
  float* head = heads[warp];
  const float* angles = table + row * ROTARY;
  load_head(x + row * kRow + item * DIM, head, lane);
  if (item < kQ) {
    if (QK_NORM) norm_head(head, q_weight, lane);
    store_head(out + (row * HEADS + item) * DIM, head, angles, lane, 1.0f);
    return;
  }
  if (QK_NORM) norm_head(head, k_weight, lane);
  const int64_t place = int64_t{item - kQ} * BLOCK_TOKENS + slot.token;
  store_head(cache + slot.block + place * DIM, head, angles, lane, K_SCALE);
}
#else
extern "C" __global__ void __launch_bounds__(kWarps * 32)
    rope_rows(const X_T* x, const float* table, OUT_T* out, const int* symbol) {
  __shared__ float heads[kWarps][DIM];
  allow_next_kernel();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t at = int64_t{blockIdx.x} * kWarps + warp;
  const int64_t row = at / HEADS;
  if (row >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return await_last_kernel();
  await_last_kernel();
  load_head(x + at * DIM, heads[warp], lane);
  store_head(out + at * DIM, heads[warp], table + row * ROTARY, lane, 1.0f);
}
#endif

// rope, kv_append and qkv_rope_append: a warp a head of a row. The head passes through shared
// memory, so that partners of a rotation lie in any lanes and every access is a pack. Where rows
// are many and q, k and v lie in one, a warp takes four neighbouring heads, whose loads are in
// flight together.
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

/// A lane's packs of a head.
template <class T>
struct HeadPacks {
  static constexpr int kPacks = (DIM + 32 * kVec - 1) / (32 * kVec);
  Pack<T, kVec> pack[kPacks];

  __device__ __forceinline__ void load(const T* from, int lane) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = (i * 32 + lane) * kVec;
      if (at < DIM) pack[i] = load_pack<T, kVec>(from + at);
    }
  }
  __device__ __forceinline__ void spread(float* head, int lane) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = (i * 32 + lane) * kVec;
      if (at >= DIM) continue;
      float values[kVec];
      widen(pack[i], values);
#pragma unroll
      for (int j = 0; j < kVec; ++j) head[at + j] = values[j];
    }
    __syncwarp();
  }
  template <class U>
  __device__ __forceinline__ void store(U* to, int lane, float divisor) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = (i * 32 + lane) * kVec;
      if (at >= DIM) continue;
      float values[kVec];
      widen(pack[i], values);
#pragma unroll
      for (int j = 0; j < kVec; ++j) values[j] = values[j] / divisor;
      store_pack<kVec>(to + at, values);
    }
  }
};

template <class T>
__device__ __forceinline__ void load_head(const T* from, float* head, int lane) {
  HeadPacks<T> packs;
  packs.load(from, lane);
  packs.spread(head, lane);
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
constexpr int kQ = FUSED ? HEADS : 0, kItems = kQ + 2 * KV_HEADS;
constexpr int64_t kRow = FUSED ? (HEADS + KV_HEADS) * DIM + KV_HEADS * V_DIM : KV_HEADS * DIM;
constexpr int kMany = FUSED && DIM == V_DIM && DIM <= 128 && kItems % 4 == 0 ? 4 : 1;

struct AppendArguments {
  const X_T* x;
  const V_T* v;
  const float* table;
  const Q_WEIGHT_T* q_weight;
  const K_WEIGHT_T* k_weight;
  OUT_T* out;
  KV_T* cache;
};

/// A head of q or k, which lies in shared memory; for this warp alone.
__device__ __forceinline__ void append_rotated(const AppendArguments& a, int64_t row, int item,
                                               const Slot& slot, float* head, int lane) {
  const float* angles = a.table + row * ROTARY;
  if (item < kQ) {
    if (QK_NORM) norm_head(head, a.q_weight, lane);
    store_head(a.out + (row * HEADS + item) * DIM, head, angles, lane, 1.0f);
    return;
  }
  if (QK_NORM) norm_head(head, a.k_weight, lane);
  const int64_t place = int64_t{item - kQ} * BLOCK_TOKENS + slot.token;
  store_head(a.cache + slot.block + place * DIM, head, angles, lane, K_SCALE);
}

__device__ __forceinline__ KV_T* value_place(const AppendArguments& a, int item, const Slot& slot) {
  KV_T* values = a.cache + slot.block + int64_t{KV_HEADS} * BLOCK_TOKENS * DIM;
  return values + (int64_t{item - kQ - KV_HEADS} * BLOCK_TOKENS + slot.token) * V_DIM;
}

__device__ __forceinline__ void append_one(const AppendArguments& a, int64_t row, int item,
                                           const Slot& slot, float* head, int lane) {
  if (item >= kQ + KV_HEADS) {
    const V_T* from = a.v + row * (FUSED ? kRow : KV_HEADS * V_DIM) +
                      (FUSED ? (HEADS + KV_HEADS) * DIM : 0) + (item - kQ - KV_HEADS) * V_DIM;
    append_value(from, value_place(a, item, slot), lane);
    return;
  }
  load_head(a.x + row * kRow + item * DIM, head, lane);
  append_rotated(a, row, item, slot, head, lane);
}

/// kMany neighbouring heads of a row, from one array.
__device__ __forceinline__ void append_many(const AppendArguments& a, int64_t row, int first,
                                            const Slot& slot, float* head, int lane) {
  HeadPacks<X_T> packs[kMany];
#pragma unroll
  for (int j = 0; j < kMany; ++j) packs[j].load(a.x + row * kRow + (first + j) * DIM, lane);
#pragma unroll
  for (int j = 0; j < kMany; ++j) {
    const int item = first + j;
    if (item >= kQ + KV_HEADS) {
      packs[j].store(value_place(a, item, slot), lane, V_SCALE);
      continue;
    }
    packs[j].spread(head, lane);
    append_rotated(a, row, item, slot, head, lane);
    __syncwarp();  // the head is read before the next one comes
  }
}

extern "C" __global__ void __launch_bounds__(kWarps * 32)
    append_rows(const X_T* x, const V_T* v, const float* table, const Q_WEIGHT_T* q_weight,
                const K_WEIGHT_T* k_weight, OUT_T* out, KV_T* cache, const int* query_start,
                const int* kv_len, const int* block_table, const int* seq_symbol,
                const int* table_symbol) {
  constexpr int kFewRows = 64;  // whose heads are too few to fill the machine by fours
  __shared__ float heads[kWarps][DIM];
  allow_next_kernel();
  const AppendArguments a = {x, v, table, q_weight, k_weight, out, cache};
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int sequences = static_cast<int>(extent_of<SEQ_FACTOR, SEQ_OFFSET>(seq_symbol));
  const int rows = sequences == 0 ? 0 : query_start[sequences];
  const int each = rows > kFewRows ? kMany : 1;
  const int64_t at = (int64_t{blockIdx.x} * kWarps + warp) * each;
  const int64_t row = at / kItems;
  if (row >= rows) return await_last_kernel();
  const int item = static_cast<int>(at % kItems);
  const int64_t blocks = extent_of<TABLE_FACTOR, TABLE_OFFSET>(table_symbol);
  const Slot slot = item + each <= kQ ? Slot{0, 0}
                                      : slot_of(query_start, kv_len, block_table, sequences, blocks,
                                                static_cast<int>(row));
  await_last_kernel();
  if (kMany > 1 && each == kMany) {
    append_many(a, row, item, slot, heads[warp], lane);
  } else {
    append_one(a, row, item, slot, heads[warp], lane);
  }
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

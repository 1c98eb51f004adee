// What moe does around its products: rows of tokens to the places of their experts' groups, and
// each token's sum of its experts' rows. A slot is one choice of a token: token * K + choice.
//
// Where slots are few, each block counts for itself where its slot's row goes (moe_scatter); else a
// block sorts them first (moe_sort), and rows are only copied. Either way a group is in the order
// of slots.
//   X_T, WIDTH (elements of X_T), K, EXPERTS, TILE (rows of a tile), SORTED, SORT_WARPS,
//   ROW_FACTOR, ROW_OFFSET; for the sum Y_T, OUT_T, COLUMNS, VEC
#pragma once

#include "rows.cuh"

inline constexpr int kThreads = 128;

struct Counts {
  int rows, tiles;
};

/// The sums of all threads before this one, and of all in `total`.
template <int kBlock>
__device__ __forceinline__ Counts counts_before(Counts own, Counts& total) {
  __shared__ Counts scratch[kBlock / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  Counts sum = own;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const int rows = __shfl_up_sync(0xffffffffu, sum.rows, step);
    const int tiles = __shfl_up_sync(0xffffffffu, sum.tiles, step);
    if (lane >= step) sum.rows += rows, sum.tiles += tiles;
  }
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  Counts before = {sum.rows - own.rows, sum.tiles - own.tiles};
  total = {0, 0};
#pragma unroll
  for (int w = 0; w < kBlock / 32; ++w) {
    const Counts other = scratch[w];
    if (w < warp) before.rows += other.rows, before.tiles += other.tiles;
    total.rows += other.rows, total.tiles += other.tiles;
  }
  return before;
}

/// The table of tiles: groups[0].x says how many, then first row, end of the expert's rows, expert.
/// Each expert's count becomes the first of its rows.
template <int kBlock>
__device__ __forceinline__ void write_groups(int* counts, int4* groups) {
  constexpr int kExperts = (EXPERTS + kBlock - 1) / kBlock;  // of a thread
  const int thread = static_cast<int>(threadIdx.x);
  Counts own = {0, 0}, total;
  const int first = thread * kExperts, last = min(first + kExperts, EXPERTS);
  for (int e = first; e < last; ++e) {
    own.rows += counts[e], own.tiles += (counts[e] + TILE - 1) / TILE;
  }
  Counts at = counts_before<kBlock>(own, total);
  if (thread == 0) groups[0] = make_int4(total.tiles, 0, 0, 0);
  for (int e = first; e < last; ++e) {
    const int end = at.rows + counts[e];
    counts[e] = at.rows;
    for (int row = at.rows; row < end; row += min(TILE, end - row)) {
      groups[1 + at.tiles++] = make_int4(row, end, e, 0);
    }
    at.rows = end;
  }
}

__device__ __forceinline__ void count_groups(const int32_t* ids, int slots, int4* groups) {
  __shared__ int counts[EXPERTS];
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < EXPERTS; e += kThreads) counts[e] = 0;
  __syncthreads();
  for (int i = thread; i < slots; i += kThreads) atomicAdd(&counts[ids[i]], 1);
  __syncthreads();
  write_groups<kThreads>(counts, groups);
}

/// Where a slot's row lies: behind those of lower experts, and of the same one's earlier slots.
__device__ __forceinline__ int place_of(const int32_t* ids, int slots, int slot, int* scratch) {
  const int expert = ids[slot], thread = static_cast<int>(threadIdx.x);
  int before = 0;
#pragma unroll 4
  for (int i = thread; i < slots; i += kThreads) {
    const int other = ids[i];
    before += other < expert || (other == expert && i < slot) ? 1 : 0;
  }
  before = __reduce_add_sync(0xffffffffu, before);
  if (thread % 32 == 0) scratch[thread / 32] = before;
  __syncthreads();
  int place = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) place += scratch[w];
  __syncthreads();
  return place;
}

#if SORTED
/// The places of all slots and the table, by one block. A warp has neighbouring slots: it counts
/// them, and then gives out places from where its share of each expert begins.
extern "C" __global__ void __launch_bounds__(SORT_WARPS * 32)
    moe_sort(const int32_t* ids, int32_t* places, int4* groups, const int* symbol) {
  __shared__ int shares[SORT_WARPS][EXPERTS], counts[EXPERTS];
  constexpr int kBlock = SORT_WARPS * 32;
  allow_next_kernel();
  await_last_kernel();
  const int slots = static_cast<int>(extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) * K;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  for (int i = thread; i < SORT_WARPS * EXPERTS; i += kBlock) (&shares[0][0])[i] = 0;
  __syncthreads();
  const int each = (slots + kBlock - 1) / kBlock * 32, begin = warp * each;
  const int end = min(begin + each, slots);
#pragma unroll 4
  for (int i = begin + lane; i < end; i += 32) atomicAdd(&shares[warp][ids[i]], 1);
  __syncthreads();
  for (int e = thread; e < EXPERTS; e += kBlock) {
    int count = 0;
    for (int w = 0; w < SORT_WARPS; ++w) {
      const int own = shares[w][e];
      shares[w][e] = count, count += own;
    }
    counts[e] = count;
  }
  __syncthreads();
  write_groups<kBlock>(counts, groups);
  __syncthreads();
#pragma unroll 4
  for (int i = begin + lane; i < begin + each; i += 32) {
    const bool there = i < end;
    const int expert = there ? ids[i] : -1 - lane;
    const uint32_t same = __match_any_sync(0xffffffffu, expert);
    const int rank = __popc(same & ((1u << lane) - 1));
    if (there) places[i] = counts[expert] + shares[warp][expert] + rank;
    __syncwarp();
    if (there && rank == 0) shares[warp][expert] += __popc(same);
    __syncwarp();
  }
}
#endif

/// Rows to their places; without SORTED block 0 writes the table and the others find the places.
extern "C" __global__ void __launch_bounds__(kThreads)
    moe_scatter(const X_T* x, const int32_t* ids, X_T* rows, int32_t* places, int4* groups,
                const int* symbol) {
  __shared__ int scratch[kThreads / 32];
  allow_next_kernel();
  await_last_kernel();
  const int slots = static_cast<int>(extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) * K;
  if (!SORTED && blockIdx.x == 0) return count_groups(ids, slots, groups);
  const int thread = static_cast<int>(threadIdx.x), skipped = SORTED ? 0 : 1;
  for (int slot = static_cast<int>(blockIdx.x) - skipped; slot < slots;
       slot += static_cast<int>(gridDim.x) - skipped) {
    const int place = SORTED ? places[slot] : place_of(ids, slots, slot, scratch);
    if (!SORTED && thread == 0) places[slot] = place;
    const X_T* from = x + int64_t{slot / K} * WIDTH;
    X_T* to = rows + int64_t{place} * WIDTH;
#pragma unroll 4
    for (int i = thread; i < WIDTH; i += kThreads) to[i] = from[i];
  }
}

/// Each token's experts in the order of its choice.
extern "C" __global__ void __launch_bounds__(256)
    moe_combine(const Y_T* y, const int32_t* places, const float* weights, OUT_T* out,
                const int* symbol) {
  allow_next_kernel();
  await_last_kernel();
  constexpr int kPacks = COLUMNS / VEC;
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  const int64_t token = at / kPacks, column = at % kPacks * VEC;
  if (token >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return;
  float sum[VEC] = {};
#pragma unroll 8
  for (int k = 0; k < K; ++k) {
    const int64_t row = places[token * K + k];
    const float weight = weights[token * K + k];
    float values[VEC];
    widen(load_pack<Y_T, VEC>(y + row * COLUMNS + column), values);
#pragma unroll
    for (int v = 0; v < VEC; ++v) sum[v] = fmaf(weight, values[v], sum[v]);
  }
  store_pack<VEC>(out + token * COLUMNS + column, sum);
}

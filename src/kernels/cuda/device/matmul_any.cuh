// What matmuls of any shape share: where rows of b lie, the product of few rows of a. Row-major
// operands; b is [N, K] (TRANSPOSE_B) or [K, N].
//   A_T B_T, ACC (accumulators: 2 for weights that alternate in tiles of 16 rows), TRANSPOSE_B
//   VECTOR_A VECTOR_B: rows are a multiple of 8 elements, so that eight can move together
//   ONE_PATH: few rows go the way of many, so that a row's sums do not depend on its company
//   FINISH: neighbouring columns that the epilogue takes at once
// The including source defines before it: rows_extent, columns_extent, depth_extent; Fused (the
// operands beside a and b); prologue(fused, element, row, k), which is the identity without one;
// finish<V>(fused, accumulators, row, column), which scales, runs the epilogue and stores;
// of_group(fused, group, row, columns), which moves operands to a group's.
#pragma once

#include "general.cuh"

inline constexpr int kThreads = 256;
inline constexpr int kUnit = 8;  // elements that are staged together

struct Product {
  const A_T* a;
  const B_T* b;
  Fused fused;
  int64_t rows;
  int columns, depth;
};

/// Row of b for a column of accumulator j.
__device__ __forceinline__ int weight_row(int column, int j, int columns) {
  if (ACC == 1) return column;
  const int first = column / 16 * 16;
  const int width = min(16, columns - first);
  return first * ACC + j * width + column % 16;
}

/// Both accumulators of a column as neighbouring tiles of 16: line v of b's tiles, or -1.
__device__ __forceinline__ int weight_row_of_line(int line, int columns) {
  const int column = ACC == 1 ? line : line / 32 * 16 + line % 16;
  return column < columns ? weight_row(column, ACC == 1 ? 0 : line / 16 % 2, columns) : -1;
}

__device__ __forceinline__ int lines_of(const Product& p) {
  return ACC == 1 ? p.columns : (p.columns + 15) / 16 * 32;
}

/// Eight elements as they lie, zeros where there are none. kVector: they lie side by side, all or
/// none within the row.
template <bool kVector, class T>
__device__ __forceinline__ Pack<T, kUnit> load_unit(const T* first, int64_t stride, int left) {
  Pack<T, kUnit> pack = {};
  if (left <= 0) return pack;
  if constexpr (kVector) {
    return load_pack<T, kUnit>(first);
  } else {
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      if (i < left) pack.element[i] = first[i * stride];
    }
    return pack;
  }
}

__device__ __forceinline__ Pack<A_T, kUnit> load_a(const Product& p, int64_t row, int k) {
  const int left = row < p.rows ? p.depth - k : 0;
  return load_unit<VECTOR_A>(p.a + row * p.depth + k, 1, left);
}
__device__ __forceinline__ Pack<B_T, kUnit> load_b(const Product& p, int row, int k) {
  const int left = row >= 0 ? p.depth - k : 0;
  if (TRANSPOSE_B) return load_unit<VECTOR_B>(p.b + int64_t(row) * p.depth + k, 1, left);
  return load_unit<false>(p.b + int64_t(k) * p.columns + row, p.columns, left);
}

/// With the prologue; elements beyond the row stay zero.
__device__ __forceinline__ void widen_a(const Product& p, const Pack<A_T, kUnit>& pack, int64_t row,
                                        int k, float (&to)[kUnit]) {
  widen(pack, to);
#if PROLOGUE
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    if (row < p.rows && k + i < p.depth) to[i] = prologue(p.fused, to[i], row, k + i);
  }
#endif
}

// Few rows of a (a step of decoding): a warp has four rows of b, whose elements it reads once, and
// shares a with its block in shared memory, f32.
inline constexpr int kFewRows = 8;
inline constexpr int kChunk = 1024;  // of K in shared memory
inline constexpr int kWarpLines = 4;
inline constexpr int kWarpColumns = kWarpLines / ACC;

/// Units lie as two planes of four floats, so that a warp's reads meet no bank twice.
template <int kRows>
__device__ __forceinline__ void stage_rows(const Product& p, int k0, float* shared) {
#pragma unroll 1
  for (int u = static_cast<int>(threadIdx.x); u < kRows * (kChunk / kUnit); u += kThreads) {
    const int row = u / (kChunk / kUnit), unit = u % (kChunk / kUnit), k = k0 + unit * kUnit;
    float values[kUnit];
    widen_a(p, load_a(p, row, k), row, k, values);
    float* to = shared + row * kChunk + unit * 4;
    *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
    to += kChunk / 2;
    *reinterpret_cast<float4*>(to) = make_float4(values[4], values[5], values[6], values[7]);
  }
}

/// Half a unit at a time: registers are scarce with many rows.
template <int kRows>
__device__ __forceinline__ void add_unit(const float* shared, int unit,
                                         const Pack<B_T, kUnit> (&weights)[kWarpLines],
                                         float (&sums)[kWarpLines][kRows]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float w[kWarpLines][4];
#pragma unroll
    for (int l = 0; l < kWarpLines; ++l) {
#pragma unroll
      for (int i = 0; i < 4; ++i) w[l][i] = to_float(weights[l].element[half * 4 + i]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float4 a =
          *reinterpret_cast<const float4*>(shared + r * kChunk + half * (kChunk / 2) + unit * 4);
#pragma unroll
      for (int l = 0; l < kWarpLines; ++l) {
        sums[l][r] = fmaf(w[l][0], a.x, sums[l][r]);
        sums[l][r] = fmaf(w[l][1], a.y, sums[l][r]);
        sums[l][r] = fmaf(w[l][2], a.z, sums[l][r]);
        sums[l][r] = fmaf(w[l][3], a.w, sums[l][r]);
      }
    }
  }
}

/// A lane finishes a column of a row.
template <int kRows>
__device__ __forceinline__ void finish_rows(const Product& p, int column,
                                            const float (&sums)[kWarpLines][kRows]) {
  static_assert(kRows * kWarpLines <= 32, "a lane a sum");
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float mine = 0;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int l = 0; l < kWarpLines; ++l) {
      const float sum = warp_reduce<SumOf>(sums[l][r]);
      if (lane == r * kWarpLines + l) mine = sum;
    }
  }
  float own[ACC][1] = {mine};
  if constexpr (ACC == 2) own[ACC - 1][0] = __shfl_down_sync(0xffffffffu, mine, 1);
  const int row = lane / kWarpLines, l = lane % kWarpLines;
  if (l % ACC != 0 || row >= kRows || row >= p.rows || column + l / ACC >= p.columns) return;
  finish<1>(p.fused, own, row, column + l / ACC);
}

inline constexpr int kFewTile = kThreads / 32 * kWarpColumns;

/// Tiles first, first + gridDim.x, ...
template <int kRows>
__device__ __forceinline__ void few_rows(const Product& p, float* shared, int first) {
  constexpr int kTile = kFewTile;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int tile = first; tile * kTile < p.columns; tile += static_cast<int>(gridDim.x)) {
    const int column = tile * kTile + warp * kWarpColumns;
    int rows[kWarpLines];
#pragma unroll
    for (int l = 0; l < kWarpLines; ++l) {
      const int c = column + l / ACC;
      rows[l] = c < p.columns ? weight_row(c, l % ACC, p.columns) : -1;
    }
    float sums[kWarpLines][kRows] = {};
    for (int k0 = 0; k0 < p.depth; k0 += kChunk) {
      __syncthreads();
      stage_rows<kRows>(p, k0, shared);
      __syncthreads();
      const int units = (min(kChunk, p.depth - k0) + kUnit - 1) / kUnit;
#pragma unroll(kRows == 1 ? 2 : 1)
      for (int unit = lane; unit < units; unit += 32) {
        Pack<B_T, kUnit> weights[kWarpLines];
#pragma unroll
        for (int l = 0; l < kWarpLines; ++l) weights[l] = load_b(p, rows[l], k0 + unit * kUnit);
        add_unit<kRows>(shared, unit, weights, sums);
      }
    }
    finish_rows<kRows>(p, column, sums);
  }
}

/// Whether the product was one of few rows, and is done.
__device__ __forceinline__ bool done_by_few_rows(const Product& p, void* shared,
                                                 int first = static_cast<int>(blockIdx.x)) {
  if (ONE_PATH || !TRANSPOSE_B || p.rows > kFewRows) return false;
  float* floats = static_cast<float*>(shared);
  if (p.rows <= 1) {
    few_rows<1>(p, floats, first);
  } else {
    few_rows<kFewRows>(p, floats, first);
  }
  return true;
}

/// The products of groups of rows, each with a b of its own, one after the other: groups[0].x is
/// how many there are, then come first row, end and number of each. Blocks take tiles in turn over
/// all of them: `tiles` does those of one, and `count` says how many it has.
template <class Tiles, class Count>
__device__ __forceinline__ void for_groups(const Product& all, const int4* groups, Tiles tiles,
                                           Count count) {
  const int blocks = static_cast<int>(gridDim.x), b_rows = all.columns * ACC;
  const int groups_count = groups[0].x;
  int first = static_cast<int>(blockIdx.x);
  for (int i = 1; i <= groups_count; ++i) {
    const int4 group = groups[i];
    Product p = all;
    p.rows = group.y - group.x;
    const int here = count(p);
    if (first < here) {
      p.a += int64_t{group.x} * p.depth;
      p.b += int64_t{group.z} * b_rows * p.depth;
      p.fused = of_group(p.fused, group.z, group.x, p.columns);
      tiles(p, first);
      first += (here - first + blocks - 1) / blocks * blocks;
    }
    first -= here;
  }
}

/// Finishes kRows x kLines sums in shared memory, FINISH neighbouring columns at once.
template <int kRows, int kLines, int kPitch, int kWorkers>
__device__ __forceinline__ void finish_slice(const Product& p, const float* slice, int64_t row,
                                             int line, int worker) {
  constexpr int kUnits = kLines / ACC / FINISH;
#pragma unroll 1
  for (int i = worker; i < kRows * kUnits; i += kWorkers) {
    const int r = i / kUnits, c = i % kUnits * FINISH;
    const float* from = slice + r * kPitch + (ACC == 1 ? c : c / 16 * 32 + c % 16);
    const int column = line / ACC + c;
    if (row + r >= p.rows || column >= p.columns) continue;
    float own[ACC][FINISH];
#pragma unroll
    for (int j = 0; j < ACC; ++j) {
#pragma unroll
      for (int v = 0; v < FINISH; ++v) own[j][v] = from[j * 16 + v];
    }
    finish<FINISH>(p.fused, own, row + r, column);
  }
}

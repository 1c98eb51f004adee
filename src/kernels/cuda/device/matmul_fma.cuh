// matmul of any shape and types in f32: operands are widened, products are fused multiply-adds in
// the order of k. Tiles of 64 rows of a and 64 lines of b, 16 deep; the next tile waits in
// registers. At most eight rows take the path of few rows.
//   as matmul_any.cuh
#pragma once

#include "matmul_any.cuh"

inline constexpr int kTile = 64, kDeep = 16;
inline constexpr int kTileUnits = kTile * kDeep / kUnit;  // of an operand
inline constexpr int kPitch = kTile + 4;

struct FmaShared {
  float a[kDeep][kPitch];
  float b[kDeep][kPitch];
};

/// Half of the threads move a, the others b: a unit each.
struct FmaMover {
  const Product& p;
  int64_t row;
  int line;
  Pack<A_T, kUnit> a;
  Pack<B_T, kUnit> b;

  __device__ static bool moves_a() { return threadIdx.x < kTileUnits; }
  __device__ static int own() { return static_cast<int>(threadIdx.x) % kTileUnits; }
  __device__ static int a_row() { return own() / 2; }
  __device__ static int a_k() { return own() % 2 * kUnit; }
  __device__ static int b_line() { return TRANSPOSE_B ? own() / 2 : own() % kTile; }
  __device__ static int b_k() { return (TRANSPOSE_B ? own() % 2 : own() / kTile) * kUnit; }

  __device__ __forceinline__ void begin(int k0) {
    if (moves_a()) {
      a = load_a(p, row + a_row(), k0 + a_k());
    } else {
      b = load_b(p, weight_row_of_line(line + b_line(), p.columns), k0 + b_k());
    }
  }
  __device__ __forceinline__ void end(int k0, FmaShared& shared) {
    float values[kUnit];
    if (moves_a()) {
      widen_a(p, a, row + a_row(), k0 + a_k(), values);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) shared.a[a_k() + i][a_row()] = values[i];
    } else {
      widen(b, values);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) shared.b[b_k() + i][b_line()] = values[i];
    }
  }
};
static_assert(kTileUnits * 2 == kThreads, "a unit a thread");

/// A thread has rows 4 y .. and lines x, x + 16, ...
__device__ __forceinline__ void multiply_tile(const FmaShared& shared, int y, int x,
                                              float (&sums)[4][4]) {
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    float a[4];
    load_chunk<4>(&shared.a[k][y * 4], a);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float b = shared.b[k][x + 16 * j];
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i][j] = fmaf(a[i], b, sums[i][j]);
    }
  }
}

__device__ __forceinline__ int64_t count_of(const Product& p) {
  return (p.rows + kTile - 1) / kTile * ((lines_of(p) + kTile - 1) / kTile);
}

/// Tiles first, first + gridDim.x, ...
__device__ __forceinline__ void tiles(const Product& p, uint8_t* bytes, int64_t from) {
  FmaShared& shared = *reinterpret_cast<FmaShared*>(bytes);
  const int y = static_cast<int>(threadIdx.x) / 16, x = static_cast<int>(threadIdx.x) % 16;
  const int lines = lines_of(p);
  const int64_t down = (p.rows + kTile - 1) / kTile;
  const int64_t count = down * ((lines + kTile - 1) / kTile);
  for (int64_t tile = from; tile < count; tile += gridDim.x) {
    FmaMover mover = {p, tile % down * kTile, int(tile / down) * kTile};
    float sums[4][4] = {};
    mover.begin(0);
    for (int k0 = 0; k0 < p.depth; k0 += kDeep) {
      __syncthreads();
      mover.end(k0, shared);
      __syncthreads();
      mover.begin(k0 + kDeep);
      multiply_tile(shared, y, x, sums);
    }
    __syncthreads();
    float* all = reinterpret_cast<float*>(bytes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) all[(y * 4 + i) * kPitch + x + 16 * j] = sums[i][j];
    }
    __syncthreads();
    finish_slice<kTile, kTile, kPitch, kThreads>(p, all, mover.row, mover.line,
                                                 static_cast<int>(threadIdx.x));
  }
}

__device__ __forceinline__ void matmul_fma(const Product& p) {
  extern __shared__ __align__(128) uint8_t bytes[];
  allow_next_kernel();
  await_last_kernel();
  if (done_by_few_rows(p, bytes)) return;
  tiles(p, bytes, blockIdx.x);
}

__device__ __forceinline__ void matmul_fma_groups(const Product& all, const int4* groups) {
  extern __shared__ __align__(128) uint8_t bytes[];
  allow_next_kernel();
  await_last_kernel();
  for_groups(
      all, groups,
      [&](const Product& p, int first) {
        if (!done_by_few_rows(p, bytes, first)) tiles(p, bytes, first);
        __syncthreads();
      },
      [](const Product& p) {
        if (!ONE_PATH && p.rows <= kFewRows) return (p.columns + kFewTile - 1) / kFewTile;
        return static_cast<int>(count_of(p));
      });
}

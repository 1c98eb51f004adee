// matmul of any shape on the tensor cores of sm_80 and later: m16n8k16 products of bf16 or f16 with
// f32 sums. Both operands pass through a ring of tiles in shared memory; what is already of the
// product's type is copied there asynchronously, what is not (int8 and e4m3 weights, an operand
// with a prologue, rows of odd length) is held in registers while the tile before is multiplied,
// and converted on its way. Blocks loop over tiles: large ones where they fill the machine, else
// small ones; at most eight rows take the path of few rows.
//   as matmul_any.cuh, and C_T (bf16_t or f16_t), SHARED_BYTES
#pragma once

#include "matmul_any.cuh"

template <class A, class B>
inline constexpr bool kSame = false;
template <class A>
inline constexpr bool kSame<A, A> = true;

inline constexpr bool kRawA = kSame<A_T, C_T> && VECTOR_A && !PROLOGUE;
inline constexpr bool kRawB = kSame<B_T, C_T> && VECTOR_B && TRANSPOSE_B;

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
/// 16 bytes, or zeros.
__device__ __forceinline__ void copy_unit(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
__device__ __forceinline__ void load_matrices(uint32_t address, uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  if constexpr (kSame<C_T, bf16_t>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// A tile of kM rows of a and kN lines of b, kK deep, of which a warp has kWarpM x kWarpN.
template <int kM_, int kN_, int kK_, int kWarpM_, int kWarpN_>
struct Tile {
  static constexpr int kM = kM_, kN = kN_, kK = kK_, kWarpM = kWarpM_, kWarpN = kWarpN_;
  static constexpr int kUnits = kK / kUnit;  // of a row
  static constexpr int kBytes = (kM + kN) * kK * 2;
  static constexpr int kStages = SHARED_BYTES / kBytes;
  static constexpr int kHeldA = kM * kUnits / kThreads, kHeldB = kN * kUnits / kThreads;
  static constexpr int kAcross = kN / kWarpN;
  static_assert(kM / kWarpM * kAcross == kThreads / 32 && kStages >= 2, "eight warps");
  static_assert(ACC == 1 || kWarpN % 32 == 0, "a thread has both accumulators of a column");
  static_assert(kHeldB * kThreads == kN * kUnits && kHeldA * kThreads == kM * kUnits, "whole");

  /// Byte of a unit within an operand's tile: eight rows' units lie in different banks.
  __device__ static int place(int row, int unit) {
    const int turned = kUnits == 8 ? unit ^ (row & 7) : unit ^ (row / 2 & 3);
    return (row * kUnits + turned) * 16;
  }
};

/// The units of one tile that a thread moves.
template <class T>
struct Mover {
  const Product& p;
  int64_t row;  // first of a
  int line;     // first of b
  uint32_t ring;
  Pack<A_T, kUnit> a[kRawA ? 1 : T::kHeldA];
  Pack<B_T, kUnit> b[kRawB ? 1 : T::kHeldB];

  /// Unit u of b: neighbouring threads read what lies side by side.
  __device__ static int b_row(int u) { return TRANSPOSE_B ? u / T::kUnits : u % T::kN; }
  __device__ static int b_unit(int u) { return TRANSPOSE_B ? u % T::kUnits : u / T::kN; }

  __device__ __forceinline__ void begin(int step) {
    const uint32_t to = ring + step % T::kStages * T::kBytes;
    const int k0 = step * T::kK, thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < T::kHeldA; ++i) {
      const int u = i * kThreads + thread, r = u / T::kUnits, k = k0 + u % T::kUnits * kUnit;
      if constexpr (kRawA) {
        const bool there = row + r < p.rows && k < p.depth;
        copy_unit(to + T::place(r, u % T::kUnits), there ? p.a + (row + r) * p.depth + k : p.a,
                  there);
      } else {
        a[i] = load_a(p, row + r, k);
      }
    }
#pragma unroll
    for (int i = 0; i < T::kHeldB; ++i) {
      const int u = i * kThreads + thread, k = k0 + b_unit(u) * kUnit;
      const int r = weight_row_of_line(line + b_row(u), p.columns);
      if constexpr (kRawB) {
        const bool there = r >= 0 && k < p.depth;
        copy_unit(to + (T::kM * T::kK * 2 + T::place(b_row(u), b_unit(u))),
                  there ? p.b + int64_t(r) * p.depth + k : p.b, there);
      } else {
        b[i] = load_b(p, r, k);
      }
    }
  }

  __device__ static __forceinline__ void store(uint32_t to, const float (&values)[kUnit]) {
    uint32_t words[4];
    C_T halves[kUnit];
#pragma unroll
    for (int i = 0; i < kUnit; ++i) narrow(values[i], halves[i]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = uint32_t{halves[2 * i].bits} | uint32_t{halves[2 * i + 1].bits} << 16;
    }
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(words[0]), "r"(words[1]),
                 "r"(words[2]), "r"(words[3])
                 : "memory");
  }

  __device__ __forceinline__ void end(int step) {
    const uint32_t to = ring + step % T::kStages * T::kBytes;
    const int k0 = step * T::kK, thread = static_cast<int>(threadIdx.x);
    float values[kUnit];
    if constexpr (!kRawA) {
#pragma unroll
      for (int i = 0; i < T::kHeldA; ++i) {
        const int u = i * kThreads + thread, r = u / T::kUnits;
        widen_a(p, a[i], row + r, k0 + u % T::kUnits * kUnit, values);
        store(to + T::place(r, u % T::kUnits), values);
      }
    }
    if constexpr (!kRawB) {
#pragma unroll
      for (int i = 0; i < T::kHeldB; ++i) {
        const int u = i * kThreads + thread;
        widen(b[i], values);
        store(to + (T::kM * T::kK * 2 + T::place(b_row(u), b_unit(u))), values);
      }
    }
  }
};

template <class T>
using Sums = float[T::kWarpM / 16][T::kWarpN / 8][4];

template <class T>
__device__ __forceinline__ void multiply_tile(uint32_t stage, int warp_row, int warp_line,
                                              Sums<T>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int kk = 0; kk < T::kK / 16; ++kk) {
    uint32_t a[T::kWarpM / 16][4];
#pragma unroll
    for (int m = 0; m < T::kWarpM / 16; ++m) {
      load_matrices(stage + T::place(warp_row + m * 16 + lane % 16, kk * 2 + lane / 16), a[m]);
    }
#pragma unroll
    for (int n = 0; n < T::kWarpN / 16; ++n) {
      uint32_t b[4];
      const int row = warp_line + n * 16 + lane % 8 + lane / 16 * 8;
      load_matrices(stage + (T::kM * T::kK * 2 + T::place(row, kk * 2 + lane / 8 % 2)), b);
#pragma unroll
      for (int m = 0; m < T::kWarpM / 16; ++m) {
        multiply(sums[m][2 * n], a[m], b[0], b[1]);
        multiply(sums[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

/// A warp's sums pass through its own part of the ring, so that a thread has neighbouring columns.
template <class T>
__device__ __forceinline__ void finish_tile(const Product& p, int64_t row, int line, Sums<T>& sums,
                                            float* ring) {
  constexpr int kSlice = T::kWarpM < 32 ? T::kWarpM : 32, kPitch = T::kWarpN + 8;
  static_assert(kThreads / 32 * kSlice * kPitch * 4 <= SHARED_BYTES, "slices fit");
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* slice = ring + static_cast<int>(threadIdx.x) / 32 * (kSlice * kPitch);
#pragma unroll
  for (int m0 = 0; m0 < T::kWarpM / 16; m0 += kSlice / 16) {
    __syncwarp();
#pragma unroll
    for (int m = 0; m < kSlice / 16; ++m) {
#pragma unroll
      for (int n = 0; n < T::kWarpN / 8; ++n) {
        float* to = slice + (m * 16 + lane / 4) * kPitch + n * 8 + lane % 4 * 2;
        const float(&d)[4] = sums[m0 + m][n];
        *reinterpret_cast<float2*>(to) = make_float2(d[0], d[1]);
        *reinterpret_cast<float2*>(to + 8 * kPitch) = make_float2(d[2], d[3]);
      }
    }
    __syncwarp();
    finish_slice<kSlice, T::kWarpN, kPitch, 32>(p, slice, row + m0 * 16, line, lane);
  }
}

/// Tiles blockIdx.x, blockIdx.x + gridDim.x, ..; those of the same lines of b are neighbours.
template <class T>
__device__ __forceinline__ void tiles(const Product& p, uint8_t* shared) {
  const uint32_t ring = shared_address(shared);
  const int lines = lines_of(p);
  const int64_t down = (p.rows + T::kM - 1) / T::kM;
  const int64_t count = down * ((lines + T::kN - 1) / T::kN);
  const int steps = (p.depth + T::kK - 1) / T::kK;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / T::kAcross * T::kWarpM, warp_line = warp % T::kAcross * T::kWarpN;
  for (int64_t tile = blockIdx.x; tile < count; tile += gridDim.x) {
    Mover<T> mover = {p, tile % down * T::kM, int(tile / down) * T::kN, ring};
    Sums<T> sums = {};
    for (int step = 0; step < T::kStages - 1; ++step) {
      if (step < steps) mover.begin(step), mover.end(step);
      commit_copies();
    }
    for (int step = 0; step < steps; ++step) {
      asm volatile("cp.async.wait_group %0;" ::"n"(T::kStages - 2) : "memory");
      __syncthreads();
      const int next = step + T::kStages - 1;
      if (next < steps) mover.begin(next);
      multiply_tile<T>(ring + step % T::kStages * T::kBytes, warp_row, warp_line, sums);
      if (next < steps) mover.end(next);
      commit_copies();
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();  // the ring is free
    finish_tile<T>(p, mover.row + warp_row, mover.line + warp_line, sums,
                   reinterpret_cast<float*>(shared));
    __syncthreads();
  }
}

using LargeTile = Tile<128, 128, 32, 64, 32>;
using SmallTile = Tile<64, ACC == 1 ? 32 : 64, 64, 16, ACC == 1 ? 16 : 32>;

__device__ __forceinline__ void matmul_mma(const Product& p) {
  extern __shared__ __align__(128) uint8_t shared[];
  allow_next_kernel();
  await_last_kernel();
  if (done_by_few_rows(p, shared)) return;
  const int64_t large = (p.rows + LargeTile::kM - 1) / LargeTile::kM *
                        ((int64_t{p.columns} * ACC + LargeTile::kN - 1) / LargeTile::kN);
  if (p.rows > SmallTile::kM && large * 2 >= gridDim.x) {
    tiles<LargeTile>(p, shared);
  } else {
    tiles<SmallTile>(p, shared);
  }
}

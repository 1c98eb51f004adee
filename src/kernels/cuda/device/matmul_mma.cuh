// matmul of any shape on the tensor cores of sm_80 and later: m16n8k16 products of bf16 or f16 with
// f32 sums. Both operands pass through a ring of tiles in shared memory. What is already of the
// product's type is copied there asynchronously; so are int8 and e4m3, which the thread that asked
// for them converts when they have come. The rest (an operand with a prologue, rows of odd length)
// is held in registers while the tile before is multiplied. Blocks loop over tiles: large ones
// where they fill the machine, else small ones; at most eight rows take the path of few rows.
//   as matmul_any.cuh, and C_T (bf16_t or f16_t), SHARED_BYTES
#pragma once

#include "matmul_any.cuh"

template <class A, class B>
inline constexpr bool kSame = false;
template <class A>
inline constexpr bool kSame<A, A> = true;

/// How an operand comes into its tile.
enum class Way { kCopied, kConverted, kHeld };
template <class T>
constexpr Way way_of(bool whole) {
  return !whole ? Way::kHeld : kSame<T, C_T> ? Way::kCopied : Way::kConverted;
}
inline constexpr Way kWayA = way_of<A_T>(VECTOR_A && !PROLOGUE && sizeof(A_T) <= 2);
inline constexpr Way kWayB = way_of<B_T>(VECTOR_B && TRANSPOSE_B && sizeof(B_T) <= 2);

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
/// A unit of 16 or 8 bytes, or zeros. Of eight-bit elements a tile has less than a line of L2: what
/// lies behind is the next tile's.
template <int kBytes>
__device__ __forceinline__ void copy_unit(uint32_t to, const void* from, bool there) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 8 : 0)
                 : "memory");
  }
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
  static constexpr int kUnits = kK / kUnit;     // of a row
  static constexpr int kOffsetB = kM * kK * 2;  // bytes: a's tile, b's, what is to be converted
  static constexpr int kRawOffsetA = (kM + kN) * kK * 2;
  static constexpr int kRawOffsetB = kRawOffsetA + (kWayA == Way::kConverted ? kM * kK : 0);
  static constexpr int kBytes = kRawOffsetB + (kWayB == Way::kConverted ? kN * kK : 0);
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

// Eight elements to the product's type.
__device__ __forceinline__ uint4 converted(const float (&values)[kUnit]) {
  C_T halves[kUnit];
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < kUnit; ++i) narrow(values[i], halves[i]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = uint32_t{halves[2 * i].bits} | uint32_t{halves[2 * i + 1].bits} << 16;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}
template <class E>
__device__ __forceinline__ uint4 converted(uint2 raw, const E*) {
  Pack<E, kUnit> pack;
  reinterpret_cast<uint2&>(pack) = raw;
  float values[kUnit];
  widen(pack, values);
  return converted(values);
}
#if __CUDA_ARCH__ >= 890
__device__ __forceinline__ uint4 converted(uint2 raw, const e4m3_t*) {
  const auto pair = [](uint32_t word, int at) {
    uint32_t out;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(out) : "h"(static_cast<uint16_t>(word >> at)));
    return out;
  };
  return make_uint4(pair(raw.x, 0), pair(raw.x, 16), pair(raw.y, 0), pair(raw.y, 16));
}
#endif
__device__ __forceinline__ uint2 load_raw(uint32_t from) {
  uint2 raw;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];"
               : "=r"(raw.x), "=r"(raw.y)
               : "r"(from)
               : "memory");
  return raw;
}
__device__ __forceinline__ void store_unit(uint32_t to, const uint4& unit) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(unit.x), "r"(unit.y),
               "r"(unit.z), "r"(unit.w)
               : "memory");
}

/// The units of one tile that a thread moves. begin(): asks for them; convert(): when they have
/// come; end(): what was held.
template <class T>
struct Mover {
  const Product& p;
  int64_t row;  // first of a
  int line;     // first of b
  uint32_t ring;
  Pack<A_T, kUnit> a[kWayA == Way::kHeld ? T::kHeldA : 1];
  Pack<B_T, kUnit> b[kWayB == Way::kHeld ? T::kHeldB : 1];

  __device__ static int own(int i) { return i * kThreads + static_cast<int>(threadIdx.x); }
  __device__ uint32_t stage(int step) const { return ring + step % T::kStages * T::kBytes; }
  /// Unit u of b: neighbouring threads read what lies side by side.
  __device__ static int b_row(int u) { return TRANSPOSE_B ? u / T::kUnits : u % T::kN; }
  __device__ static int b_unit(int u) { return TRANSPOSE_B ? u % T::kUnits : u / T::kN; }
  __device__ static int a_place(int u) { return T::place(u / T::kUnits, u % T::kUnits); }
  __device__ static int b_place(int u) { return T::kOffsetB + T::place(b_row(u), b_unit(u)); }

  __device__ __forceinline__ void begin(int step) {
    const uint32_t to = stage(step);
    const int k0 = step * T::kK;
#pragma unroll
    for (int i = 0; i < T::kHeldA; ++i) {
      const int u = own(i), k = k0 + u % T::kUnits * kUnit;
      const int64_t r = row + u / T::kUnits;
      if constexpr (kWayA == Way::kHeld) {
        a[i] = load_a(p, r, k);
      } else {
        const bool there = r < p.rows && k < p.depth;
        copy_unit<kUnit * sizeof(A_T)>(
            to + (kWayA == Way::kCopied ? a_place(u) : T::kRawOffsetA + u * kUnit),
            there ? p.a + r * p.depth + k : p.a, there);
      }
    }
#pragma unroll
    for (int i = 0; i < T::kHeldB; ++i) {
      const int u = own(i), k = k0 + b_unit(u) * kUnit;
      const int r = weight_row_of_line(line + b_row(u), p.columns);
      if constexpr (kWayB == Way::kHeld) {
        b[i] = load_b(p, r, k);
      } else {
        const bool there = r >= 0 && k < p.depth;
        copy_unit<kUnit * sizeof(B_T)>(
            to + (kWayB == Way::kCopied ? b_place(u) : T::kRawOffsetB + u * kUnit),
            there ? p.b + int64_t(r) * p.depth + k : p.b, there);
      }
    }
  }

  __device__ __forceinline__ void convert(int step) const {
    const uint32_t to = stage(step);
    if constexpr (kWayA == Way::kConverted) {
#pragma unroll
      for (int i = 0; i < T::kHeldA; ++i) {
        const uint2 raw = load_raw(to + T::kRawOffsetA + own(i) * kUnit);
        store_unit(to + a_place(own(i)), converted(raw, p.a));
      }
    }
    if constexpr (kWayB == Way::kConverted) {
#pragma unroll
      for (int i = 0; i < T::kHeldB; ++i) {
        const uint2 raw = load_raw(to + T::kRawOffsetB + own(i) * kUnit);
        store_unit(to + b_place(own(i)), converted(raw, p.b));
      }
    }
  }

  __device__ __forceinline__ void end(int step) {
    const uint32_t to = stage(step);
    float values[kUnit];
    if constexpr (kWayA == Way::kHeld) {
#pragma unroll
      for (int i = 0; i < T::kHeldA; ++i) {
        const int u = own(i);
        widen_a(p, a[i], row + u / T::kUnits, step * T::kK + u % T::kUnits * kUnit, values);
        store_unit(to + a_place(u), converted(values));
      }
    }
    if constexpr (kWayB == Way::kHeld) {
#pragma unroll
      for (int i = 0; i < T::kHeldB; ++i) {
        widen(b[i], values);
        store_unit(to + b_place(own(i)), converted(values));
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
      load_matrices(stage + (T::kOffsetB + T::place(row, kk * 2 + lane / 8 % 2)), b);
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

/// First row and line of a tile. Sixteen tiles down at a time: what is multiplied at the same time
/// shares rows of both operands in L2.
struct Place {
  int64_t down;
  int across;
};
__device__ __forceinline__ Place place_of(int64_t tile, int64_t down, int across) {
  constexpr int kGroup = 16;
  const int64_t group = tile / (kGroup * int64_t{across}), first = group * kGroup;
  const int64_t high = down - first < kGroup ? down - first : kGroup;
  const int64_t within = tile - first * across;
  return {first + within % high, static_cast<int>(within / high)};
}

template <class T>
__device__ __forceinline__ int64_t count_of(const Product& p) {
  return (p.rows + T::kM - 1) / T::kM * ((lines_of(p) + T::kN - 1) / T::kN);
}

/// Tiles first, first + gridDim.x, ...
template <class T>
__device__ __forceinline__ void tiles(const Product& p, uint8_t* shared, int64_t first) {
  const uint32_t ring = shared_address(shared);
  const int lines = lines_of(p);
  const int64_t down = (p.rows + T::kM - 1) / T::kM;
  const int across = (lines + T::kN - 1) / T::kN;
  const int64_t count = down * across;
  const int steps = (p.depth + T::kK - 1) / T::kK;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / T::kAcross * T::kWarpM, warp_line = warp % T::kAcross * T::kWarpN;
  for (int64_t tile = first; tile < count; tile += gridDim.x) {
    const Place place = place_of(tile, down, across);
    Mover<T> mover = {p, place.down * T::kM, place.across * T::kN, ring};
    Sums<T> sums = {};
    for (int step = 0; step < T::kStages - 1; ++step) {
      if (step < steps) mover.begin(step), mover.end(step);
      commit_copies();
    }
    for (int step = 0; step < steps; ++step) {
      asm volatile("cp.async.wait_group %0;" ::"n"(T::kStages - 2) : "memory");
      mover.convert(step);
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
    tiles<LargeTile>(p, shared, blockIdx.x);
  } else {
    tiles<SmallTile>(p, shared, blockIdx.x);
  }
}

__device__ __forceinline__ void matmul_mma_groups(const Product& all, const int4* groups) {
  extern __shared__ __align__(128) uint8_t shared[];
  allow_next_kernel();
  await_last_kernel();
  const auto few = [](const Product& p) { return !ONE_PATH && p.rows <= kFewRows; };
  const auto large = [](const Product& p) { return p.rows > SmallTile::kM; };
  for_groups(
      all, groups,
      [&](const Product& p, int first) {
        if (done_by_few_rows(p, shared, first)) {
          __syncthreads();
        } else if (large(p)) {
          tiles<LargeTile>(p, shared, first);
        } else {
          tiles<SmallTile>(p, shared, first);
        }
      },
      [&](const Product& p) {
        if (few(p)) return (p.columns + kFewTile - 1) / kFewTile;
        return static_cast<int>(large(p) ? count_of<LargeTile>(p) : count_of<SmallTile>(p));
      });
}

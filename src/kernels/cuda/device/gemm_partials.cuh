// Sums that blocks of gemm_sm90.cuh leave for each other in the workspace, of tiles that are cut.
// Included where its constants, Pieces and GemmArguments are known.
#pragma once

/// A warpgroup's own half of a block's partial sums, and the word that says they are there.
struct Partial {
  float4* sums;
  uint32_t* flag;
  __device__ __forceinline__ Partial(const GemmArguments& g, int block, int thread, int slot = 0) {
    const int64_t half = int64_t{block} * 2 + thread / 128;
    sums = reinterpret_cast<float4*>(g.partials + (half * kSlots + slot) * (64 * BLOCK_T)) +
           thread % 128;
    flag = g.flags + half;
  }
};

/// Waits for the flags of blocks first .. first + count - 1 of this rank, all at once.
__device__ __forceinline__ void await_partials(const GemmArguments& g, int first, int count,
                                               int thread, int rank) {
  for (int i = thread % 128; i < count; i += 128) {
    const uint32_t* flag = Partial(g, (first + i) * CLUSTER + rank, thread).flag;
    uint32_t ready = 0;
    while (ready == 0) {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(ready) : "l"(flag));
    }
  }
  named_barrier(1 + thread / 128, 128);
}
__device__ __forceinline__ void clear_flags(const GemmArguments& g, int first, int count,
                                            int thread, int rank) {
  for (int i = thread % 128; i < count; i += 128) {
    *Partial(g, (first + i) * CLUSTER + rank, thread).flag = 0;
  }
}

/// acc = or += `count` partial sums in order, several of them in flight at a time.
template <bool kAdd, class Sums>
__device__ __forceinline__ void add_partials(float (&acc)[BLOCK_T / 2], int count, Sums sums) {
  constexpr bool kRoomy = BLOCK_T <= 32 || (BLOCK_T == 64 && !SLIM && SEGMENTS > 1);
  constexpr int kBatch = BLOCK_T <= 16 ? 4 : kRoomy ? 2 : 1;
  constexpr int kChunk = BLOCK_T / 8 < 8 ? BLOCK_T / 8 : 8;
  for (int i = 0; i < count; i += kBatch) {
#pragma unroll
    for (int from = 0; from < BLOCK_T / 8; from += kChunk) {
      float4 v[kBatch][kChunk];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
#pragma unroll
        for (int j = 0; j < kChunk; ++j) {
          v[b][j] =
              i + b < count ? __ldcg(sums(i + b) + (from + j) * 128) : make_float4(0, 0, 0, 0);
        }
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
#pragma unroll
        for (int j = 0; j < kChunk; ++j) {
          float* to = acc + (from + j) * 4;
          if (!kAdd && i + b == 0) {
            to[0] = v[b][j].x, to[1] = v[b][j].y, to[2] = v[b][j].z, to[3] = v[b][j].w;
          } else if (i + b < count) {
            to[0] += v[b][j].x, to[1] += v[b][j].y, to[2] += v[b][j].z, to[3] += v[b][j].w;
          }
        }
      }
    }
  }
}

/// Who holds which units of the tiles that are cut.
struct Owners {
  int units, clusters, start;  // start: the tile's first unit
  __device__ Owners(const Pieces& p, int tiles)
      : units((tiles - p.direct) * kTileUnits),
        clusters(gridDim.x / CLUSTER),
        start((p.tile - p.direct) * kTileUnits) {}
  __device__ int of(int unit) const {
    int block = (start + unit) * clusters / units;
    while (units * (block + 1) / clusters <= start + unit) ++block;
    return block;
  }
  /// The tile's unit that a block's run begins with; negative: in a tile before.
  __device__ int begin(int block) const { return units * block / clusters - start; }
};

/// Adds what the blocks before this one computed of the tile, in the order of k.
__device__ __forceinline__ void gather(const GemmArguments& g, float (&acc)[BLOCK_T / 2],
                                       const Pieces& p, int tiles, int thread, int rank) {
  const int first = Owners(p, tiles).of(0), count = blockIdx.x / CLUSTER - first;
  await_partials(g, first, count, thread, rank);
  add_partials<true>(acc, count,
                     [&](int i) { return Partial(g, (first + i) * CLUSTER + rank, thread).sums; });
  clear_flags(g, first, count, thread, rank);
}

/// The sum of all segments but the last: the first block's come as one sum, the others', this
/// block's among them, one by one.
__device__ __forceinline__ void gather_segments(const GemmArguments& g, float (&sum)[BLOCK_T / 2],
                                                const Pieces& p, int tiles, int thread, int rank) {
  const Owners owners(p, tiles);
  const int first = owners.of(0), count = blockIdx.x / CLUSTER - first;
  const int together = owners.begin(first + 1);
  await_partials(g, first, count, thread, rank);
  add_partials<false>(sum, kTileUnits - together, [&](int i) {
    if (i == 0) return Partial(g, first * CLUSTER + rank, thread).sums;
    const int unit = together + i - 1, block = owners.of(unit);
    return Partial(g, block * CLUSTER + rank, thread, unit - owners.begin(block) + 1).sums;
  });
  clear_flags(g, first, count, thread, rank);
}

__device__ __forceinline__ void leave_sums(const GemmArguments& g, const float (&acc)[BLOCK_T / 2],
                                           int thread, int slot = 0) {
  const Partial mine(g, blockIdx.x, thread, slot);
#pragma unroll
  for (int j = 0; j < BLOCK_T / 8; ++j) {
    __stcg(mine.sums + j * 128,
           make_float4(acc[j * 4], acc[j * 4 + 1], acc[j * 4 + 2], acc[j * 4 + 3]));
  }
}
__device__ __forceinline__ void raise_flag(const GemmArguments& g, int thread) {
  const Partial mine(g, blockIdx.x, thread);
  named_barrier(1 + thread / 128, 128);
  // The barrier orders the warpgroup's stores before this release.
  if (thread % 128 == 0) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(mine.flag), "r"(1u) : "memory");
  }
}

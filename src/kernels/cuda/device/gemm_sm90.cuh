// GEMM for Hopper: Y[t, w] = sum_k X[t, k] * W[w, k], weights as wgmma's M operand and tokens as
// its N, so that one kernel serves a batch of 1 and a prefill of thousands.
//
// W lies in tiles of 64 rows x 128 bytes, already swizzled, tile (w / 64, k block) at
// (w / 64 * kKBlocks + k block) * 8 KiB: a tile is one contiguous copy. X comes by tensor map.
// One producer warp keeps kStages tiles in flight; two math warpgroups of 64 rows each consume.
// Whole waves of tiles are computed each by one block, neighbours at a time so that they share
// operands in L2; what is left is cut into equal runs of k blocks over all blocks of the grid
// (stream-K, Osama et al. 2023): a run that ends inside a tile leaves its partial sums in the
// workspace for the block that finishes the tile. A block does its unfinished tile first, so that
// nobody waits for long; the order of additions is fixed, so results are the same from run to run
// for one grid.
//
// Given by the host before this file: GEMM_N, GEMM_K, GEMM_FP8, BLOCK_T, STAGES, ACCUMULATORS,
// GROUP_T; wgmma_product() for 64 x BLOCK_T; struct Epilogue with epilogue_store(), its
// EPILOGUE_PARAMETERS and EPILOGUE_VALUES; TOKENS_PARAMETER and TOKENS_VALUE.
#pragma once

#include "hopper.cuh"
#include "pointwise.cuh"

constexpr int kBlockW = 128;
constexpr int kRowBytes = 128;  // of K, in a stage
constexpr int kElementBytes = GEMM_FP8 ? 1 : 2;
constexpr int kBlockK = kRowBytes / kElementBytes;
constexpr int kKBlocks = (GEMM_K + kBlockK - 1) / kBlockK;
constexpr int kTilesW = (GEMM_N + kBlockW - 1) / kBlockW;
constexpr int kTileBytes = 64 * kRowBytes;
constexpr int kStageW = 2 * kTileBytes;
constexpr int kStageX = BLOCK_T * kRowBytes;
constexpr int kMathThreads = 256;
constexpr int kChunkT = BLOCK_T < 32 ? BLOCK_T : 32;  // tokens stored at a time
constexpr int kOutW = kBlockW / ACCUMULATORS;
constexpr int kOutN = GEMM_N / ACCUMULATORS;
constexpr int kVector = kOutN % 8 == 0 ? 8 : 1;  // elements of a row that a thread finishes
constexpr int kStoreStride = kOutW + 4;          // f32; the pad keeps stores free of conflicts
constexpr int kStoreBytes = ACCUMULATORS * kChunkT * kStoreStride * 4;
constexpr int kKSteps = kRowBytes / 32;  // wgmma's k is 32 bytes

struct GemmArguments {
  const uint8_t* weights;
  float* partials;  // [grid, kBlockW * BLOCK_T]
  uint32_t* flags;  // [grid], zero between launches
  int tokens;
  Epilogue epilogue;
};

struct Tile {
  int w, t;
};

/// Neighbouring tiles share operands in L2: groups of GROUP_T token tiles, tokens fastest.
__device__ __forceinline__ Tile tile_at(int index, int tiles_t) {
  const int per_group = kTilesW * GROUP_T;
  const int group = index / per_group;
  const int first = group * GROUP_T;
  const int width = tiles_t - first < GROUP_T ? tiles_t - first : GROUP_T;
  const int rest = index - group * per_group;
  return {rest / width, first + rest % width};
}

/// What this block computes: its run of k blocks, the last tile first, then its whole tiles.
struct Pieces {
  int direct;  // tiles [0, direct) are whole, the others cut
  int64_t begin, end;
  int tile;
  bool streaming;

  __device__ Pieces(int tiles, int block, int blocks) {
    const int waves = tiles / blocks;
    direct = waves * blocks == tiles ? tiles : (waves > 1 ? (waves - 1) * blocks : 0);
    const int64_t units = static_cast<int64_t>(tiles - direct) * kKBlocks;
    const int64_t offset = static_cast<int64_t>(direct) * kKBlocks;
    begin = offset + units * block / blocks;
    end = offset + units * (block + 1) / blocks;
    streaming = begin < end;
    tile = streaming ? static_cast<int>((end - 1) / kKBlocks) : block;
  }
  __device__ bool valid() const { return streaming || tile < direct; }
  __device__ void next() {
    if (!streaming) {
      tile += gridDim.x;
    } else if (tile > static_cast<int>(begin / kKBlocks)) {
      --tile;
    } else {
      streaming = false;
      tile = blockIdx.x;
    }
  }
  __device__ int first_k() const {
    const int64_t start = static_cast<int64_t>(tile) * kKBlocks;
    return streaming && begin > start ? static_cast<int>(begin - start) : 0;
  }
  __device__ int last_k() const {
    const int64_t start = static_cast<int64_t>(tile) * kKBlocks;
    return streaming && end < start + kKBlocks ? static_cast<int>(end - start) : kKBlocks;
  }
};

struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == STAGES) stage = 0, phase ^= 1;
  }
};

__device__ __forceinline__ void load_weights(const GemmArguments& g, uint8_t* stage, int w, int k,
                                             uint64_t* full, uint64_t policy) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t tile = static_cast<int64_t>(w * 2 + half) * kKBlocks + k;
    bulk_load(stage + half * kTileBytes, g.weights + tile * kTileBytes, kTileBytes, full, policy);
  }
}

__device__ void produce(const GemmArguments& g, const void* map, uint8_t* stages, uint64_t* full,
                        uint64_t* empty, int tiles_t) {
  // Weights that one tile of tokens reads are read once; many tiles share both operands alike.
  const uint64_t weight_policy = tiles_t > 4   ? policy_evict_normal()
                                 : tiles_t > 1 ? policy_evict_last()
                                               : policy_evict_first();
  const uint64_t kept = tiles_t > 4 ? policy_evict_normal() : policy_evict_last();
  // Weights do not depend on the kernel before this one: the first stages' go out before the wait.
  Pieces ahead(kTilesW * tiles_t, blockIdx.x, gridDim.x);
  int early = 0;
  if (ahead.valid()) {
    const Tile tile = tile_at(ahead.tile, tiles_t);
    for (int k = ahead.first_k(); k < ahead.last_k() && early < STAGES; ++k, ++early) {
      barrier_expect(&full[early], kStageW + kStageX);
      load_weights(g, stages + early * (kStageW + kStageX), tile.w, k, &full[early], weight_policy);
    }
  }
  wait_dependencies();
  Ring ring;
  int step = 0;
  for (Pieces p(kTilesW * tiles_t, blockIdx.x, gridDim.x); p.valid(); p.next()) {
    const Tile tile = tile_at(p.tile, tiles_t);
    for (int k = p.first_k(); k < p.last_k(); ++k, ++step, ring.advance()) {
      uint8_t* stage = stages + ring.stage * (kStageW + kStageX);
      if (step >= early) {
        barrier_wait(&empty[ring.stage], ring.phase ^ 1);
        barrier_expect(&full[ring.stage], kStageW + kStageX);
        load_weights(g, stage, tile.w, k, &full[ring.stage], weight_policy);
      }
      tensor_load_2d(stage + kStageW, map, k * kBlockK, tile.t * BLOCK_T, &full[ring.stage], kept);
    }
  }
}

/// Adds what the blocks before this one computed of the tile, in the order of k.
__device__ __forceinline__ void gather(const GemmArguments& g, float (&acc)[BLOCK_T / 2],
                                       const Pieces& p, int tiles, int thread) {
  const int64_t units = static_cast<int64_t>(tiles - p.direct) * kKBlocks;
  const int64_t start = static_cast<int64_t>(p.tile - p.direct) * kKBlocks;
  int first = static_cast<int>(start * gridDim.x / units);
  while (units * (first + 1) / gridDim.x <= start) ++first;
  for (int block = first; block < static_cast<int>(blockIdx.x); ++block) {
    if (thread == 0) {
      uint32_t ready = 0;
      while (ready == 0) {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(ready) : "l"(g.flags + block));
      }
    }
    named_barrier(1, kMathThreads);
    const float* partial = g.partials + static_cast<int64_t>(block) * (kBlockW * BLOCK_T) + thread;
#pragma unroll
    for (int i = 0; i < BLOCK_T / 2; ++i) acc[i] += __ldcg(partial + i * kMathThreads);
    named_barrier(1, kMathThreads);
    if (thread == 0) g.flags[block] = 0;
  }
}

__device__ __forceinline__ void leave_partial(const GemmArguments& g,
                                              const float (&acc)[BLOCK_T / 2], int thread) {
  float* partial = g.partials + static_cast<int64_t>(blockIdx.x) * (kBlockW * BLOCK_T) + thread;
#pragma unroll
  for (int i = 0; i < BLOCK_T / 2; ++i) __stcg(partial + i * kMathThreads, acc[i]);
  __threadfence();
  named_barrier(1, kMathThreads);
  if (thread == 0) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(g.flags + blockIdx.x), "r"(1u)
                 : "memory");
  }
}

/// Accumulators go through shared memory, transposed; then each thread finishes kVector
/// neighbouring features of a token: scales, program, stores.
__device__ __forceinline__ void store_tile(const GemmArguments& g, float (&acc)[BLOCK_T / 2],
                                           Tile tile, float* buffer, int thread) {
  const int warp = thread / 32, lane = thread % 32;
#pragma unroll
  for (int chunk = 0; chunk < BLOCK_T / kChunkT; ++chunk) {
#pragma unroll
    for (int j = 0; j < kChunkT / 8; ++j) {
      const float* v = acc + (chunk * (kChunkT / 8) + j) * 4;
      float* to = buffer + (j * 8 + (lane % 4) * 2) * kStoreStride + lane / 4;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Rows r and r + 8 of a warp: two features, or both accumulators of one.
        const int at = ACCUMULATORS == 2 ? (i / 2) * (kChunkT * kStoreStride) + warp * 8
                                         : warp * 16 + (i / 2) * 8;
        to[at + (i % 2) * kStoreStride] = v[i];
      }
    }
    named_barrier(1, kMathThreads);
    constexpr int kPerRow = kOutW / kVector;
    for (int i = thread; i < kChunkT * kPerRow; i += kMathThreads) {
      const int local = i / kPerRow, column = i % kPerRow * kVector;
      const int token = tile.t * BLOCK_T + chunk * kChunkT + local;
      const int feature = tile.w * kOutW + column;
      if (token >= g.tokens || feature >= kOutN) continue;
      float values[ACCUMULATORS][kVector];
#pragma unroll
      for (int a = 0; a < ACCUMULATORS; ++a) {
        load_elements(buffer, (a * kChunkT + local) * kStoreStride + column, values[a]);
      }
      epilogue_store(g.epilogue, token, feature, values);
    }
    named_barrier(1, kMathThreads);
  }
}

__device__ void consume(const GemmArguments& g, uint8_t* stages, float* buffer, uint64_t* full,
                        uint64_t* empty, int tiles_t) {
  const int thread = threadIdx.x - 128;
  const int group = thread / 128;
  const int tiles = kTilesW * tiles_t;
  float acc[BLOCK_T / 2];
  Ring ring;
  wait_dependencies();
  for (Pieces p(tiles, blockIdx.x, gridDim.x); p.valid(); p.next()) {
    int previous = -1;
    for (int k = p.first_k(), first = 1; k < p.last_k(); ++k, first = 0, ring.advance()) {
      barrier_wait(&full[ring.stage], ring.phase);
      const uint8_t* stage = stages + ring.stage * (kStageW + kStageX);
      const uint64_t a = wgmma_descriptor(stage + group * kTileBytes);
      const uint64_t b = wgmma_descriptor(stage + kStageW);
      wgmma_hold(acc);
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < kKSteps; ++s) {
        wgmma_product(acc, a + s * 2, b + s * 2, s > 0 || first == 0);
      }
      wgmma_commit();
      wgmma_hold(acc);
      // The product before this one is done: its stage may be filled again.
      wgmma_wait<1>();
      if (previous >= 0 && thread % 32 == 0) barrier_arrive(&empty[previous]);
      previous = ring.stage;
    }
    wgmma_wait<0>();
    wgmma_hold(acc);
    if (thread % 32 == 0) barrier_arrive(&empty[previous]);
    if (p.last_k() < kKBlocks) {
      leave_partial(g, acc, thread);
      continue;
    }
    if (p.first_k() > 0) gather(g, acc, p, tiles, thread);
    store_tile(g, acc, tile_at(p.tile, tiles_t), buffer, thread);
  }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    gemm_sm90(const __grid_constant__ TensorMap map, const uint8_t* weights, float* partials,
              uint32_t* flags TOKENS_PARAMETER EPILOGUE_PARAMETERS) {
  const GemmArguments g = {weights, partials, flags, TOKENS_VALUE, EPILOGUE_VALUES};
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t* stages = shared;
  uint8_t* store = shared + STAGES * (kStageW + kStageX);
  float* buffer = reinterpret_cast<float*>(store);
  uint64_t* full = reinterpret_cast<uint64_t*>(store + (kStoreBytes + 127) / 128 * 128);
  uint64_t* empty = full + STAGES;
  const int tiles_t = (g.tokens + BLOCK_T - 1) / BLOCK_T;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], kMathThreads / 32);
    }
    barrier_init_fence();
    prefetch_tensor_map(&map);
  }
  __syncthreads();
  launch_dependents();
  if (threadIdx.x < 128) {
    registers_give<40>();
    if (threadIdx.x == 0) produce(g, &map, stages, full, empty, tiles_t);
  } else {
    registers_take<232>();
    consume(g, stages, buffer, full, empty, tiles_t);
  }
}

// GEMM for Hopper: Y[t, w] = sum_k X[t, k] * W[w, k], weights as wgmma's M operand and tokens as
// its N, so that one kernel serves a batch of 1 and a prefill of thousands.
//
// W lies in tiles of 64 rows x 128 bytes, already swizzled, tile (w / 64, k block) at
// (w / 64 * kKBlocks + k block) * 8 KiB: a tile is one contiguous copy. X comes by tensor map.
// One producer warp keeps kStages tiles in flight; two math warpgroups of 64 rows each consume.
// Work is cut into equal runs of k blocks over all blocks of the grid (stream-K, Osama et al.
// 2023): a run that ends inside a tile leaves its partial sums in the workspace for the block that
// finishes the tile. A block does its unfinished tile first, so that nobody waits for long; the
// order of additions is fixed, so results are the same from run to run for one grid.
//
// Defined by the host: GEMM_N, GEMM_K (padded to tiles), GEMM_FP8, BLOCK_T, STAGES, GATED,
// OUT_BF16, HAS_BIAS, HAS_RESIDUAL, GROUP_T; wgmma_product() for 64 x BLOCK_T.
#pragma once

#include "hopper.cuh"

constexpr int kBlockW = 128;
constexpr int kRowBytes = 128;  // of K, in a stage
constexpr int kElementBytes = GEMM_FP8 ? 1 : 2;
constexpr int kBlockK = kRowBytes / kElementBytes;
constexpr int kKBlocks = GEMM_K / kBlockK;
constexpr int kTilesW = GEMM_N / kBlockW;
constexpr int kTileBytes = 64 * kRowBytes;
constexpr int kStageW = 2 * kTileBytes;
constexpr int kStageX = BLOCK_T * kRowBytes;
constexpr int kMathThreads = 256;
constexpr int kChunkT = BLOCK_T < 32 ? BLOCK_T : 32;  // tokens stored at a time
constexpr int kOutW = GATED ? kBlockW / 2 : kBlockW;
constexpr int kStoreStride = kOutW + 8;  // bf16; the pad keeps stmatrix free of conflicts
constexpr int kStoreBytes = kChunkT * kStoreStride * 2;
constexpr int kKSteps = kRowBytes / 32;  // wgmma's k is 32 bytes

struct GemmArguments {
  const uint8_t* weights;
  void* output;                // bf16 [tokens, N]
  const float* weight_scales;  // [N], fp8
  const float* token_scales;   // [tokens], fp8
  const bf16_t* bias;          // [N]
  const bf16_t* residual;      // [tokens, N]
  float* partials;             // [grid, kBlockW * BLOCK_T]
  uint32_t* flags;             // [grid], zero between launches
  int tokens;
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

/// The runs of k blocks of this grid block, its last tile first.
struct Pieces {
  int64_t begin, end;
  int tile;  // current; runs down to begin / kKBlocks

  __device__ Pieces(int tiles, int block, int blocks) {
    const int64_t units = static_cast<int64_t>(tiles) * kKBlocks;
    begin = units * block / blocks;
    end = units * (block + 1) / blocks;
    tile = static_cast<int>((end - 1) / kKBlocks);
  }
  __device__ bool valid() const {
    return begin < end && tile >= static_cast<int>(begin / kKBlocks);
  }
  __device__ int first_k() const {
    const int64_t start = static_cast<int64_t>(tile) * kKBlocks;
    return begin > start ? static_cast<int>(begin - start) : 0;
  }
  __device__ int last_k() const {
    const int64_t start = static_cast<int64_t>(tile) * kKBlocks;
    return end < start + kKBlocks ? static_cast<int>(end - start) : kKBlocks;
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
  const uint64_t once = policy_evict_first(), kept = policy_evict_last();
  const uint64_t weight_policy = tiles_t > 1 ? kept : once;
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
  for (Pieces p(kTilesW * tiles_t, blockIdx.x, gridDim.x); p.valid(); --p.tile) {
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
__device__ __forceinline__ void gather(const GemmArguments& g, float (&acc)[BLOCK_T / 2], int tile,
                                       int tiles, int thread) {
  const int64_t units = static_cast<int64_t>(tiles) * kKBlocks;
  const int64_t start = static_cast<int64_t>(tile) * kKBlocks;
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

__device__ __forceinline__ float silu(float x) { return x / (1.0f + __expf(-x)); }

/// Scales, bias and activation in registers, a transposing store to shared memory, then whole rows
/// of Y (with the residual) 16 bytes a thread.
__device__ void store_tile(const GemmArguments& g, float (&acc)[BLOCK_T / 2], Tile tile,
                           uint8_t* buffer, int thread) {
  const int warp = thread / 32, lane = thread % 32;
  const int row = tile.w * kBlockW + warp * 16 + lane / 4;
  float row_scale[2] = {1, 1}, row_bias[2] = {0, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (GEMM_FP8) row_scale[h] = g.weight_scales[row + 8 * h];
    if (HAS_BIAS) row_bias[h] = to_float(g.bias[row + 8 * h]);
  }
  // Scaled in place first: loads inside the chunk loop would be hoisted and spill.
#pragma unroll
  for (int j = 0; j < BLOCK_T / 8; ++j) {
    const int token = tile.t * BLOCK_T + j * 8 + (lane % 4) * 2;
    float scale[2] = {1, 1};
    if (GEMM_FP8) {
      scale[0] = token < g.tokens ? g.token_scales[token] : 0.0f;
      scale[1] = token + 1 < g.tokens ? g.token_scales[token + 1] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& v = acc[j * 4 + i];
      if (GEMM_FP8) v *= row_scale[i / 2] * scale[i % 2];
      if (HAS_BIAS) v += row_bias[i / 2];
    }
  }
  constexpr int kOutN = GATED ? GEMM_N / 2 : GEMM_N;
  bf16_t* out = static_cast<bf16_t*>(g.output);
  for (int chunk = 0; chunk < BLOCK_T / kChunkT; ++chunk) {
#pragma unroll
    for (int j = 0; j < BLOCK_T / 8; ++j) {
      if (j / (kChunkT / 8) != chunk) continue;
      const float* v = acc + j * 4;
      const int local = j * 8 - chunk * kChunkT;  // token within the chunk
      uint8_t* to = buffer + ((local + lane % 8) * kStoreStride) * 2;
      if (GATED) {  // rows r and r + 8 of a tile are gate and up of one feature
        const uint32_t packed = pack_bf16(silu(v[0]) * v[2], silu(v[1]) * v[3]);
        asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(
                         shared_address(to + warp * 16)),
                     "r"(packed)
                     : "memory");
      } else {
        const int half = (lane / 8) & 1;
        asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(
                         shared_address(to + (warp * 16 + half * 8) * 2)),
                     "r"(pack_bf16(v[0], v[1])), "r"(pack_bf16(v[2], v[3]))
                     : "memory");
      }
    }
    named_barrier(1, kMathThreads);
    constexpr int kVectors = kChunkT * kOutW / 8;
    for (int i = thread; i < kVectors; i += kMathThreads) {
      const int local = i / (kOutW / 8), column = i % (kOutW / 8) * 8;
      const int token = tile.t * BLOCK_T + chunk * kChunkT + local;
      if (token >= g.tokens) continue;
      uint4 value = *reinterpret_cast<const uint4*>(buffer + (local * kStoreStride + column) * 2);
      const int64_t at = static_cast<int64_t>(token) * kOutN + tile.w * kOutW + column;
      if (HAS_RESIDUAL) {
        const uint4 add = *reinterpret_cast<const uint4*>(g.residual + at);
        uint32_t* x = &value.x;
        const uint32_t* y = &add.x;
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          x[e] = pack_bf16(bf16_low(x[e]) + bf16_low(y[e]), bf16_high(x[e]) + bf16_high(y[e]));
        }
      }
      *reinterpret_cast<uint4*>(out + at) = value;
    }
    named_barrier(1, kMathThreads);
  }
}

__device__ void consume(const GemmArguments& g, uint8_t* stages, uint8_t* buffer, uint64_t* full,
                        uint64_t* empty, int tiles_t) {
  const int thread = threadIdx.x - 128;
  const int group = thread / 128;
  const int tiles = kTilesW * tiles_t;
  float acc[BLOCK_T / 2];
  Ring ring;
  wait_dependencies();
  for (Pieces p(tiles, blockIdx.x, gridDim.x); p.valid(); --p.tile) {
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
    if (p.first_k() > 0) gather(g, acc, p.tile, tiles, thread);
    store_tile(g, acc, tile_at(p.tile, tiles_t), buffer, thread);
  }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    gemm_sm90(const __grid_constant__ GemmArguments g, const __grid_constant__ TensorMap map) {
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t* stages = shared;
  uint8_t* buffer = shared + STAGES * (kStageW + kStageX);
  uint64_t* full = reinterpret_cast<uint64_t*>(buffer + (kStoreBytes + 127) / 128 * 128);
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

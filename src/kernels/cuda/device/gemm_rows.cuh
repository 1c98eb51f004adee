// GEMM for Hopper of a few tokens, without joins: Y[t, w] = sum_k X[t, k] * W[w, k], where a block
// has ROWS rows of W over all of K, so that no sums pass between blocks. For products of which
// equal shares of rows fill the machine; what they cost beside reading W is the start, the wait
// for the kernel before and one exchange between the block's two warpgroups.
//
// W lies in tiles of 64 rows x 128 bytes (gemm_sm90.cuh): ROWS rows of a k block are one or two
// contiguous copies. A stage is one k block of W and of X; four warps fill every fourth stage
// each, for one is too slow with copies of a few KiB. The two math warpgroups take k blocks in
// turn and add their sums at the end, in one order: results depend on nothing but K. wgmma has 64
// rows of W: those beyond ROWS are whatever follows in shared memory, and are dropped.
//
// Given by the host before this file: GEMM_N, GEMM_K, GEMM_FP8, BLOCK_T (8 or 16), ROWS (a multiple
// of 16 up to 64 that divides GEMM_N), STAGES, DIRECT_MATRIX; wgmma_product() for 64 x BLOCK_T;
// struct Epilogue with WeightScales, FeatureValues and their functions; its EPILOGUE_PARAMETERS and
// EPILOGUE_VALUES; TOKENS_PARAMETER, TOKENS_POINTER.
#pragma once

#include "hopper.cuh"
#include "pointwise.cuh"

constexpr int kRowBytes = 128;
constexpr int kBlockK = kRowBytes / (GEMM_FP8 ? 1 : 2);
constexpr int kKBlocks = (GEMM_K + kBlockK - 1) / kBlockK;
constexpr int kTileBytes = 64 * kRowBytes;
constexpr int kStageW = ROWS * kRowBytes, kStageX = BLOCK_T * kRowBytes;
constexpr int kStage = kStageW + kStageX;
constexpr int kSums = BLOCK_T / 2;      // of a thread
constexpr int kShares = GEMM_N / ROWS;  // blocks of a tile of tokens
constexpr int kMathThreads = 256, kProducers = 4;
constexpr int kThreads = kMathThreads + 32 * kProducers;
// Rows that wgmma reads beyond the last stage's, and the exchange of sums.
constexpr int kSlack = kTileBytes;
static_assert(128 * kSums * 4 <= kSlack, "sums lie where no stage does");
static_assert(ROWS % 16 == 0 && ROWS <= 64 && GEMM_N % ROWS == 0, "equal shares of rows");
// Parities of a barrier tell neighbouring rounds apart: who waits there must be there every round.
static_assert(STAGES >= kKBlocks || STAGES % kProducers == 0, "a stage has one warp, one group");
static_assert(kKBlocks >= 2, "both warpgroups have a k block");

struct RowsShared {
  uint8_t* stages;
  float4* sums;
  uint64_t *full, *empty;
};

/// The rows of a k block, from `row` on: they cross a tile's end at most once.
__device__ __forceinline__ void load_rows(uint8_t* stage, const uint8_t* weights, int row, int k,
                                          uint64_t* full, uint64_t policy) {
  const int within = row % 64;
  const int first = min(ROWS, 64 - within);
  const auto at = [&](int r) {
    return weights + (static_cast<int64_t>(r / 64) * kKBlocks + k) * kTileBytes +
           r % 64 * kRowBytes;
  };
  bulk_load(stage, at(row), first * kRowBytes, full, policy);
  if (64 % ROWS != 0 && first < ROWS) {
    bulk_load(stage + first * kRowBytes, at(row + first), (ROWS - first) * kRowBytes, full, policy);
  }
}

/// One thread of a producer warp: k blocks warp, warp + 4, ..
__device__ void produce(const RowsShared& shared, const void* map, const uint8_t* weights,
                        int warp) {
  const int row = blockIdx.x % kShares * ROWS, token = blockIdx.x / kShares * BLOCK_T;
  const uint64_t policy = policy_evict_first(), kept = policy_evict_last();
  const int early = min(kKBlocks, STAGES);
  for (int k = warp; k < early; k += kProducers) {
    barrier_expect(&shared.full[k], kStage);
    load_rows(shared.stages + k * kStage, weights, row, k, &shared.full[k], policy);
  }
  wait_dependencies();
  for (int k = warp; k < kKBlocks; k += kProducers) {
    const int slot = k % STAGES;
    uint8_t* stage = shared.stages + slot * kStage;
    uint64_t* full = &shared.full[slot];
    if (k >= early) {
      barrier_wait(&shared.empty[slot], (k / STAGES - 1) % 2);
      barrier_expect(full, kStage);
      load_rows(stage, weights, row, k, full, policy);
    }
    tensor_load_2d(stage + kStageW, map, k * kBlockK, token, full, kept);
  }
}

/// The sums of every other k block.
__device__ __forceinline__ void multiply(float (&acc)[kSums], const RowsShared& shared, int group,
                                         int thread) {
  int previous = -1;
  for (int k = group; k < kKBlocks; k += 2) {
    const int slot = k % STAGES;
    barrier_wait(&shared.full[slot], k / STAGES % 2);
    const uint8_t* stage = shared.stages + slot * kStage;
    const uint64_t a = wgmma_descriptor(stage), b = wgmma_descriptor(stage + kStageW);
    wgmma_hold(acc);
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < kRowBytes / 32; ++s) {
      wgmma_product(acc, a + s * 2, b + s * 2, s > 0 || k >= 2);
    }
    wgmma_commit();
    wgmma_hold(acc);
    wgmma_wait<1>();
    if (previous >= 0 && thread % 32 == 0) barrier_arrive(&shared.empty[previous]);
    previous = slot;
  }
  wgmma_wait<0>();
  wgmma_hold(acc);
}

/// What the epilogue wants of a thread's tokens, asked for while the products run.
struct Tokens {
  float2 scales[BLOCK_T / 8];
  float matrix[DIRECT_MATRIX ? kSums : 1] = {};  // as the sums lie
};

__device__ __forceinline__ void ask_tokens(const Epilogue& e, int tokens, int feature, int first,
                                           Tokens& wanted) {
#pragma unroll
  for (int j = 0; j < BLOCK_T / 8; ++j) {
    const int token = first + j * 8;
    wanted.scales[j] = make_float2(1, 1);
#if GEMM_FP8
    if (token < tokens) wanted.scales[j].x = e.token_scales[token];
    if (token + 1 < tokens) wanted.scales[j].y = e.token_scales[token + 1];
#endif
#if DIRECT_MATRIX
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (token + i % 2 >= tokens) continue;
      const int64_t at = static_cast<int64_t>(token + i % 2) * GEMM_N + feature + i / 2 * 8;
      wanted.matrix[j * 4 + i] = to_float(epilogue_matrix(e)[at]);
    }
#endif
  }
}

/// Two features of up to BLOCK_T tokens, straight to memory: they are few.
__device__ __forceinline__ void store_sums(const Epilogue& e, const float (&acc)[kSums],
                                           const FeatureValues& values, const Tokens& wanted,
                                           int tokens, int feature, int first) {
#pragma unroll
  for (int j = 0; j < BLOCK_T / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = first + j * 8 + i % 2, at = j * 4 + i;
      if (token >= tokens) continue;
      const float sum[1] = {acc[at]};
      const float scale = i % 2 == 0 ? wanted.scales[j].x : wanted.scales[j].y;
      const float v =
          direct_value(values, i / 2, scale, wanted.matrix[DIRECT_MATRIX ? at : 0], sum);
      e.output0[static_cast<int64_t>(token) * GEMM_N + feature + i / 2 * 8] = to_bf16(v);
    }
  }
}

__device__ void consume(const RowsShared& shared, const Epilogue& e, const int* token_count,
                        int fixed_tokens) {
  const int group = threadIdx.x / 128, thread = threadIdx.x % 128, lane = thread % 32;
  const int feature = blockIdx.x % kShares * ROWS + thread / 32 * 16 + lane / 4;
  const int first = blockIdx.x / kShares * BLOCK_T + lane % 4 * 2;  // of the thread's tokens
  const bool finishes = group == 0 && thread / 32 * 16 < ROWS;
  WeightScales scales = {};
  Tokens wanted;
  int tokens = 0;
  if (finishes) scales = weight_scales(e, feature);
  wait_dependencies();
  if (finishes) {
    tokens = token_count != nullptr ? *token_count : fixed_tokens;
    ask_tokens(e, tokens, feature, first, wanted);
  }
  float acc[kSums];
  multiply(acc, shared, group, thread);
  if (group == 1) {
#pragma unroll
    for (int j = 0; j < BLOCK_T / 8; ++j) {
      shared.sums[j * 128 + thread] =
          make_float4(acc[j * 4], acc[j * 4 + 1], acc[j * 4 + 2], acc[j * 4 + 3]);
    }
    named_barrier_arrive(1, kMathThreads);
    return;
  }
  named_barrier(1, kMathThreads);
  if (!finishes) return;
#pragma unroll
  for (int j = 0; j < BLOCK_T / 8; ++j) {
    const float4 other = shared.sums[j * 128 + thread];
    acc[j * 4] += other.x, acc[j * 4 + 1] += other.y;
    acc[j * 4 + 2] += other.z, acc[j * 4 + 3] += other.w;
  }
  store_sums(e, acc, feature_values(e, scales, feature), wanted, tokens, feature, first);
}

extern "C" __global__ void __launch_bounds__(kThreads)
    gemm_rows(const __grid_constant__ TensorMap map,
              const uint8_t* weights TOKENS_PARAMETER EPILOGUE_PARAMETERS) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const Epilogue epilogue = EPILOGUE_VALUES;
  float4* const sums = reinterpret_cast<float4*>(memory + STAGES * kStage);
  uint64_t* const full = reinterpret_cast<uint64_t*>(memory + STAGES * kStage + kSlack);
  const RowsShared shared = {memory, sums, full, full + STAGES};
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&shared.empty[i], 4);
    }
    barrier_init_fence();
    prefetch_tensor_map(&map);
  }
  __syncthreads();
  launch_dependents();
  if (threadIdx.x >= kMathThreads) {
    if (threadIdx.x % 32 == 0) {
      produce(shared, &map, weights, (threadIdx.x - kMathThreads) / 32);
    }
  } else {
    consume(shared, epilogue, TOKENS_POINTER);
  }
}

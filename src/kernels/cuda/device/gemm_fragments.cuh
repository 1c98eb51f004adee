// The GEMM's epilogue in the layout that wgmma leaves sums in: a thread has one or two features and
// pairs of neighbouring tokens. Results are rounded in registers, transposed by stmatrix into a
// staging tile [tokens][features] of the warpgroup and leave by 16-byte stores; a [T, N] operand
// comes the same way in reverse, by asynchronous copies that run under the products.
//
// Staging holds FRAGMENT_BUFFERS chunks of FRAGMENT_T tokens, rows of 128 bytes (64 with two
// accumulators) whose 16-byte units are swizzled. One barrier a chunk: a thread refills only units
// that it has itself read, and a buffer is written again after a barrier that follows all reads.
//
// Given by the host beside what gemm_sm90.cuh names: FRAGMENT_T, FRAGMENT_BUFFERS,
// FRAGMENT_MATRIX (epilogue_matrix() is there), STORE_MAP (whole chunks leave by the copy engine;
// not beside a matrix), struct EpilogueFeature, epilogue_feature(),
// epilogue_value(). Included by gemm_sm90.cuh, after its constants.
#pragma once

#include "hopper.cuh"

constexpr int kUnits = kGroupW / 8;  // of 16 bytes, in a staged row
constexpr int kStagedRow = kGroupW * 2;
constexpr int kStagedChunk = FRAGMENT_T * kStagedRow;
constexpr int kFeaturesOfThread = 2 / ACCUMULATORS;
static_assert(!STORE_MAP || !FRAGMENT_MATRIX, "staging rows are the copy engine's for a while");
static_assert(FRAGMENT_T % 16 == 0 && kOwnedT % FRAGMENT_T == 0, "whole steps, whole chunks");

/// A warpgroup's staging and the place of its tile in the result.
struct Fragments {
  uint8_t* rows;
  float* token_scales;
  int thread;         // of the warpgroup
  int first_feature;  // of the warpgroup
  int first_token;

  __device__ Fragments(uint8_t* staging, int of_block, int row, int token)
      : rows(staging + of_block / 128 * kFragmentBytes),
        token_scales(reinterpret_cast<float*>(rows + FRAGMENT_BUFFERS * kStagedChunk)),
        thread(of_block % 128),
        first_feature(row / ACCUMULATORS),
        first_token(token) {}

  /// Bank conflicts: eight neighbouring rows' units of one column lie in different banks.
  static __device__ __forceinline__ int offset(int token, int unit) {
    const int turned = ACCUMULATORS == 1 ? unit ^ (token & 7) : unit ^ ((token >> 1) & 3);
    return token * kStagedRow + turned * 16;
  }
  __device__ __forceinline__ uint8_t* chunk(int index) const {
    return rows + index % FRAGMENT_BUFFERS * kStagedChunk;
  }
};

/// A thread's own units of a chunk of the [T, N] operand.
__device__ __forceinline__ void fetch_matrix(const GemmArguments& g, const Fragments& f,
                                             int chunk) {
#if FRAGMENT_MATRIX
#pragma unroll
  for (int i = 0; i < FRAGMENT_T * kUnits; i += 128) {
    const int local = (i + f.thread) / kUnits, unit = (i + f.thread) % kUnits;
    const int token = f.first_token + chunk * FRAGMENT_T + local;
    const int feature = f.first_feature + unit * 8;
    if (local >= FRAGMENT_T || token >= g.tokens || feature >= kOutN) continue;
    const int64_t at = static_cast<int64_t>(token) * kOutN + feature;
    copy_async<16>(f.chunk(chunk) + Fragments::offset(local, unit),
                   epilogue_matrix(g.epilogue) + at);
  }
#endif
}

/// Asks for what the epilogue of a tile needs of each token: it comes while the products run.
__device__ __forceinline__ void begin_fragments(const GemmArguments& g, const Fragments& f) {
#if GEMM_FP8
  for (int i = f.thread; i < kOwnedT; i += 128) {
    const int token = f.first_token + i;
    if (token < g.tokens) copy_async<4>(f.token_scales + i, g.epilogue.token_scales + token);
  }
#endif
#pragma unroll
  for (int chunk = 0; chunk < FRAGMENT_BUFFERS; ++chunk) {
    fetch_matrix(g, f, chunk);
    copy_async_commit();
  }
}

/// Features of the thread: loaded ahead of the products too.
__device__ __forceinline__ void load_features(const GemmArguments& g, const Fragments& f,
                                              EpilogueFeature (&features)[kFeaturesOfThread]) {
  const int warp = f.thread / 32, row = f.thread % 32 / 4;
#pragma unroll
  for (int i = 0; i < kFeaturesOfThread; ++i) {
    const int local = ACCUMULATORS == 2 ? warp * 8 + row : warp * 16 + i * 8 + row;
    features[i] = epilogue_feature(g.epilogue, min(f.first_feature + local, kOutN - 1));
  }
}

/// Sixteen tokens of a chunk: eight sums of a thread, staged as results.
__device__ __forceinline__ void stage_tokens(const GemmArguments& g, const Fragments& f,
                                             const EpilogueFeature (&features)[kFeaturesOfThread],
                                             const float* sums, int token, uint8_t* staged) {
  constexpr int kWords = 2 * kFeaturesOfThread;
  const int pair = f.thread % 4 * 2;
  uint32_t matrix[kWords] = {};
  if constexpr (FRAGMENT_MATRIX != 0) load_matrices(matrix, staged);
  uint32_t words[kWords];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int local = token + half * 8 + pair;
    float2 scales = make_float2(1, 1);
    if constexpr (GEMM_FP8 != 0) {
      scales = *reinterpret_cast<const float2*>(f.token_scales + local);
    }
    const int first = min(f.first_token + local, g.tokens - 1);
    const int second = min(f.first_token + local + 1, g.tokens - 1);
#pragma unroll
    for (int i = 0; i < kFeaturesOfThread; ++i) {
      const int word = half * kFeaturesOfThread + i;
      const float* v = sums + half * 4 + i * 2;
#if ACCUMULATORS == 2
      float low[2] = {v[0], v[2]}, high[2] = {v[1], v[3]};
#else
      float low[1] = {v[0]}, high[1] = {v[1]};
#endif
      words[word] = pack_bf16(
          epilogue_value(g.epilogue, features[i], first, scales.x, bf16_low(matrix[word]), low),
          epilogue_value(g.epilogue, features[i], second, scales.y, bf16_high(matrix[word]), high));
    }
  }
  store_matrices(staged, words);
}

/// The first kOwnedT tokens' sums, to memory. All threads of the warpgroup.
__device__ __forceinline__ void store_fragments(
    const GemmArguments& g, const float (&acc)[BLOCK_T / 2], const Fragments& f,
    const EpilogueFeature (&features)[kFeaturesOfThread], int barrier) {
  constexpr int kChunks = kOwnedT / FRAGMENT_T;
  const int warp = f.thread / 32, lane = f.thread % 32;
  // The rows of 8 x 8 matrices that this lane names: tokens, and features of the warp.
  const int at = ACCUMULATORS == 2
                     ? Fragments::offset(lane % 16, warp)
                     : Fragments::offset(lane / 16 * 8 + lane % 8, warp * 2 + lane / 8 % 2);
  copy_async_wait<FRAGMENT_BUFFERS - 1>();
  if (!STORE_MAP) named_barrier(barrier, 128);
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const int token = chunk * FRAGMENT_T;
    if (f.first_token + token >= g.tokens) break;
    uint8_t* staged = f.chunk(chunk);
#if STORE_MAP
    if (f.thread == 0) bulk_store_wait_read<FRAGMENT_BUFFERS - 1>();
    named_barrier(barrier, 128);
#endif
#pragma unroll
    for (int t = 0; t < FRAGMENT_T; t += 16) {
      stage_tokens(g, f, features, acc + (token + t) / 2, token + t, staged + at + t * kStagedRow);
    }
#if STORE_MAP
    fence_async_copies();
    named_barrier(barrier, 128);
    if (f.thread == 0) {
      tensor_store_2d(g.output_map, staged, f.first_feature, f.first_token + token);
      bulk_store_commit();
    }
#else
    copy_async_wait<(FRAGMENT_BUFFERS > 2 ? FRAGMENT_BUFFERS - 2 : 0)>();
    named_barrier(barrier, 128);
#pragma unroll
    for (int i = 0; i < FRAGMENT_T * kUnits; i += 128) {
      const int local = (i + f.thread) / kUnits, unit = (i + f.thread) % kUnits;
      const int row = f.first_token + token + local, feature = f.first_feature + unit * 8;
      if (local >= FRAGMENT_T || row >= g.tokens || feature >= kOutN) continue;
      const uint4 v = *reinterpret_cast<const uint4*>(staged + Fragments::offset(local, unit));
      bf16_t* to = g.epilogue.output0 + static_cast<int64_t>(row) * kOutN + feature;
      *reinterpret_cast<uint4*>(to) = v;
    }
    if (chunk + FRAGMENT_BUFFERS < kChunks) fetch_matrix(g, f, chunk + FRAGMENT_BUFFERS);
    copy_async_commit();
#endif
  }
}

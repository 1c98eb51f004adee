// GEMM for Hopper: Y[t, w] = sum_k X[t, k] * W[w, k], weights as wgmma's M operand and tokens as
// its N, so that one kernel serves a batch of 1 and a prefill of thousands.
//
// W lies in tiles of 64 rows x 128 bytes, already swizzled, tile (w / 64, k block) at
// (w / 64 * kKBlocks + k block) * 8 KiB: a tile is one contiguous copy. X comes by tensor map.
// One producer warp keeps kStages tiles in flight; two math warpgroups of 64 rows each consume,
// each with an epilogue of its own, so that one may store while the other multiplies.
// Whole waves of tiles are computed each by one block, neighbours at a time so that they share
// operands in L2; what is left is cut into equal runs of k blocks over all blocks of the grid
// (stream-K, Osama et al. 2023): a run that ends inside a tile leaves its partial sums in the
// workspace for the block that finishes the tile. A block does its unfinished tile first, so that
// nobody waits for long; the order of additions is fixed, so results are the same from run to run
// for one grid.
// With PARTS = 1 every tile is whole, whatever the last wave: the order of a sum depends on nothing
// but k. With PARTS > 1 a tile is cut into as many equal runs of k blocks, the work of one cluster,
// whose blocks send their sums to each other's shared memory; each finishes its share of the
// tokens, having added the parts in the order of k.
// With SEGMENTS > 0 a tile is cut at SEGMENTS - 1 fixed places of K and nowhere else. Each segment
// is summed from zero and segments are added in order, by whichever blocks hold them, so that an
// element is the same sum for any number of tokens, any tile and any grid.
// With PINGPONG a tile has 64 rows of W and is one warpgroup's; the two take turns, so that one
// stores while the other multiplies. A warpgroup looks at the ring once the other has seen the last
// stage of its tile: parities tell neighbouring rounds apart, no more.
// With CLUSTER = 2 a pair of blocks works on two neighbouring tiles of W over the same tokens: each
// fetches half of X's tile for both, for a large product asks more of L2 than it has.
//
// With SLIM a block takes half of the registers and little more than half of the shared memory, so
// that attention and the kernels over rows lie beside it: it fetches its first weights while they
// run (programmatic dependent launch).
//
// With DIRECT (one bf16 output, operands by feature, of few tokens one by token too) the epilogue's
// program runs on the accumulators where they are, with scales and elements that were asked for
// before the product; bf16 goes through shared memory only to be transposed.
//
// With GROUPED each group of rows of X (an expert's) has a W of its own, one after the other, and
// the kernel before has listed the tiles of tokens: nothing is stored behind a group's end.
//
// Given by the host before this file: GEMM_N, GEMM_K, GEMM_FP8, BLOCK_T, CHUNK_T, STAGES,
// ACCUMULATORS, GROUP_T, CLUSTER, PARTS (0: stream-K), SEGMENTS, SLIM, GROUPED, PINGPONG, DIRECT,
// FRAGMENTS, STORE_MAP (see gemm_fragments.cuh); wgmma_product() for 64 x BLOCK_T; struct Epilogue
// with epilogue_store() or, if DIRECT, WeightScales, FeatureValues and their functions (with
// DIRECT_MATRIX epilogue_matrix() too); its EPILOGUE_PARAMETERS and EPILOGUE_VALUES;
// TOKENS_PARAMETER, TOKENS_VALUE, GROUPS_VALUE; SUMS_PARAMETERS and SUMS_VALUES, where blocks leave
// sums in the workspace; with GROUPED epilogue_of_group().
#pragma once

#include "hopper.cuh"
#include "pointwise.cuh"

constexpr int kBlockW = PINGPONG ? 64 : 128;
constexpr int kRowBytes = 128;  // of K, in a tile
constexpr int kElementBytes = GEMM_FP8 ? 1 : 2;
constexpr int kBlockK = kRowBytes / kElementBytes;
constexpr int kKBlocks = (GEMM_K + kBlockK - 1) / kBlockK;
constexpr int kTileUnits = SEGMENTS > 0 ? SEGMENTS : kKBlocks;  // that a tile may be cut into
// Partial sums that a block may leave: that of the segments which a tile begins with, then others,
// of a tile that it ends, or of one that it neither begins nor ends.
constexpr int kSlots = SEGMENTS > 1 ? SEGMENTS - 1 : 1;
constexpr int kTileBytes = 64 * kRowBytes;
constexpr int kKSteps = kRowBytes / 32;     // wgmma's k is 32 bytes
constexpr int kChunkT = CHUNK_T;            // tokens stored at a time
constexpr int kGroupW = 64 / ACCUMULATORS;  // features of a warpgroup
constexpr int kOutN = GEMM_N / ACCUMULATORS;
constexpr int kVector = kOutN % 8 == 0 ? 8 : 1;  // elements of a row that a thread finishes
constexpr int kStoreStride = kGroupW + 4;        // f32; the pad keeps stores free of conflicts
constexpr int kStoreFloats = ACCUMULATORS * kChunkT * kStoreStride;  // of a warpgroup
constexpr int kDirectStride = kGroupW * 2 + 16;        // bytes of a token; padded as above
constexpr int kDirectBytes = kChunkT * kDirectStride;  // of one of a warpgroup's two buffers
constexpr int kTilesW = (GEMM_N + kBlockW - 1) / kBlockW / CLUSTER;  // of a cluster
constexpr int kStageW = kBlockW * kRowBytes;
constexpr int kStageX = BLOCK_T * kRowBytes;
constexpr int kMathThreads = 256;
// Registers are handed over by warpgroups, where they are.
constexpr int kThreads = kMathThreads + (SLIM ? 32 : 128);
// Tokens that a block of a cut tile finishes; the first kOwners blocks do.
constexpr int kOwners = PARTS > BLOCK_T / 8 ? BLOCK_T / 8 : PARTS > 1 ? PARTS : 1;
constexpr int kOwnedT = BLOCK_T / kOwners;
#if FRAGMENTS
constexpr int kFragmentBytes =
    FRAGMENT_BUFFERS * FRAGMENT_T * kGroupW * 2 + (GEMM_FP8 ? kOwnedT * 4 : 0);
constexpr int kStoreBytes = 2 * kFragmentBytes;
#else
constexpr int kGroupStoreBytes = DIRECT ? 2 * kDirectBytes : kStoreFloats * 4;
constexpr int kStoreBytes = 2 * kGroupStoreBytes;
#endif
constexpr int kBarrierBytes = (STAGES * 16 + 8 + 127) / 128 * 128;
constexpr int kExchangeBytes = PARTS > 1 ? (PARTS - 1) * kBlockW* kOwnedT * 4 : 0;
constexpr int kTilesOfGroup = GEMM_N / 64;  // of 64 rows of W
static_assert(!GROUPED || (GEMM_N % 64 == 0 && CLUSTER == 1 && PARTS <= 1), "groups");
static_assert(kKBlocks >= PARTS, "every part has a k block");
static_assert(!PINGPONG || PARTS == 1, "warpgroups take whole tiles in turn");
static_assert((GEMM_N + kBlockW - 1) / kBlockW % CLUSTER == 0, "every block has a tile");

struct GemmArguments {
  const uint8_t* weights;
  float* partials;  // [grid, 2, kSlots, 64 * BLOCK_T]
  uint32_t* flags;  // [grid, 2], zero between launches
  int tokens;
  const int4* groups;  // x of the first: how many tiles of tokens; then each one's Rows
  Epilogue epilogue;
  const void* output_map = nullptr;  // of output0, where STORE_MAP
};

#if FRAGMENTS
#include "gemm_fragments.cuh"
#endif

struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == STAGES) stage = 0, phase ^= 1;
  }
  /// Past a tile of the other warpgroup.
  __device__ __forceinline__ void skip_tile() {
    stage += kKBlocks;
    phase ^= stage / STAGES % 2;
    stage %= STAGES;
  }
};

struct Tile {
  int w, t;
};

struct Shared {
  uint8_t* stages;
  uint8_t* store;
  uint64_t *full, *empty, *joined;
  float4* exchange;
};
__device__ __forceinline__ Shared shared_memory() {
  extern __shared__ __align__(1024) uint8_t memory[];
  uint8_t* store = memory + STAGES * (kStageW + kStageX);
  uint8_t* barriers = store + (kStoreBytes + 127) / 128 * 128;
  uint64_t* full = reinterpret_cast<uint64_t*>(barriers);
  return {memory,
          store,
          full,
          full + STAGES,
          full + 2 * STAGES,
          reinterpret_cast<float4*>(barriers + kBarrierBytes)};
}

/// A cluster's blocks: those that share tokens are neighbours, those that share a tile CLUSTER
/// apart.
__device__ __forceinline__ int part_of_tile() {
  return PARTS > 1 ? static_cast<int>(cluster_rank()) / CLUSTER : 0;
}
__device__ __forceinline__ int first_peer() { return part_of_tile() * CLUSTER; }

/// Neighbouring tiles share operands in L2: groups of GROUP_T token tiles, tokens fastest.
__device__ __forceinline__ Tile tile_at(int index, int tiles_t) {
  const int per_group = kTilesW * GROUP_T;
  const int group = index / per_group;
  const int first = group * GROUP_T;
  const int width = tiles_t - first < GROUP_T ? tiles_t - first : GROUP_T;
  const int rest = index - group * per_group;
  return {rest / width, first + rest % width};
}

/// A tile of tokens: its first row of X, the end of its group's rows, and the group.
struct Rows {
  int first, end, group;
};
__device__ __forceinline__ Rows rows_of(const GemmArguments& g, int t) {
  if constexpr (GROUPED == 0) return {t * BLOCK_T, g.tokens, 0};
  const int4 rows = __ldcg(g.groups + 1 + t);
  return {rows.x, rows.y, rows.z};
}

/// First k block of a unit.
__device__ __forceinline__ int cut_at(int unit) {
  return SEGMENTS > 0 ? unit * kKBlocks / kTileUnits : unit;
}

/// What a block, or a cluster of them, computes: its run of units, the last tile first, then its
/// whole tiles.
struct Pieces {
  int direct;  // tiles [0, direct) are whole, the others cut
  int begin, end;
  int tile;
  bool streaming;

  __device__ Pieces(int tiles, int block, int blocks) {
    if constexpr (PARTS == 1) {
      direct = tiles, begin = end = 0;
      streaming = false, tile = block;
      return;
    } else if constexpr (PARTS > 1) {
      const int part = block % PARTS;
      direct = 0, tile = block / PARTS;
      begin = tile * kKBlocks + kKBlocks * part / PARTS;
      end = tile * kKBlocks + kKBlocks * (part + 1) / PARTS;
      streaming = true;
      return;
    }
    // A last wave that is nearly full costs less than tiles cut and joined.
    const int waves = tiles / blocks, rest = tiles - waves * blocks;
    const bool full = rest == 0 || (waves > 1 && rest * 8 > blocks * 7 - 8);
    direct = full ? tiles : (waves > 1 ? (waves - 1) * blocks : 0);
    const int units = (tiles - direct) * kTileUnits;  // of fewer than two waves: 32 bits hold all
    const int offset = direct * kTileUnits;
    begin = offset + units * block / blocks;
    end = offset + units * (block + 1) / blocks;
    streaming = begin < end;
    tile = streaming ? (end - 1) / kTileUnits : block;
  }
  __device__ bool valid() const { return streaming || tile < direct; }
  __device__ void next() {
    if (!streaming) {
      tile += gridDim.x / CLUSTER;
    } else if (tile > begin / kTileUnits) {
      --tile;
    } else {
      streaming = false;
      tile = blockIdx.x / CLUSTER;
    }
  }
  __device__ int first() const {
    const int start = tile * kTileUnits;
    return streaming && begin > start ? begin - start : 0;
  }
  __device__ int last() const {
    const int start = tile * kTileUnits;
    return streaming && end < start + kTileUnits ? end - start : kTileUnits;
  }
  __device__ int first_k() const { return cut_at(first()); }
  __device__ int last_k() const { return cut_at(last()); }
};

__device__ __forceinline__ void load_weights(const GemmArguments& g, uint8_t* stage, int group,
                                             int w, int k, uint64_t* full, uint64_t policy) {
#pragma unroll
  for (int half = 0; half < kBlockW / 64; ++half) {
    const int of_group = w * (kBlockW / 64) + half;
    // Behind a group's last tile lies another's, or nothing.
    const int64_t row_tile =
        GROUPED ? int64_t{group} * kTilesOfGroup + min(of_group, kTilesOfGroup - 1) : of_group;
    const int64_t tile = row_tile * kKBlocks + k;
    bulk_load(stage + half * kTileBytes, g.weights + tile * kTileBytes, kTileBytes, full, policy);
  }
}

__device__ __forceinline__ void load_tokens(uint8_t* stage, const void* map, int first, int k,
                                            int rank, uint64_t* full, uint64_t policy) {
  constexpr int kRows = BLOCK_T / CLUSTER;
  uint8_t* to = stage + kStageW + rank * kRows * kRowBytes;
  const int row = first + rank * kRows;
  if constexpr (CLUSTER == 1) {
    tensor_load_2d(to, map, k * kBlockK, row, full, policy);
  } else {
    tensor_load_2d_multicast(to, map, k * kBlockK, row, full, ((1 << CLUSTER) - 1) << first_peer(),
                             policy);
  }
}

__device__ void produce(const GemmArguments& g, const void* map, uint8_t* stages, uint64_t* full,
                        uint64_t* empty, int tiles_t, int rank) {
  const int cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
  // Weights that one tile of tokens reads are read once; many tiles share both operands alike.
  const uint64_t weight_policy = GROUPED && BLOCK_T <= 64 ? policy_evict_first()
                                 : tiles_t > 4            ? policy_evict_normal()
                                 : tiles_t > 1            ? policy_evict_last()
                                                          : policy_evict_first();
  const uint64_t kept = tiles_t > 4 ? policy_evict_normal() : policy_evict_last();
  // Weights do not depend on the kernel before this one: the first stages' go out before the wait.
  Pieces ahead(kTilesW * tiles_t, cluster, clusters);
  int early = 0;
  for (; ahead.valid() && early < STAGES; ahead.next()) {
    const Tile tile = tile_at(ahead.tile, tiles_t);
    const int group = rows_of(g, tile.t).group;
    for (int k = ahead.first_k(); k < ahead.last_k() && early < STAGES; ++k, ++early) {
      barrier_expect(&full[early], kStageW + kStageX);
      load_weights(g, stages + early * (kStageW + kStageX), group, tile.w * CLUSTER + rank, k,
                   &full[early], weight_policy);
    }
  }
  wait_dependencies();
  Ring ring;
  int step = 0;
  for (Pieces p(kTilesW * tiles_t, cluster, clusters); p.valid(); p.next()) {
    const Tile tile = tile_at(p.tile, tiles_t);
    const Rows rows = rows_of(g, tile.t);
    for (int k = p.first_k(); k < p.last_k(); ++k, ++step, ring.advance()) {
      uint8_t* stage = stages + ring.stage * (kStageW + kStageX);
      if (step >= early) {
        barrier_wait(&empty[ring.stage], ring.phase ^ 1);
        barrier_expect(&full[ring.stage], kStageW + kStageX);
        load_weights(g, stage, rows.group, tile.w * CLUSTER + rank, k, &full[ring.stage],
                     weight_policy);
      }
      load_tokens(stage, map, rows.first, k, rank, &full[ring.stage], kept);
    }
  }
}

#include "gemm_partials.cuh"

/// Sends each block of the cluster what it finishes of this one's sums, and adds what they sent, in
/// the order of k. False for a block that finishes nothing.
__device__ __forceinline__ bool join_parts(float (&acc)[BLOCK_T / 2], float4* exchange,
                                           uint64_t* joined, int rank, int thread) {
  const int part = part_of_tile();
  constexpr int kGroups = kOwnedT / 8, kSums = kOwnedT / 2;
#pragma unroll
  for (int owner = 0; owner < kOwners; ++owner) {
    if (owner == part) continue;
    // A block has no slot for itself.
    const int slot = part - (part > owner ? 1 : 0);
    const float4* to = exchange + slot * (kGroups * kMathThreads) + thread;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      send_float4(to + j * kMathThreads, joined, owner * CLUSTER + rank,
                  acc + owner * kSums + j * 4);
    }
  }
  if (part >= kOwners) return false;
#pragma unroll
  for (int owner = 1; owner < kOwners; ++owner) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      if (owner == part) acc[i] = acc[owner * kSums + i];
    }
  }
  barrier_wait(joined, 0);
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
    float sum[4] = {};
#pragma unroll
    for (int p = 0; p < PARTS; ++p) {
      const int slot = min(p - (p > part ? 1 : 0), PARTS - 2);
      const float4 sent = exchange[(slot * kGroups + j) * kMathThreads + thread];
      sum[0] += p == part ? acc[j * 4] : sent.x;
      sum[1] += p == part ? acc[j * 4 + 1] : sent.y;
      sum[2] += p == part ? acc[j * 4 + 2] : sent.z;
      sum[3] += p == part ? acc[j * 4 + 3] : sent.w;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) acc[j * 4 + i] = sum[i];
  }
  return true;
}

/// The stage may be filled again, as far as this warp is concerned: in every block that shares it.
__device__ __forceinline__ void release(uint64_t* empty, int thread) {
  if constexpr (CLUSTER == 1) {
    if (thread % 32 == 0) barrier_arrive(empty);
  } else {
    if (thread % 32 < CLUSTER) barrier_arrive_at(empty, first_peer() + thread % 32);
  }
}

#if DIRECT
/// What an epilogue wants beside the sums: of a thread's features, of its tokens where they are
/// few.
struct Wanted {
  static constexpr bool kEarlyTokens = GEMM_FP8 && kOwnedT <= 32;
  WeightScales scales;
  float2 tokens[kEarlyTokens ? kOwnedT / 8 : 1];
  float matrix[DIRECT_MATRIX ? kOwnedT / 2 : 1] = {};  // as the sums lie
};

/// Scales of tokens t and t + 1; t is even.
__device__ __forceinline__ float2 token_scales_at(const GemmArguments& g, int token) {
  float2 scales = make_float2(1, 1);
#if GEMM_FP8
  if (token + 1 < g.tokens) {
    scales = *reinterpret_cast<const float2*>(g.epilogue.token_scales + token);
  } else if (token < g.tokens) {
    scales.x = g.epilogue.token_scales[token];
  }
#endif
  return scales;
}

/// The first of the thread's features (the other, without pairs, is eight further) of the warpgroup
/// that holds the rows of W from `row` on.
__device__ __forceinline__ int feature_of(int row, int thread) {
  const int warp = thread / 32, lane = thread % 32;
  return row / ACCUMULATORS + warp * (16 / ACCUMULATORS) + lane / 4;
}

#if DIRECT_MATRIX
/// Elements of the [T, N] operand for the thread's sums; neighbours of a sum's four are a token
/// further, the second pair eight features.
__device__ __forceinline__ void ask_matrix(const GemmArguments& g, int feature, int first_token,
                                           int thread, Wanted& wanted) {
  constexpr int kFeatures = ACCUMULATORS == 2 ? 1 : 2;
  const bf16_t* matrix = epilogue_matrix(g.epilogue);
#pragma unroll
  for (int j = 0; j < kOwnedT / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 2 * kFeatures; ++i) {
      const int token = first_token + j * 8 + thread % 4 * 2 + i % 2;
      const int at = feature + i / 2 * 8;
      const bool inside = token < g.tokens && at < kOutN;
      wanted.matrix[j * 4 + i] = inside ? to_float(matrix[int64_t{token} * kOutN + at]) : 0.0f;
    }
  }
}
#endif

/// Each warp transposes 8 x 8 elements at a time on their way to one of two buffers in turn; then
/// threads store 16 bytes each, rows of tokens side by side.
__device__ __forceinline__ void store_direct(const GemmArguments& g,
                                             const float (&acc)[BLOCK_T / 2], const Wanted& wanted,
                                             int row, int first_token, uint8_t* buffers,
                                             int& toggle, int thread) {
  constexpr int kUnits = kGroupW / 8;  // of 16 bytes, in a token's row
  const int barrier = 1 + thread / 128;
  thread %= 128;
  const int warp = thread / 32, lane = thread % 32;
  const FeatureValues values = feature_values(g.epilogue, wanted.scales, feature_of(row, thread));
#pragma unroll
  for (int chunk = 0; chunk < kOwnedT / kChunkT; ++chunk) {
    const int base = first_token + chunk * kChunkT;
    if (base >= g.tokens) break;
    uint8_t* const buffer = buffers + toggle * kDirectBytes;
    toggle ^= 1;
    constexpr int kGroups = kChunkT / 8;
    float2 scales[kGroups];
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      scales[j] = Wanted::kEarlyTokens ? wanted.tokens[(chunk * kGroups + j) % (kOwnedT / 8)]
                                       : token_scales_at(g, base + j * 8 + lane % 4 * 2);
    }
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const float* v = acc + (chunk * kGroups + j) * 4;
      const float* m = wanted.matrix + (DIRECT_MATRIX ? (chunk * kGroups + j) * 4 : 0);
      constexpr int kNext = DIRECT_MATRIX;
#if ACCUMULATORS == 2
      const float first[2] = {v[0], v[2]}, second[2] = {v[1], v[3]};
      store_matrix(buffer + (j * 8 + lane % 8) * kDirectStride + warp * 16,
                   pack_bf16(direct_value(values, 0, scales[j].x, m[0], first),
                             direct_value(values, 0, scales[j].y, m[kNext], second)));
#else
      const float a[4][1] = {{v[0]}, {v[1]}, {v[2]}, {v[3]}};
      store_matrices(buffer + (j * 8 + lane % 8) * kDirectStride + warp * 32 + lane / 8 % 2 * 16,
                     pack_bf16(direct_value(values, 0, scales[j].x, m[0], a[0]),
                               direct_value(values, 0, scales[j].y, m[kNext], a[1])),
                     pack_bf16(direct_value(values, 1, scales[j].x, m[2 * kNext], a[2]),
                               direct_value(values, 1, scales[j].y, m[3 * kNext], a[3])));
#endif
    }
    named_barrier(barrier, 128);
#pragma unroll
    for (int i = thread; i < kChunkT * kUnits; i += 128) {
      const int token = base + i / kUnits, feature = row / ACCUMULATORS + i % kUnits * 8;
      if (token >= g.tokens || feature >= kOutN) continue;
      *reinterpret_cast<uint4*>(g.epilogue.output0 + int64_t{token} * kOutN + feature) =
          *reinterpret_cast<const uint4*>(buffer + i / kUnits * kDirectStride + i % kUnits * 16);
    }
  }
}
#elif !FRAGMENTS
/// Accumulators go through shared memory in f32, transposed; then each thread finishes kVector
/// neighbouring features of a token: scales, program, stores. By the warpgroup that holds the rows
/// of W from `row` on.
__device__ __forceinline__ void store_rows(const GemmArguments& g, const float (&acc)[BLOCK_T / 2],
                                           int row, int first_token, float* buffer, int thread) {
  constexpr int kPerRow = kGroupW / kVector;
  const int barrier = 1 + thread / 128;
  thread %= 128;
  const int warp = thread / 32, lane = thread % 32;
#pragma unroll
  for (int chunk = 0; chunk < kOwnedT / kChunkT; ++chunk) {
    if (first_token + chunk * kChunkT >= g.tokens) break;
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
    named_barrier(barrier, 128);
    for (int i = thread; i < kChunkT * kPerRow; i += 128) {
      const int local = i / kPerRow, column = i % kPerRow * kVector;
      const int token = first_token + chunk * kChunkT + local;
      const int feature = row / ACCUMULATORS + column;
      if (token >= g.tokens || feature >= kOutN) continue;
      float values[ACCUMULATORS][kVector];
#pragma unroll
      for (int a = 0; a < ACCUMULATORS; ++a) {
        const int at = (a * kChunkT + local) * kStoreStride + column;
        load_elements(buffer, at, values[a]);
      }
      epilogue_store(g.epilogue, token, feature, values);
    }
    named_barrier(barrier, 128);
  }
}
#endif

/// A warpgroup's epilogue: what it asks for before the kernel before this one is done, before
/// the products of a tile and after them.
struct TileEpilogue {
  uint8_t* store;  // of the block
#if FRAGMENTS
  EpilogueFeature features[kFeaturesOfThread];

  __device__ __forceinline__ void ask_weights(const GemmArguments&, int, int) {}
  __device__ __forceinline__ void ask(const GemmArguments& g, int row, int token, int thread) {
    const Fragments fragments(store, thread, row, token);
    begin_fragments(g, fragments);
    load_features(g, fragments, features);
  }
  __device__ __forceinline__ void finish(const GemmArguments& g, const float (&acc)[BLOCK_T / 2],
                                         int row, int token, int thread) {
    // What ask() knew of addresses is worked out again: sums leave no registers for it.
    asm volatile("" : "+r"(thread));
    store_fragments(g, acc, Fragments(store, thread, row, token), features, 1 + thread / 128);
  }
#elif DIRECT
  Wanted wanted;
  int toggle = 0;

  __device__ __forceinline__ void ask_weights(const GemmArguments& g, int row, int thread) {
    wanted.scales = weight_scales(g.epilogue, feature_of(row, thread % 128));
  }
  __device__ __forceinline__ void ask(const GemmArguments& g, int row, int token, int thread) {
#if DIRECT_MATRIX
    ask_matrix(g, feature_of(row, thread % 128), token, thread, wanted);
#endif
    if constexpr (Wanted::kEarlyTokens) {
#pragma unroll
      for (int j = 0; j < kOwnedT / 8; ++j) {
        wanted.tokens[j] = token_scales_at(g, token + j * 8 + thread % 4 * 2);
      }
    }
  }
  __device__ __forceinline__ void finish(const GemmArguments& g, const float (&acc)[BLOCK_T / 2],
                                         int row, int token, int thread) {
    uint8_t* const mine = store + thread / 128 * kGroupStoreBytes;
    store_direct(g, acc, wanted, row, token, mine, toggle, thread);
  }
#else
  __device__ __forceinline__ void ask_weights(const GemmArguments&, int, int) {}
  __device__ __forceinline__ void ask(const GemmArguments&, int, int, int) {}
  __device__ __forceinline__ void finish(const GemmArguments& g, const float (&acc)[BLOCK_T / 2],
                                         int row, int token, int thread) {
    float* mine = reinterpret_cast<float*>(store + thread / 128 * kGroupStoreBytes);
    store_rows(g, acc, row, token, mine, thread);
  }
#endif
};

/// The products of a run of k blocks.
__device__ __forceinline__ void multiply(float (&acc)[BLOCK_T / 2], Ring& ring, int steps,
                                         const Shared& shared, int thread) {
  const int group = PINGPONG ? 0 : thread / 128;
  int previous = -1;
  for (int k = 0; k < steps; ++k, ring.advance()) {
    barrier_wait(&shared.full[ring.stage], ring.phase);
    const uint8_t* stage = shared.stages + ring.stage * (kStageW + kStageX);
    const uint64_t a = wgmma_descriptor(stage + group * kTileBytes);
    const uint64_t b = wgmma_descriptor(stage + kStageW);
    wgmma_hold(acc);
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < kKSteps; ++s) {
      wgmma_product(acc, a + s * 2, b + s * 2, s > 0 || k > 0);
    }
    wgmma_commit();
    wgmma_hold(acc);
    if (PINGPONG && k + 1 == steps) named_barrier_arrive(4 - thread / 128, kMathThreads);
    // The product before this one is done: its stage may be filled again.
    wgmma_wait<1>();
    if (previous >= 0) release(&shared.empty[previous], thread);
    previous = ring.stage;
  }
  wgmma_wait<0>();
  wgmma_hold(acc);
  release(&shared.empty[previous], thread);
}

/// A piece's sums: over all of K if it ends its tile, with what other blocks have of it; else they
/// are left for the block that does.
__device__ __forceinline__ void sum_piece(const GemmArguments& g, const Pieces& p, Ring& ring,
                                          const Shared& shared, int tiles, int rank,
                                          float (&sum)[BLOCK_T / 2]) {
  const int thread = threadIdx.x;
#if SEGMENTS > 1
  const int first = p.first(), last = p.last();
  float acc[BLOCK_T / 2];
  for (int unit = first; unit < last; ++unit) {
    multiply(acc, ring, cut_at(unit + 1) - cut_at(unit), shared, thread);
    if (first > 0) {
      if (unit + 1 < kTileUnits) leave_sums(g, acc, thread, unit - first + 1);
      continue;
    }
#pragma unroll
    for (int i = 0; i < BLOCK_T / 2; ++i) sum[i] = unit == 0 ? acc[i] : sum[i] + acc[i];
  }
  if (last < kTileUnits) {
    if (first == 0) leave_sums(g, sum, thread);
    raise_flag(g, thread);
  } else if (first > 0) {
    gather_segments(g, sum, p, tiles, thread, rank);
#pragma unroll
    for (int i = 0; i < BLOCK_T / 2; ++i) sum[i] += acc[i];
  }
#else
  multiply(sum, ring, p.last_k() - p.first_k(), shared, thread);
  if (PARTS == 0 && p.last() < kTileUnits) {
    leave_sums(g, sum, thread);
    raise_flag(g, thread);
  }
#endif
}

__device__ void consume(const GemmArguments& g, const Shared& shared, int tiles_t, int rank) {
  const int thread = threadIdx.x;
  const int tiles = kTilesW * tiles_t;
  float acc[BLOCK_T / 2];
  Ring ring;
  Pieces p(tiles, blockIdx.x / CLUSTER, gridDim.x / CLUSTER);
  const auto row_of = [&](const Tile& tile) {
    return (tile.w * CLUSTER + rank) * kBlockW + (PINGPONG ? 0 : thread / 128 * 64);
  };
  TileEpilogue epilogue;
  epilogue.store = shared.store;
  const auto pass = [&] {
    if (PINGPONG) p.next(), ring.skip_tile();
  };
  if (thread >= 128) pass();
  if (!GROUPED && p.valid()) epilogue.ask_weights(g, row_of(tile_at(p.tile, tiles_t)), thread);
  wait_dependencies();
  for (bool again = false; p.valid(); p.next(), pass(), again = true) {
    if (PARTS == 0 && p.last() < kTileUnits) {
      sum_piece(g, p, ring, shared, tiles, rank, acc);
      continue;
    }
    const Tile tile = tile_at(p.tile, tiles_t);
    const Rows rows = rows_of(g, tile.t);
#if GROUPED
    GemmArguments own = g;
    own.tokens = rows.end, own.epilogue = epilogue_of_group(g.epilogue, rows.group);
#else
    const GemmArguments& own = g;
#endif
    const int token = rows.first + part_of_tile() * kOwnedT;
    if (again || GROUPED) epilogue.ask_weights(own, row_of(tile), thread);
    epilogue.ask(own, row_of(tile), token, thread);
    if (PINGPONG && (again || thread >= 128)) named_barrier(3 + thread / 128, kMathThreads);
    sum_piece(g, p, ring, shared, tiles, rank, acc);
    if (PARTS > 1 && !join_parts(acc, shared.exchange, shared.joined, rank, thread)) continue;
    if (PARTS == 0 && SEGMENTS <= 1 && p.first() > 0) gather(g, acc, p, tiles, thread, rank);
    epilogue.finish(own, acc, row_of(tile), token, thread);
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, SLIM ? 2 : 1)
    gemm_sm90(const __grid_constant__ TensorMap map,
#if STORE_MAP
              const __grid_constant__ TensorMap output_map,
#endif
              const uint8_t* weights SUMS_PARAMETERS TOKENS_PARAMETER EPILOGUE_PARAMETERS) {
  GemmArguments g = {weights, SUMS_VALUES, TOKENS_VALUE, GROUPS_VALUE, EPILOGUE_VALUES};
#if STORE_MAP
  g.output_map = &output_map;
#endif
  const Shared shared = shared_memory();
  uint64_t *full = shared.full, *empty = shared.empty, *joined = shared.joined;
  const int rank = CLUSTER > 1 ? static_cast<int>(cluster_rank()) % CLUSTER : 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], CLUSTER * kMathThreads / 32 / (PINGPONG ? 2 : 1));
    }
    if (PARTS > 1) barrier_init(joined, 1);
    barrier_init_fence();
    if (kExchangeBytes > 0 && part_of_tile() < kOwners) barrier_expect(joined, kExchangeBytes);
    prefetch_tensor_map(&map);
  }
  if (CLUSTER > 1 || PARTS > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  launch_dependents();
  if (GROUPED) wait_dependencies();
  const int tiles_t = GROUPED ? __ldcg(&g.groups->x) : (g.tokens + BLOCK_T - 1) / BLOCK_T;
  if (threadIdx.x >= kMathThreads) {
    if (!SLIM) registers_give<56>();
    if (threadIdx.x == kMathThreads) produce(g, &map, shared.stages, full, empty, tiles_t, rank);
  } else {
    if (!SLIM) registers_take<224>();
    consume(g, shared, tiles_t, rank);
  }
  // A block's memory stays until the others of its cluster, and copies, have done with it.
  if (STORE_MAP && threadIdx.x < kMathThreads && threadIdx.x % 128 == 0) bulk_store_wait();
  if (CLUSTER > 1) cluster_sync();
}

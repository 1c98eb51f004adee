// Paged attention of sequences with one query token: bound by the cache's bytes.
//
// The keys of all such sequences are laid end to end in tiles of 64, per KV head, and cut into
// equal runs, one a block (found from kv_len on the device, so a captured graph serves any mix).
// A warp owns 16 keys of each tile and its own ring of asynchronous copies, so the loop has no
// block barrier; the query heads of a KV head are the rows of an m16n8k16 product. Both products
// are free in the order of what they sum over, and the output in the order of its columns, so that
// fragments are read with 16-byte loads, without transposition, for two-byte and one-byte caches
// alike. Runs that share a sequence leave partial sums; whichever block comes last adds them in
// the order of keys, so results are the same from run to run.
//
// Cells outside the visible keys are never read: copies fill them with zeros.
// With ATT_CLUSTER = 8 a cluster takes a sequence and head instead (sm_90), and its blocks read
// each other's sums. Defined by the host beside the common ones: ATT_CLUSTER, STAGES, ATT_BLOCKS
// (that share a multiprocessor), ATT_PAD (dimension in shared memory: 64, 128, 256; at least 128
// for e4m3).
#pragma once

#include "attention_common.cuh"

static_assert(ATT_DIM == ATT_V_DIM && ATT_KV < 2 && !ATT_Q_F32, "served by attention_any");
constexpr bool kFp8 = ATT_KV == 1;
constexpr int kDecodeWarps = 4;
constexpr int kTileKeys = 64;
constexpr int kWarpKeys = 16;
constexpr int kHeadTiles = (kGroup + 15) / 16;  // products of 16 query heads a KV head
constexpr int kPairs = ATT_KV_HEADS * kHeadTiles;
constexpr int kUnitElements = 16 / kKvBytes;
constexpr int kUnits = ATT_PAD / kUnitElements;     // 16 bytes each, of a row in shared memory
constexpr int kRowUnits = ATT_DIM / kUnitElements;  // of them in the cache
constexpr int kStageUnits = 2 * kWarpKeys * kUnits;
constexpr int kKSteps = ATT_PAD / 16;
constexpr int kColumns = ATT_PAD / 8;
constexpr int kStepsPerUnit = kUnitElements / 4;  // products a 16-byte load of a key feeds
constexpr int kRows = kGroup < 16 ? kGroup : 16;  // of a product that are query heads
constexpr int kRowHalves = kRows > 8 ? 2 : 1;     // of 8 rows, the others are padding
constexpr int kPartialFloats = kRows * (ATT_PAD + 4);
static_assert(ATT_DIM % kUnitElements == 0, "rows of 16-byte units");
static_assert(STAGES * kStageUnits * 16 >= kPartialFloats * 4, "sums fit where copies land");

__device__ __forceinline__ void product(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  if (kFp8) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}
__device__ __forceinline__ uint32_t pack_weights(float low, float high) {
  return kFp8 ? pack_f16(low, high) : pack_bf16(low, high);
}

/// The work of this step, found from kv_len: tiles[s] counts those of the sequences before s.
struct DecodeWork {
  const int* tiles;
  int sequences;
  int units;  // tiles x pairs
  int blocks;
  bool many_short;
  int each, more;  // units of a block; blocks that have one more

  __device__ __forceinline__ int begin_of(int block) const {
    return each * block + (block < more ? block : more);
  }
  __device__ __forceinline__ int block_of(int unit) const {
    const int split = more * (each + 1);
    return unit < split ? unit / (each + 1) : more + (unit - split) / each;
  }
  __device__ __forceinline__ int sequence_of(int unit) const {
    int low = 0, high = sequences;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (tiles[middle] * kPairs <= unit ? low : high) = middle;
    }
    return low;
  }
};

__device__ __forceinline__ int decode_tiles(const AttentionArguments& a, int s) {
  const int rows = a.query_start[s + 1] - a.query_start[s], last = a.kv_len[s] - 1;
  return rows == 1 ? last / kTileKeys - first_visible(last) / kTileKeys + 1 : 0;
}

// Sequences of at most so many tiles, and so many pieces a warp: then a warp takes whole pieces.
constexpr int kShortTiles = 6, kShortPieces = 4;

/// Prefix sums over the sequences, by the whole block.
__device__ DecodeWork find_work(const AttentionArguments& a, int* tiles) {
  constexpr int kEach = 4;  // sequences of a thread, whose loads are in flight together
  __shared__ int sums[kDecodeWarps];
  const int count = *a.sequences, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int total = 0;
  bool is_long = false;
  for (int base = 0; base < count; base += kDecodeWarps * 32 * kEach) {
    const int first = base + threadIdx.x * kEach;
    int mine[kEach], sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      sum += mine[i] = first + i < count ? decode_tiles(a, first + i) : 0;
      is_long |= mine[i] > kShortTiles;
    }
    const int own = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    int before = total + sum - own;
    for (int w = 0; w < kDecodeWarps; ++w) {
      if (w < warp) before += sums[w];
      total += sums[w];
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (first + i < count) tiles[first + i] = before;
      before += mine[i];
    }
    __syncthreads();
  }
  DecodeWork work = {tiles, count, total * kPairs, static_cast<int>(gridDim.x), false, 0, 0};
  work.many_short =
      !__syncthreads_or(is_long) && count * kPairs >= work.blocks * kDecodeWarps * kShortPieces;
  if (work.units < work.blocks) work.blocks = work.units;
  if (work.units > 0) work.each = work.units / work.blocks, work.more = work.units % work.blocks;
  return work;
}

/// One run's share of a sequence and KV head. All units of these are [first, last).
struct Piece {
  int sequence, pair, first_tile, last_tile, first_key, keys, row;
  int first, last;
};

__device__ __forceinline__ void copy_unit(uint4* to, const uint8_t* from, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

constexpr bool kWholeRows = kUnits == kRowUnits && (kUnits == 8 || kUnits == 16);
constexpr int kBases = kUnits / 4;  // orders of the units of values
/// Offsets the instruction holds: an address each would be most of the work.
template <int kAt>
__device__ __forceinline__ void copy_at(uint32_t to, const uint8_t* from) {
  asm volatile("cp.async.cg.shared.global [%0 + %2], [%1 + %2], 16;" ::"r"(to), "l"(from), "n"(kAt)
               : "memory");
}
template <int kIndex>
__device__ __forceinline__ void copy_rows(uint32_t keys_to, const uint32_t* values_to,
                                          const uint8_t* keys, const uint8_t* values) {
  copy_at<kIndex * 512>(keys_to, keys);
  copy_at<kIndex * 512>(values_to[kIndex % kBases], values);
  if constexpr ((kIndex + 1) * 32 < kWarpKeys * kUnits) {
    copy_rows<kIndex + 1>(keys_to, values_to, keys, values);
  }
}
/// 16 rows of keys and of values that are all there, to the places that copy_keys names.
__device__ __forceinline__ void copy_whole(uint4* stage, const uint8_t* keys,
                                           const uint8_t* values) {
  constexpr int kEach = 32 / kUnits;  // rows of a copy of the warp
  const int lane = threadIdx.x % 32, r = lane / kUnits, unit = lane % kUnits;
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(stage));
  uint32_t values_to[kBases];
#pragma unroll
  for (int i = 0; i < kBases; ++i) {
    values_to[i] = to + ((kWarpKeys + r) * kUnits + (unit ^ ((i * kEach + r) & 6))) * 16;
  }
  copy_rows<0>(to + (r * kUnits + (unit ^ (r & 1) * 4)) * 16, values_to, keys + lane * 16,
               values + lane * 16);
}

/// The first of a warp's keys of a tile.
__device__ __forceinline__ int start_of(int tile) {
  return tile * kTileKeys + static_cast<int>(threadIdx.x / 32) * kWarpKeys;
}

/// A warp's keys and values from `start` on. With kEarly the last key, which the kernel before this
/// one may still write, is left out.
template <bool kEarly>
__device__ __forceinline__ void copy_keys(const AttentionArguments& a, const Piece& p, uint4* stage,
                                          int start) {
  const int lane = threadIdx.x % 32;
  const int* table = a.block_table + int64_t{p.sequence} * ATT_MAX_BLOCKS;
  const bool inside = start < p.keys && start + kWarpKeys > p.first_key;
  const int block = inside ? table[start / ATT_BLOCK_TOKENS] : 0;
  const int token = start % ATT_BLOCK_TOKENS, head = p.pair / kHeadTiles;
  const uint8_t* keys = key_row(a.cache, block, head, token);
  const uint8_t* values = value_row(a.cache, block, head, token);
  if (kWholeRows && start >= p.first_key && start + kWarpKeys <= p.keys - (kEarly ? 1 : 0)) {
    return copy_whole(stage, keys, values);
  }
#pragma unroll
  for (int i = 0; i < kWarpKeys * kUnits / 32; ++i) {
    const int at = i * 32 + lane, r = at / kUnits, unit = at % kUnits;
    const int key = start + r;
    const bool real = key >= p.first_key && key < p.keys && unit < kRowUnits;
    const int offset = real ? (r * kRowUnits + unit) * 16 : 0;
    const uint32_t bytes = real ? 16 : 0;
    if (kEarly && key == p.keys - 1) continue;
    copy_unit(stage + r * kUnits + (unit ^ (r & 1) * 4), keys + offset, bytes);
    copy_unit(stage + (kWarpKeys + r) * kUnits + (unit ^ (r & 6)), values + offset, bytes);
  }
}

/// Where the last key and its value lie, if this warp's rows of an early tile hold it.
struct LastKey {
  const uint8_t* key;
  const uint8_t* value;
  int row = -1;  // of the warp's ring; -1: nothing was left out

  __device__ __forceinline__ LastKey(const AttentionArguments& a, const Piece& p) {
    const int at = p.keys - 1, tile = at / kTileKeys;
    if (tile >= p.last_tile || tile >= p.first_tile + STAGES - 1) return;
    const int r = at % kTileKeys - static_cast<int>(threadIdx.x / 32) * kWarpKeys;
    if (tile < p.first_tile || r < 0 || r >= kWarpKeys) return;
    const int block = a.block_table[int64_t{p.sequence} * ATT_MAX_BLOCKS + at / ATT_BLOCK_TOKENS];
    const int token = at % ATT_BLOCK_TOKENS, head = p.pair / kHeadTiles;
    key = key_row(a.cache, block, head, token);
    value = value_row(a.cache, block, head, token);
    row = (tile - p.first_tile) * 2 * kWarpKeys + r;
  }

  __device__ __forceinline__ void copy(uint4* ring) const {
    if (row < 0) return;
    const int r = row % kWarpKeys;
    for (int unit = threadIdx.x % 32; unit < kUnits; unit += 32) {
      const uint32_t bytes = unit < kRowUnits ? 16 : 0;
      const int offset = unit < kRowUnits ? unit * 16 : 0;
      copy_unit(ring + row * kUnits + (unit ^ (r & 1) * 4), key + offset, bytes);
      copy_unit(ring + (row + kWarpKeys) * kUnits + (unit ^ (r & 6)), value + offset, bytes);
    }
    commit_copies();
  }
};

/// Query heads of a pair as the first operand, its columns in the order keys are read.
__device__ __forceinline__ void load_query(const AttentionArguments& a, const Piece& p,
                                           uint32_t (&q)[kKSteps][4]) {
  const int lane = threadIdx.x % 32;
  const int kv_head = p.pair / kHeadTiles, first = p.pair % kHeadTiles * 16;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int h = half < kRowHalves ? first + half * 8 + lane / 4 : kGroup;
    const uint8_t* row = a.q + (int64_t{p.row} * ATT_HEADS + kv_head * kGroup + h) * (ATT_DIM * 2);
#pragma unroll
    for (int k = 0; k < kKSteps; ++k) {
      const int d = k / kStepsPerUnit * (kStepsPerUnit * 16) + lane % 4 * kUnitElements +
                    k % kStepsPerUnit * 4;
      uint2 v = make_uint2(0, 0);
      if (h < kGroup && d < ATT_DIM) v = *reinterpret_cast<const uint2*>(row + d * 2);
      if (kFp8) {
        v.x = pack_f16(bf16_low(v.x), bf16_high(v.x));
        v.y = pack_f16(bf16_low(v.y), bf16_high(v.y));
      }
      q[k][half] = v.x;
      q[k][2 + half] = v.y;
    }
  }
}

struct Sums {
  float out[kColumns][4];
  float top[2], sum[2];
};

__device__ __forceinline__ void attend_tile(const Piece& p, const uint4* stage, int start,
                                            const uint32_t (&q)[kKSteps][4], Sums& s) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float score[2][4] = {};
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int r = n * 8 + g;
#pragma unroll
    for (int j = 0; j < kKSteps / kStepsPerUnit; ++j) {
      const uint4 v = stage[r * kUnits + ((j * 4 + t) ^ (r & 1) * 4)];
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < kStepsPerUnit; ++i) {
        if (kFp8) {
          product(score[n], q[j * kStepsPerUnit + i], e4m3_to_f16(words[i] & 0xffff),
                  e4m3_to_f16(words[i] >> 16));
        } else {
          product(score[n], q[j * kStepsPerUnit + i], words[i % 2 * 2], words[i % 2 * 2 + 1]);
        }
      }
    }
  }
#pragma unroll
  for (int half = 0; half < kRowHalves; ++half) {
    float most = s.top[half];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = start + i / 2 * 8 + t * 2 + i % 2;
      float& x = score[i / 2][half * 2 + i % 2];
      x = key >= p.first_key && key < p.keys ? score_exponent(x) : -infinity();
      most = fmaxf(most, x);
    }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const float base = most == -infinity() ? 0.0f : most;
    const float scale = exp2_fast(s.top[half] - base);
    s.top[half] = most;
    s.sum[half] *= scale;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& x = score[i / 2][half * 2 + i % 2];
      x = exp2_fast(x - base);
      s.sum[half] += x;
    }
    // After a few tiles the largest score is seldom a new one.
    if (__all_sync(~0u, scale == 1.0f)) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) s.out[c][half * 2] *= scale, s.out[c][half * 2 + 1] *= scale;
  }
  constexpr bool kLower = kRowHalves > 1;
  const uint32_t w[4] = {
      pack_weights(score[0][0], score[0][1]), kLower ? pack_weights(score[0][2], score[0][3]) : 0,
      pack_weights(score[1][0], score[1][1]), kLower ? pack_weights(score[1][2], score[1][3]) : 0};
  const uint4* values = stage + kWarpKeys * kUnits;
#pragma unroll
  for (int j = 0; j < kUnits / 8; ++j) {
    uint32_t v[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = i / 2 * 8 + t * 2 + i % 2;
      const uint4 x = values[r * kUnits + ((j * 8 + g) ^ (r & 6))];
      v[i][0] = x.x, v[i][1] = x.y, v[i][2] = x.z, v[i][3] = x.w;
    }
#pragma unroll
    for (int e = 0; e < kUnitElements; ++e) {
      uint32_t b[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (kFp8) {
          const uint32_t low = e % 4, both = low | (low + 4) << 4;
          b[i] = e4m3_to_f16(__byte_perm(v[i * 2][e / 4], v[i * 2 + 1][e / 4], both) & 0xffff);
        } else {
          b[i] = __byte_perm(v[i * 2][e / 2], v[i * 2 + 1][e / 2], e % 2 ? 0x7632 : 0x5410);
        }
      }
      product(s.out[j * kUnitElements + e], w, b[0], b[1]);
    }
  }
}

/// Dimension of accumulator column tile `c` for column group g (the lane's t gives two of them:
/// output columns 2t and 2t + 1 of the product are groups 2t and 2t + 1).
__device__ __forceinline__ int dimension_of(int c, int group) {
  return (c / kUnitElements * 8 + group) * kUnitElements + c % kUnitElements;
}

/// A warp's sums to shared memory: [kRows][ATT_PAD] unnormalised, then tops, then sums.
__device__ __forceinline__ void leave_sums(Sums& s, float* mine) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 1);
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 2);
    const int row = g + half * 8;
    if (half * 8 >= kRows || row >= kRows) continue;
    if (t == 0) {
      mine[kRows * ATT_PAD + row] = s.top[half];
      mine[kRows * ATT_PAD + kRows + row] = s.sum[half];
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        mine[row * ATT_PAD + dimension_of(c, t * 2 + i)] = s.out[c][half * 2 + i];
      }
    }
  }
}

__device__ __forceinline__ void store_output(const AttentionArguments& a, const Piece& p, int row,
                                             int d, const float4& v, float scale) {
  const int kv_head = p.pair / kHeadTiles, h = p.pair % kHeadTiles * 16 + row;
  if (h >= kGroup || d >= ATT_DIM) return;
  const int64_t at = (int64_t{p.row} * ATT_HEADS + kv_head * kGroup + h) * ATT_DIM + d;
  reinterpret_cast<uint2*>(a.out)[at / 4] =
      make_uint2(pack_bf16(v.x * scale, v.y * scale), pack_bf16(v.z * scale, v.w * scale));
}

/// Weights of `count` parts' sums, [count][kRows] in shared memory, and of each row 1 / their total
/// behind them. stat(n, i): tops, then sums, of part n. rest(row, top): what else is in a total.
template <class Stat, class Rest>
__device__ __forceinline__ void weigh_parts(int count, Stat stat, Rest rest, float* weights) {
  float* totals = weights + count * kRows;
  for (int i = threadIdx.x; i < count * kRows; i += kDecodeWarps * 32) {
    weights[i] = stat(i / kRows, i % kRows);
    totals[kRows + i] = stat(i / kRows, kRows + i % kRows);
  }
  __syncthreads();
  // A warp a row: every lane a part.
  for (int row = threadIdx.x / 32; row < kRows; row += kDecodeWarps) {
    const int lane = threadIdx.x % 32;
    float top = -infinity(), total = 0;
    for (int n = lane; n < count; n += 32) top = fmaxf(top, weights[n * kRows + row]);
#pragma unroll
    for (int d = 16; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
    for (int n = lane; n < count; n += 32) {
      const float weight = exp2_fast(weights[n * kRows + row] - top);
      weights[n * kRows + row] = weight;
      total += weight * totals[kRows + n * kRows + row];
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) total += __shfl_xor_sync(~0u, total, d);
    if (lane == 0) totals[row] = 1.0f / (total + rest(row, top));
  }
  __syncthreads();
}

/// The sum of `count` parts' four neighbours at float4 `i`, kBatch loads in flight.
template <int kBatch, class Part>
__device__ __forceinline__ float4 add_parts(int count, Part part, const float* weights, int i) {
  const int row = i / (ATT_PAD / 4);
  float4 sum = make_float4(0, 0, 0, 0);
  for (int n = 0; n < count; n += kBatch) {
    float4 v[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      v[b] = n + b < count ? part(n + b)[i] : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const float weight = n + b < count ? weights[(n + b) * kRows + row] : 0.0f;
      sum.x += v[b].x * weight, sum.y += v[b].y * weight;
      sum.z += v[b].z * weight, sum.w += v[b].w * weight;
    }
  }
  return sum;
}

/// The sink of a row of a piece.
__device__ __forceinline__ float row_sink(const AttentionArguments& a, const Piece& p, int row,
                                          float top) {
  const int h = p.pair % kHeadTiles * 16 + row;
  return h < kGroup ? sink_weight(a, p.pair / kHeadTiles * kGroup + h, top) : 0;
}

constexpr int kSumUnits = kRows * ATT_PAD / 4;  // float4s of a part

#if ATT_CLUSTER == 0
/// Adds the warps' sums; then, of a sequence that several blocks share, the last block adds those.
__device__ void finish(const AttentionArguments& a, const Piece& p, const DecodeWork& work,
                       float* scratch, int stride, float* partials, uint32_t* flags) {
  __shared__ bool is_last;
  __shared__ float warp_weights[2 * kDecodeWarps * kRows + kRows];
  const int from = work.block_of(p.first), to = work.block_of(p.last - 1);  // who share it
  __syncthreads();
  weigh_parts(
      kDecodeWarps, [&](int n, int i) { return scratch[n * stride + kRows * ATT_PAD + i]; },
      [&](int row, float top) { return from == to ? row_sink(a, p, row, top) : 0.0f; },
      warp_weights);
  const auto warp_part = [&](int n) { return reinterpret_cast<float4*>(scratch + n * stride); };
  const float* inverse = warp_weights + kDecodeWarps * kRows;
  if (from == to) {
    for (int i = threadIdx.x; i < kSumUnits; i += kDecodeWarps * 32) {
      const int row = i / (ATT_PAD / 4);
      store_output(a, p, row, i % (ATT_PAD / 4) * 4,
                   add_parts<kDecodeWarps>(kDecodeWarps, warp_part, warp_weights, i),
                   inverse[row] * ATT_V_SCALE);
    }
    __syncthreads();
    return;
  }
  // A block has two places: of the pair its run begins in, and of one it begins itself.
  const int slot = work.begin_of(from) >= p.first ? 0 : 1;
  const auto block_part = [&](int n) {
    return partials + int64_t{(from + n) * 2 + (n == 0 ? slot : 0)} * kPartialFloats;
  };
  float* mine = block_part(static_cast<int>(blockIdx.x) - from);
  for (int i = threadIdx.x; i < kSumUnits; i += kDecodeWarps * 32) {
    __stcg(reinterpret_cast<float4*>(mine) + i,
           add_parts<kDecodeWarps>(kDecodeWarps, warp_part, warp_weights, i));
  }
  if (threadIdx.x < kRows) {
    float top = -infinity();
    for (int n = 0; n < kDecodeWarps; ++n) {
      top = fmaxf(top, scratch[n * stride + kRows * ATT_PAD + threadIdx.x]);
    }
    __stcg(mine + kRows * ATT_PAD + threadIdx.x, top);
    __stcg(mine + kRows * ATT_PAD + kRows + threadIdx.x, 1.0f / inverse[threadIdx.x]);
  }
  __syncthreads();
  // The barrier orders the block's stores before this release, and the loads below after it.
  if (threadIdx.x == 0) {
    uint32_t* flag = flags + p.sequence * kPairs + p.pair;
    uint32_t before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
                 : "=r"(before)
                 : "l"(flag)
                 : "memory");
    is_last = before == static_cast<uint32_t>(to - from);
    if (is_last) *flag = 0;
  }
  __syncthreads();
  if (!is_last) return;
  const int count = to - from + 1;
  weigh_parts(
      count, [&](int n, int i) { return __ldcg(block_part(n) + kRows * ATT_PAD + i); },
      [&](int row, float top) { return row_sink(a, p, row, top); }, scratch);
  const auto part = [&](int n) { return reinterpret_cast<const float4*>(block_part(n)); };
  for (int i = threadIdx.x; i < kSumUnits; i += kDecodeWarps * 32) {
    const int row = i / (ATT_PAD / 4);
    store_output(a, p, row, i % (ATT_PAD / 4) * 4, add_parts<8>(count, part, scratch, i),
                 scratch[count * kRows + row] * ATT_V_SCALE);
  }
  __syncthreads();
}

#endif

/// The first copies of a piece; early, before the kernel ahead of this one is done: what lies in
/// the cache but for the last key is there since an earlier step.
template <bool kEarly>
__device__ __forceinline__ void start_copies(const AttentionArguments& a, const Piece& p,
                                             uint4* ring) {
#pragma unroll
  for (int i = 0; i < STAGES - 1; ++i) {
    if (p.first_tile + i < p.last_tile) {
      copy_keys<kEarly>(a, p, ring + i * kStageUnits, start_of(p.first_tile + i));
    }
    commit_copies();
  }
}

/// `settle`: copies are out of the order of tiles.
__device__ __forceinline__ void attend_piece(const AttentionArguments& a, const Piece& p,
                                             uint4* ring, Sums& s, bool settle) {
  uint32_t q[kKSteps][4];
  load_query(a, p, q);
  if (settle) asm volatile("cp.async.wait_group 0;" ::: "memory");
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s.out[c][i] = 0;
  }
  s.top[0] = s.top[1] = -infinity();
  s.sum[0] = s.sum[1] = 0;
  int stage = 0;
  for (int tile = p.first_tile; tile < p.last_tile; ++tile) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
    __syncwarp();
    const int ahead = tile + STAGES - 1;
    const int next = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < p.last_tile) copy_keys<false>(a, p, ring + next * kStageUnits, start_of(ahead));
    commit_copies();
    attend_tile(p, ring + stage * kStageUnits, start_of(tile), q, s);
    if (++stage == STAGES) stage = 0;
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncwarp();
}

#if ATT_CLUSTER == 0
/// The piece that begins at `unit` in a run that ends at `end`.
__device__ __forceinline__ Piece piece_at(const AttentionArguments& a, const DecodeWork& work,
                                          int unit, int end) {
  Piece p;
  p.sequence = work.sequence_of(unit);
  const int count = decode_tiles(a, p.sequence);
  const int base = work.tiles[p.sequence] * kPairs;
  p.pair = (unit - base) / count;
  p.first = base + p.pair * count, p.last = p.first + count;
  p.row = a.query_start[p.sequence];
  p.keys = a.kv_len[p.sequence];
  p.first_key = first_visible(p.keys - 1);
  const int tile0 = p.first_key / kTileKeys;
  p.first_tile = tile0 + unit - p.first;
  p.last_tile = tile0 + (p.last < end ? p.last : end) - p.first;
  return p;
}

/// The piece after `p`, of the same sequence's next head if there is one.
__device__ __forceinline__ Piece piece_after(const AttentionArguments& a, const DecodeWork& work,
                                             const Piece& p, int end) {
  if (p.pair + 1 == kPairs) return piece_at(a, work, p.last, end);
  Piece next = p;
  ++next.pair;
  next.first = p.last, next.last = p.last + (p.last - p.first);
  next.first_tile = p.first_key / kTileKeys;
  next.last_tile = next.first_tile + (next.last < end ? next.last : end) - next.first;
  return next;
}

#include "attention_decode_short.cuh"

extern "C" __global__ void __launch_bounds__(kDecodeWarps * 32, ATT_BLOCKS)
    attention_decode(const uint8_t* q, const int* query_start, const int* kv_len,
                     const int* block_table, const int* sequences, const uint8_t* cache,
                     uint8_t* out SINKS_PARAMETER, float* partials, uint32_t* flags) {
  extern __shared__ __align__(1024) uint4 shared[];
  __shared__ int tiles[ATT_MAX_SEQUENCES];
  allow_next_kernel();
  const AttentionArguments a = {q,         query_start, kv_len,         block_table,
                                sequences, cache,       out SINKS_VALUE};
  const DecodeWork work = find_work(a, tiles);
  const int block = blockIdx.x;
  constexpr int kRing = STAGES * kStageUnits;
  uint4* ring = shared + threadIdx.x / 32 * kRing;
  if (work.many_short) {
    await_last_kernel();
    return attend_short_pieces(a, work, ring);
  }
  if (block >= work.blocks) return await_last_kernel();
  float* scratch = reinterpret_cast<float*>(shared);
  const int end = work.begin_of(block + 1);
  Piece p = piece_at(a, work, work.begin_of(block), end);
  start_copies<true>(a, p, ring);
  const LastKey late(a, p);
  await_last_kernel();
  late.copy(ring);
  bool settle = true;
  while (true) {
    Sums s;
    attend_piece(a, p, ring, s, settle);
    settle = false;
    leave_sums(s, scratch + threadIdx.x / 32 * (kRing * 4));
    finish(a, p, work, scratch, kRing * 4, partials, flags);
    if (p.last >= end) break;
    p = piece_after(a, work, p, end);
    start_copies<false>(a, p, ring);
  }
}
#else
#include "attention_decode_cluster.cuh"
#endif

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
// Defined by the host beside the common ones: STAGES, ATT_PAD (dimension in shared memory: 64,
// 128, 256; at least 128 for e4m3).
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
constexpr int kPartialFloats = 16 * ATT_PAD + 32;
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
  int64_t units;  // tiles x pairs
  int64_t blocks;

  __device__ __forceinline__ int64_t begin_of(int64_t block) const {
    return units * block / blocks;
  }
  __device__ __forceinline__ int block_of(int64_t unit) const {
    int block = static_cast<int>(unit * blocks / units);
    while (begin_of(block + 1) <= unit) ++block;
    while (begin_of(block) > unit) --block;
    return block;
  }
  __device__ __forceinline__ int sequence_of(int64_t unit) const {
    int low = 0, high = sequences;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (int64_t{tiles[middle]} * kPairs <= unit ? low : high) = middle;
    }
    return low;
  }
};

__device__ int decode_tiles(const AttentionArguments& a, int s) {
  if (a.query_start[s + 1] - a.query_start[s] != 1) return 0;
  const int last = a.kv_len[s] - 1;
  return last / kTileKeys - first_visible(last) / kTileKeys + 1;
}

/// Prefix sums over the sequences, by the whole block.
__device__ DecodeWork find_work(const AttentionArguments& a, int* tiles) {
  __shared__ int sums[kDecodeWarps];
  const int count = *a.sequences, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int total = 0;
  for (int base = 0; base < count; base += kDecodeWarps * 32) {
    const int s = base + threadIdx.x;
    const int mine = s < count ? decode_tiles(a, s) : 0;
    int sum = mine;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    int before = total;
    for (int w = 0; w < kDecodeWarps; ++w) {
      if (w < warp) before += sums[w];
      total += sums[w];
    }
    if (s < count) tiles[s] = before + sum - mine;
    __syncthreads();
  }
  DecodeWork work = {tiles, count, int64_t{total} * kPairs, gridDim.x};
  if (work.units < work.blocks) work.blocks = work.units;
  return work;
}

/// One run's share of a sequence and KV head.
struct Piece {
  int sequence, pair, first_tile, last_tile, first_key, keys, row;
};

__device__ __forceinline__ void copy_keys(const AttentionArguments& a, const Piece& p, uint4* stage,
                                          int tile) {
  const int lane = threadIdx.x % 32;
  const int start = tile * kTileKeys + threadIdx.x / 32 * kWarpKeys;
  const int* table = a.block_table + int64_t{p.sequence} * ATT_MAX_BLOCKS;
  const bool inside = start < p.keys && start + kWarpKeys > p.first_key;
  const int block = inside ? table[start / ATT_BLOCK_TOKENS] : 0;
  const int token = start % ATT_BLOCK_TOKENS, head = p.pair / kHeadTiles;
  const uint8_t* keys = key_row(a.cache, block, head, token);
  const uint8_t* values = value_row(a.cache, block, head, token);
#pragma unroll
  for (int i = 0; i < kWarpKeys * kUnits / 32; ++i) {
    const int at = i * 32 + lane, r = at / kUnits, unit = at % kUnits;
    const int key = start + r;
    const bool real = key >= p.first_key && key < p.keys && unit < kRowUnits;
    const int offset = real ? (r * kRowUnits + unit) * 16 : 0;
    const uint32_t bytes = real ? 16 : 0;
    uint4* to_key = stage + r * kUnits + (unit ^ (r & 1) * 4);
    uint4* to_value = stage + (kWarpKeys + r) * kUnits + (unit ^ (r & 6));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(to_key))),
                 "l"(keys + offset), "r"(bytes)
                 : "memory");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(to_value))),
                 "l"(values + offset), "r"(bytes)
                 : "memory");
  }
}

/// Query heads of a pair as the first operand, its columns in the order keys are read.
__device__ __forceinline__ void load_query(const AttentionArguments& a, const Piece& p,
                                           uint32_t (&q)[kKSteps][4]) {
  const int lane = threadIdx.x % 32;
  const int kv_head = p.pair / kHeadTiles, first = p.pair % kHeadTiles * 16;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int h = first + half * 8 + lane / 4;
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

__device__ __forceinline__ void attend_tile(const Piece& p, const uint4* stage, int tile,
                                            const uint32_t (&q)[kKSteps][4], Sums& s) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int start = tile * kTileKeys + threadIdx.x / 32 * kWarpKeys;
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
  for (int half = 0; half < 2; ++half) {
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
#pragma unroll
    for (int c = 0; c < kColumns; ++c) s.out[c][half * 2] *= scale, s.out[c][half * 2 + 1] *= scale;
  }
  const uint32_t w[4] = {
      pack_weights(score[0][0], score[0][1]), pack_weights(score[0][2], score[0][3]),
      pack_weights(score[1][0], score[1][1]), pack_weights(score[1][2], score[1][3])};
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

/// Warps' sums to one, in shared memory: [16][ATT_PAD] unnormalised, then tops, then sums.
__device__ void merge_warps(Sums& s, float* scratch, int stride) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
  float* mine = scratch + warp * stride;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 1);
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 2);
    const int row = g + half * 8;
    if (t == 0) {
      mine[16 * ATT_PAD + row] = s.top[half];
      mine[16 * ATT_PAD + 16 + row] = s.sum[half];
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
                                             int d, float value) {
  const int kv_head = p.pair / kHeadTiles, h = p.pair % kHeadTiles * 16 + row;
  if (h >= kGroup || d >= ATT_DIM) return;
  const int64_t at = (int64_t{p.row} * ATT_HEADS + kv_head * kGroup + h) * ATT_DIM + d;
  reinterpret_cast<bf16_t*>(a.out)[at] = to_bf16(value);
}

/// Adds `count` parts at part(i) in order and hands each sum to `store(row, d, sum, top, total)`.
template <class Part, class Store>
__device__ __forceinline__ void add_parts(int count, Part part, Store store) {
  for (int i = threadIdx.x; i < 16 * ATT_PAD; i += kDecodeWarps * 32) {
    const int row = i / ATT_PAD;
    if (row >= kGroup) break;
    // Two passes of independent loads: a chain of them would cost its latency for each part.
    float top = -infinity(), out = 0, total = 0;
#pragma unroll 4
    for (int n = 0; n < count; ++n) top = fmaxf(top, part(n)[16 * ATT_PAD + row]);
#pragma unroll 4
    for (int n = 0; n < count; ++n) {
      const float* x = part(n);
      const float weight = exp2_fast(x[16 * ATT_PAD + row] - top);
      out += x[i] * weight;
      total += x[16 * ATT_PAD + 16 + row] * weight;
    }
    store(row, i % ATT_PAD, out, top, total);
  }
}

__device__ void finish(const AttentionArguments& a, const Piece& p, const DecodeWork& work,
                       float* scratch, int stride, float* partials, uint32_t* flags, int64_t first,
                       int64_t last) {
  __shared__ bool is_last;
  const int from = work.block_of(first), to = work.block_of(last - 1);
  __syncthreads();
  const auto warp_part = [&](int n) { return scratch + n * stride; };
  const auto store = [&](int row, int d, float out, float, float total) {
    store_output(a, p, row, d, out * (ATT_V_SCALE / total));
  };
  if (from == to) {
    add_parts(kDecodeWarps, warp_part, store);
    __syncthreads();
    return;
  }
  // A block has two places: of the pair its run begins in, and of one it begins itself.
  const int slot = work.begin_of(from) >= first ? 0 : 1;
  const auto block_part = [&](int n) {
    return partials + int64_t{(from + n) * 2 + (n == 0 ? slot : 0)} * kPartialFloats;
  };
  float* mine = block_part(static_cast<int>(blockIdx.x) - from);
  add_parts(kDecodeWarps, warp_part, [&](int row, int d, float out, float top, float total) {
    mine[row * ATT_PAD + d] = out;
    if (d == 0) mine[16 * ATT_PAD + row] = top, mine[16 * ATT_PAD + 16 + row] = total;
  });
  __threadfence();
  __syncthreads();
  uint32_t* flag = flags + p.sequence * kPairs + p.pair;
  if (threadIdx.x == 0) is_last = atomicAdd(flag, 1u) == static_cast<uint32_t>(to - from);
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  add_parts(to - from + 1, block_part, store);
  if (threadIdx.x == 0) *flag = 0;
  __syncthreads();
}

__device__ void attend_piece(const AttentionArguments& a, const Piece& p, uint4* ring, Sums& s) {
  uint32_t q[kKSteps][4];
  load_query(a, p, q);
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s.out[c][i] = 0;
  }
  s.top[0] = s.top[1] = -infinity();
  s.sum[0] = s.sum[1] = 0;
#pragma unroll
  for (int i = 0; i < STAGES - 1; ++i) {
    if (p.first_tile + i < p.last_tile) copy_keys(a, p, ring + i * kStageUnits, p.first_tile + i);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  int stage = 0;
  for (int tile = p.first_tile; tile < p.last_tile; ++tile) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
    __syncwarp();
    const int ahead = tile + STAGES - 1;
    const int next = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < p.last_tile) copy_keys(a, p, ring + next * kStageUnits, ahead);
    asm volatile("cp.async.commit_group;" ::: "memory");
    attend_tile(p, ring + stage * kStageUnits, tile, q, s);
    if (++stage == STAGES) stage = 0;
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncwarp();
}

extern "C" __global__ void __launch_bounds__(kDecodeWarps * 32, 1)
    attention_decode(const uint8_t* q, const int* query_start, const int* kv_len,
                     const int* block_table, const int* sequences, const uint8_t* cache,
                     uint8_t* out, float* partials, uint32_t* flags) {
  extern __shared__ __align__(1024) uint4 shared[];
  __shared__ int tiles[ATT_MAX_SEQUENCES];
  const AttentionArguments a = {q, query_start, kv_len, block_table, sequences, cache, out};
  const DecodeWork work = find_work(a, tiles);
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  if (blockIdx.x >= work.blocks) return;
  const int64_t end = work.begin_of(blockIdx.x + 1);
  constexpr int kRing = STAGES * kStageUnits;
  uint4* ring = shared + threadIdx.x / 32 * kRing;
  float* scratch = reinterpret_cast<float*>(shared);
  for (int64_t unit = work.begin_of(blockIdx.x); unit < end;) {
    Piece p;
    p.sequence = work.sequence_of(unit);
    const int count = decode_tiles(a, p.sequence);
    const int64_t base = int64_t{tiles[p.sequence]} * kPairs;
    p.pair = static_cast<int>((unit - base) / count);
    const int64_t first = base + int64_t{p.pair} * count, last = first + count;
    p.row = query_start[p.sequence];
    p.keys = kv_len[p.sequence];
    p.first_key = first_visible(p.keys - 1);
    const int tile0 = p.first_key / kTileKeys;
    p.first_tile = tile0 + static_cast<int>(unit - first);
    p.last_tile = tile0 + static_cast<int>((last < end ? last : end) - first);
    Sums s;
    attend_piece(a, p, ring, s);
    merge_warps(s, scratch, kRing * 4);
    finish(a, p, work, scratch, kRing * 4, partials, flags, first, last);
    unit = last < end ? last : end;
  }
}

// Paged attention of sequences with several query tokens, for Hopper: bound by the tensor cores.
//
// A block takes 128 query tokens of one head: one warpgroup copies keys and values, two of 64 rows
// each multiply and keep the softmax. In flight together are the product of a tile's weights with
// its values and that of the queries with the next tile's keys; the softmax of the latter runs
// under the former, and the two warpgroups take turns in asking for products, so that one's
// softmax runs under the other's products too. Blocks stay for the whole launch and find their
// tiles from query_start, the longest of a sequence first.
//
// With ATT_ROWS = 0 it serves every sequence, for batch-invariant engines: keys come in tiles at
// fixed positions, later ones first, so a token's sums are the same in any chunk of its prompt and
// as a step of its own. The query heads of a KV head are then rows of one tile, so that a step of
// decoding reads the cache once. Keys are also split every SPLIT_TILES tiles: each split has a
// softmax of its own, and splits are added in one order, whether one block does all of them or, of
// few short tiles, each does one and the last to come adds them.
//
// With ATT_TMA one thread copies whole pages by tensor map, and the next queries before they are
// wanted; stale cells (which may hold NaN) are masked as keys and cleared as values. e4m3 comes by
// tensor map too, as it is, a few tiles ahead, and the copying warpgroup widens it to f16 (exactly)
// from shared memory to shared memory; queries become f16 where they lie. Otherwise (bf16 with
// windows, odd pages, few dimensions) the warpgroup copies 16 bytes at a time, zeros for what lies
// outside the sequence.
//
// Defined by the host beside the common ones: ATT_PAD (64, 128, 256), TILE_KEYS, STAGES,
// SPLIT_TILES (0: no splits), SPLIT_SLOTS (of sums that blocks exchange), QUERIES (buffers of
// queries), ATT_TMA (always with e4m3), PAGE_ROWS (of a copy), RAW_TILES (of e4m3 in flight) and
// the products wgmma_scores (64 x TILE_KEYS) and wgmma_values (64 x ATT_PAD).
#pragma once

#include "attention_common.cuh"
#include "hopper.cuh"

static_assert(ATT_DIM == ATT_V_DIM && ATT_KV < 2 && !ATT_Q_F32, "served by attention_any");
static_assert(ATT_KV == 0 || ATT_TMA, "e4m3 comes by tensor map");
constexpr bool kWiden = ATT_KV == 1;
constexpr int kThreads = 384;
constexpr int kPack = ATT_ROWS == 0 ? kGroup : 1;  // query heads of a token that share a tile
constexpr int kItemHeads = ATT_HEADS / kPack;
constexpr int kGroupTokens = 64 / kPack;  // of a warpgroup's rows; what is left over stays idle
constexpr int kTileTokens = 2 * kGroupTokens;
static_assert(kPack <= 64, "a token's heads are rows of one warpgroup");
constexpr int kHalves = ATT_PAD / 64;  // of 64 dimensions: rows of 128 bytes, swizzled
constexpr int kQueryBytes = 64 * ATT_PAD * 2;
constexpr int kTileBytes = TILE_KEYS * ATT_PAD * 2;
constexpr int kRowUnits = ATT_PAD / 8;
constexpr int kSplitTiles = SPLIT_TILES > 0 ? SPLIT_TILES : 1;
constexpr int kCopies = TILE_KEYS * kRowUnits / 128;  // 16 bytes each, a thread
constexpr int kRawBytes = TILE_KEYS * ATT_PAD;        // of a tile as e4m3

#include "attention_items.cuh"

#if !ATT_TMA
__device__ __forceinline__ void copy_tile(const AttentionArguments& a, const Item& it, int tile,
                                          bool values, uint8_t* to) {
  const int thread = threadIdx.x;
  const int* table = a.block_table + int64_t{it.sequence} * ATT_MAX_BLOCKS;
  const int first = first_visible(it.position);
#pragma unroll 4
  for (int i = 0; i < kCopies; ++i) {
    const int at = i * 128 + thread, r = at / kRowUnits, unit = at % kRowUnits;
    const int key = tile * TILE_KEYS + r;
    const bool real = key >= first && key < it.keys && unit * 8 < ATT_DIM;
    const uint8_t* from = a.cache;
    if (real) {
      const int block = table[key / ATT_BLOCK_TOKENS], head = it.kv_head;
      const int token = key % ATT_BLOCK_TOKENS;
      from =
          (values ? value_row(a.cache, block, head, token) : key_row(a.cache, block, head, token)) +
          unit * 16;
    }
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     shared_address(to + swizzled(r, unit, TILE_KEYS))),
                 "l"(from), "r"(real ? 16 : 0)
                 : "memory");
  }
}
#endif

#if ATT_TMA
/// The queries of both warpgroups; by one thread.
__device__ __forceinline__ void load_queries(const Maps& maps, const Item& it, uint8_t* to,
                                             uint64_t* full, uint64_t policy) {
  barrier_expect(full, 2 * kHalves * (kGroupTokens * kPack * 128));
#pragma unroll
  for (int i = 0; i < 2 * kHalves; ++i) {
    const int group = i / kHalves, half = i % kHalves;
    tensor_load_3d(to + group * kQueryBytes + half * (64 * 128), maps.queries, half * 64, it.head,
                   it.row + group * kGroupTokens, full, policy);
  }
}
#endif

#if ATT_KV == 1
/// Where the copies of e4m3 stand, ahead of what is widened. By one warp, a lane a page, whose
/// block is looked up a step before it is wanted.
struct Ahead {
  static constexpr int kPages = TILE_KEYS / PAGE_ROWS;
  static_assert(kPages <= 32, "a lane a page");
  Item item, it;  // it: the split that is copied
  int index, step, key, block;
  bool values;

  __device__ __forceinline__ bool begin(const AttentionArguments& a, const Work& work, int at) {
    index = at, step = 0;
    if (!valid(work)) return false;
    item = item_at(a, work, index);
    it = item.part();
    look(a);
    return true;
  }
  __device__ __forceinline__ bool valid(const Work& work) const { return index < work.items(); }
  __device__ __forceinline__ void look(const AttentionArguments& a) {
    const int count = it.last_tile - it.first_tile, lane = threadIdx.x;
    values = values_at(step, count);
    key = (it.last_tile - 1 - nth_at(step, values)) * TILE_KEYS + lane * PAGE_ROWS;
    // Pages without a visible key may hold no block of this sequence: a neighbour once more.
    const int first = first_visible(it.position);
    const int real = key < first ? first : key < it.keys ? key : it.keys - 1;
    const int* table = a.block_table + int64_t{it.sequence} * ATT_MAX_BLOCKS;
    block = lane < kPages ? table[real / ATT_BLOCK_TOKENS] : 0;
  }
  __device__ __forceinline__ void issue(const Maps& maps, uint8_t* to, uint64_t* full,
                                        uint64_t policy) const {
    if (threadIdx.x == 0) barrier_expect(full, kRawBytes);
    __syncwarp();
    if (threadIdx.x < kPages) {
      const int row = ((values ? ATT_KV_HEADS : 0) + it.kv_head) * ATT_BLOCK_TOKENS;
      tensor_load_3d(to + threadIdx.x * (PAGE_ROWS * ATT_PAD), maps.cache, 0,
                     row + key % ATT_BLOCK_TOKENS, block, full, policy);
    }
  }
  __device__ __forceinline__ void next(const AttentionArguments& a, const Work& work) {
    if (++step < 2 * (it.last_tile - it.first_tile)) return look(a);
    if (it.first_tile == item.first_tile) {
      begin(a, work, index + gridDim.x);
      return;
    }
    step = 0, it = it.before(item);
    look(a);
  }
};

/// A tile of e4m3 to f16, swizzled; zeros for rows outside [first, end). By a warpgroup.
__device__ __forceinline__ void widen_tile(const uint8_t* raw, uint8_t* to, int first, int end) {
  constexpr int kWide = ATT_PAD / 16, kStep = 128 / kWide, kBatch = ATT_PAD == 64 ? 2 : 4;
  const int unit = threadIdx.x % kWide, row = threadIdx.x / kWide;
  // Of eight lanes half write their second unit first: together they touch all banks.
  const bool swap = kWide >= 8 && (unit & 4) != 0;
  uint8_t* const one = to + swizzled(row, unit * 2 + swap, TILE_KEYS);
  uint8_t* const other = to + swizzled(row, unit * 2 + !swap, TILE_KEYS);
  const bool whole = first <= 0 && end >= TILE_KEYS;
#pragma unroll 1
  for (int base = 0; base < TILE_KEYS / kStep; base += kBatch) {
    uint4 v[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int r = (base + i) * kStep + row;
      v[i] = *reinterpret_cast<const uint4*>(raw + r * ATT_PAD + unit * 16);
      if (!whole && (r < first || r >= end)) v[i] = make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const uint32_t words[4] = {swap ? v[i].z : v[i].x, swap ? v[i].w : v[i].y,
                                 swap ? v[i].x : v[i].z, swap ? v[i].y : v[i].w};
      uint32_t wide[8];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        wide[w * 2] = e4m3_to_f16(static_cast<uint16_t>(words[w]));
        wide[w * 2 + 1] = e4m3_to_f16(static_cast<uint16_t>(words[w] >> 16));
      }
      const int at = (base + i) * kStep * 128;
      *reinterpret_cast<uint4*>(one + at) = make_uint4(wide[0], wide[1], wide[2], wide[3]);
      *reinterpret_cast<uint4*>(other + at) = make_uint4(wide[4], wide[5], wide[6], wide[7]);
    }
  }
}

/// Tiles of keys and of values alternate in one ring of 2 * STAGES places; by a warpgroup.
__device__ void produce(const AttentionArguments& a, const Maps& maps, const Work& work,
                        uint8_t* queries, uint8_t* ring, uint64_t* full, uint64_t* empty,
                        uint64_t* queries_full, uint64_t* queries_empty, uint64_t* raw_full) {
  constexpr int kPlaces = 2 * STAGES;
  const uint64_t policy = policy_evict_normal();
  uint8_t* const raw = ring + kPlaces * kTileBytes;
  const bool issues = threadIdx.x < 32;
  Ahead ahead;
  if (issues && ahead.begin(a, work, blockIdx.x)) {
    for (int i = 0; i < RAW_TILES && ahead.valid(work); ++i) {
      ahead.issue(maps, raw + i * kRawBytes, &raw_full[i], policy);
      ahead.next(a, work);
    }
  }
  int place = 0, from = 0;
  uint32_t phase = 1, queries_phase = 1, raw_phase = 0;
  for (int index = blockIdx.x; index < work.items(); index += gridDim.x) {
    const Item item = item_at(a, work, index);
    const int first = first_visible(item.position);
    for (Item it = item.part();; it = it.before(item)) {
      const int count = it.last_tile - it.first_tile;
      for (int step = 0; step < 2 * count; ++step) {
        // The first keys of the next queries are there before the last ones' buffer is free.
        if (it.last_tile == item.last_tile && step == (index == blockIdx.x ? 0 : 1) &&
            threadIdx.x == 0) {
          barrier_wait(queries_empty, queries_phase);
          load_queries(maps, item, queries, queries_full, policy);
        }
        const int nth = nth_at(step, values_at(step, count));
        const int key = (it.last_tile - 1 - nth) * TILE_KEYS;
        barrier_wait(&raw_full[from], raw_phase);
        barrier_wait(&empty[place], phase);
        widen_tile(raw + from * kRawBytes, ring + place * kTileBytes, first - key, it.keys - key);
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        barrier_arrive(&full[place]);
        named_barrier(1, 128);  // all have read the copy
        if (issues && ahead.valid(work)) {
          ahead.issue(maps, raw + from * kRawBytes, &raw_full[from], policy);
          ahead.next(a, work);
        }
        if (++from == RAW_TILES) from = 0, raw_phase ^= 1;
        if (++place == kPlaces) place = 0, phase ^= 1;
      }
      if (it.first_tile == item.first_tile) break;
    }
    queries_phase ^= 1;
  }
}

/// A warpgroup's queries, to f16 where they lie.
__device__ __forceinline__ void narrow_queries(uint8_t* queries, int group) {
#pragma unroll 4
  for (int i = threadIdx.x % 128; i < kQueryBytes / 16; i += 128) {
    uint4& v = reinterpret_cast<uint4*>(queries)[i];
    const uint4 x = v;
    v = make_uint4(pack_f16(bf16_low(x.x), bf16_high(x.x)), pack_f16(bf16_low(x.y), bf16_high(x.y)),
                   pack_f16(bf16_low(x.z), bf16_high(x.z)),
                   pack_f16(bf16_low(x.w), bf16_high(x.w)));
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  named_barrier(2 + group, 128);
}
#elif ATT_TMA
/// A tile of keys or values, page by page.
__device__ __forceinline__ void load_tile(const AttentionArguments& a, const Maps& maps,
                                          const Item& it, int tile, bool values, uint8_t* to,
                                          uint64_t* full, uint64_t policy) {
  const int* table = a.block_table + int64_t{it.sequence} * ATT_MAX_BLOCKS;
  const int row = ((values ? ATT_KV_HEADS : 0) + it.kv_head) * ATT_BLOCK_TOKENS;
  barrier_expect(full, kTileBytes);
#pragma unroll
  for (int p = 0; p < TILE_KEYS / PAGE_ROWS; ++p) {
    // Pages beyond the last hold no block of this sequence: the last once more, masked later.
    const int key = tile * TILE_KEYS + p * PAGE_ROWS;
    const int page = (key < it.keys ? key : it.keys - 1) / ATT_BLOCK_TOKENS;
    const int block = table[page];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      tensor_load_3d(to + (half * TILE_KEYS + p * PAGE_ROWS) * 128, maps.cache, half * 64,
                     row + key % ATT_BLOCK_TOKENS, block, full, policy);
    }
  }
}

/// Tiles of keys and of values alternate in one ring of 2 * STAGES places; by one thread.
__device__ void produce(const AttentionArguments& a, const Maps& maps, const Work& work,
                        uint8_t* queries, uint8_t* ring, uint64_t* full, uint64_t* empty,
                        uint64_t* queries_full, uint64_t* queries_empty) {
  constexpr int kPlaces = 2 * STAGES;
  const uint64_t policy = policy_evict_normal();
  int place = 0, buffer = 0;
  uint32_t phase = 1, queries_phase = 1;
  for (int index = blockIdx.x; index < work.items(); index += gridDim.x) {
    const Item item = item_at(a, work, index);
    barrier_wait(&queries_empty[buffer], queries_phase);
    load_queries(maps, item, queries + buffer * 2 * kQueryBytes, &queries_full[buffer], policy);
    if (++buffer == QUERIES) buffer = 0, queries_phase ^= 1;
#pragma unroll 1
    for (Item it = item.part();; it = it.before(item)) {
      const int count = it.last_tile - it.first_tile;
#pragma unroll 1
      for (int step = 0; step < 2 * count; ++step) {
        const bool values = values_at(step, count);
        const int nth = nth_at(step, values);
        barrier_wait(&empty[place], phase);
        load_tile(a, maps, it, it.last_tile - 1 - nth, values, ring + place * kTileBytes,
                  &full[place], policy);
        if (++place == kPlaces) place = 0, phase ^= 1;
      }
      if (it.first_tile == item.first_tile) break;
    }
  }
}

/// Values of a tile beyond the sequence to zeros: their weights are zero, but NaN x 0 is NaN. Each
/// warpgroup clears for itself, so that none waits for the other.
__device__ __forceinline__ void clear_values(const Item& it, int tile, int group, uint8_t* values) {
  const int first = it.keys - tile * TILE_KEYS;
  for (int i = first * kRowUnits + threadIdx.x % 128; i < TILE_KEYS * kRowUnits; i += 128) {
    *reinterpret_cast<uint4*>(values + swizzled(i / kRowUnits, i % kRowUnits, TILE_KEYS)) =
        make_uint4(0, 0, 0, 0);
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  named_barrier(2 + group, 128);
}
#else
/// The copies of this thread but the last `kPending` groups are there for wgmma to see.
template <int kPending>
__device__ __forceinline__ void publish(uint64_t* full) {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  barrier_arrive(full);
}

/// Tiles of keys and of values alternate in one ring of 2 * STAGES places.
__device__ void produce(const AttentionArguments& a, const Work& work, uint8_t* ring,
                        uint64_t* full, uint64_t* empty) {
  constexpr int kPlaces = 2 * STAGES;
  int place = 0, before = -1;
  uint32_t phase = 1;
  for (int index = blockIdx.x; index < work.items(); index += gridDim.x) {
    const Item item = item_at(a, work, index);
    for (Item it = item.part();; it = it.before(item)) {
      const int count = it.last_tile - it.first_tile;
      for (int step = 0; step < 2 * count; ++step) {
        const bool values = values_at(step, count);
        const int nth = nth_at(step, values);
        barrier_wait(&empty[place], phase);
        copy_tile(a, it, it.last_tile - 1 - nth, values, ring + place * kTileBytes);
        asm volatile("cp.async.commit_group;" ::: "memory");
        if (before >= 0) publish<1>(&full[before]);
        before = place;
        if (++place == kPlaces) place = 0, phase ^= 1;
      }
      if (it.first_tile == item.first_tile) break;
    }
  }
  if (before >= 0) publish<0>(&full[before]);
}
#endif

struct Softmax {
  float top[2] = {-infinity(), -infinity()}, sum[2] = {0, 0}, scale[2];

  /// Scores to weights in place; `scale` is what earlier sums are to be multiplied by.
  template <bool kMasked>
  __device__ __forceinline__ void update(float (&s)[TILE_KEYS / 2], const Item& it, int row,
                                         int tile) {
    constexpr float kFactor = ATT_SOFTCAP > 0 ? 1.0f : kScoreScale * kLog2E;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int position = it.position + token_of(row + half * 8);
      const int last = position < it.keys ? position : it.keys - 1;
      const int first = first_visible(position);
      float most = top[half];
#pragma unroll
      for (int i = 0; i < TILE_KEYS / 4; ++i) {
        float& x = s[i / 2 * 4 + half * 2 + i % 2];
        if (ATT_SOFTCAP > 0) x = score_exponent(x);
        if (kMasked) {
          const int key = tile * TILE_KEYS + i / 2 * 8 + t * 2 + i % 2;
          if (key > last || key < first) x = -infinity();
        }
        most = fmaxf(most, x);
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -infinity() ? 0.0f : most * kFactor;
      scale[half] = exp2_fast(top[half] * kFactor - base);
      top[half] = most;
      float added = 0;
#pragma unroll
      for (int i = 0; i < TILE_KEYS / 4; ++i) {
        float& x = s[i / 2 * 4 + half * 2 + i % 2];
        x = exp2_fast(x * kFactor - base);
        added += x;
      }
      sum[half] = sum[half] * scale[half] + added;
    }
  }
};

#if !ATT_TMA
/// 64 query rows to shared memory, zeros beyond them; by one warpgroup.
__device__ __forceinline__ void load_queries(const AttentionArguments& a, const Item& it, int group,
                                             uint8_t* to) {
#pragma unroll 4
  for (int i = threadIdx.x % 128; i < 64 * kRowUnits; i += 128) {
    const int r = i / kRowUnits, unit = i % kRowUnits;
    const int token = group * kGroupTokens + r / kPack;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (r < kGroupTokens * kPack && token < it.tokens && unit * 8 < ATT_DIM) {
      const int64_t row = (int64_t{it.row} + token) * ATT_HEADS + it.head + r % kPack;
      v = *reinterpret_cast<const uint4*>(a.q + (row * ATT_DIM + unit * 8) * 2);
    }
    *reinterpret_cast<uint4*>(to + swizzled(r, unit, 64)) = v;
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  named_barrier(2 + group, 128);
}
#endif

__device__ __forceinline__ void multiply_scores(float (&s)[TILE_KEYS / 2], const uint8_t* queries,
                                                const uint8_t* keys) {
  const uint64_t a = wgmma_descriptor(queries), b = wgmma_descriptor(keys);
#pragma unroll
  for (int k = 0; k < ATT_PAD / 16; ++k) {
    wgmma_scores(s, a + k / 4 * (64 * 128 / 16) + k % 4 * 2,
                 b + k / 4 * (TILE_KEYS * 128 / 16) + k % 4 * 2, k > 0);
  }
}

__device__ __forceinline__ void store_rows(const AttentionArguments& a, const Item& it, int group,
                                           const float (&out)[ATT_PAD / 2], Softmax& m) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    m.sum[half] += __shfl_xor_sync(~0u, m.sum[half], 1);
    m.sum[half] += __shfl_xor_sync(~0u, m.sum[half], 2);
    const int row = warp * 16 + lane / 4 + half * 8;  // of the warpgroup
    const int token = group * kGroupTokens + row / kPack;
    if (row >= kGroupTokens * kPack || token >= it.tokens) continue;
    constexpr float kFactor = ATT_SOFTCAP > 0 ? 1.0f : kScoreScale * kLog2E;
    const int head = it.head + row % kPack;
    const float scale = ATT_V_SCALE / (m.sum[half] + sink_weight(a, head, m.top[half] * kFactor));
    const int64_t at = (int64_t{it.row} + token) * ATT_HEADS + head;
    uint8_t* to = a.out + at * (ATT_DIM * 2);
#pragma unroll
    for (int c = 0; c < ATT_PAD / 8; ++c) {
      const int d = c * 8 + lane % 4 * 2;
      if (d >= ATT_DIM) continue;
      *reinterpret_cast<uint32_t*>(to + d * 2) =
          pack_bf16(out[c * 4 + half * 2] * scale, out[c * 4 + half * 2 + 1] * scale);
    }
  }
}

#include "attention_splits.cuh"

struct Places {
  int place = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++place == 2 * STAGES) place = 0, phase ^= 1;
  }
};

/// Weights of a tile to the operand of the product with its values; sums so far to its scale.
__device__ __forceinline__ void weigh(const float (&s)[TILE_KEYS / 2], float (&out)[ATT_PAD / 2],
                                      uint32_t (&w)[TILE_KEYS / 4], const Softmax& m) {
#pragma unroll
  for (int i = 0; i < TILE_KEYS / 4; ++i) {
    w[i] = kWiden ? pack_f16(s[i * 2], s[i * 2 + 1]) : pack_bf16(s[i * 2], s[i * 2 + 1]);
  }
#pragma unroll
  for (int i = 0; i < ATT_PAD / 2; ++i) out[i] *= m.scale[i / 2 % 2];
}

struct Consumer {
  const uint8_t* queries;
  uint8_t* ring;
  uint64_t *full, *empty;
  int group, row;
  Places at;

  /// The product with the values of tile + 1 and, under it, the scores and softmax of `tile`.
  template <bool kMasked>
  __device__ __forceinline__ void step(float (&s)[TILE_KEYS / 2], float (&out)[ATT_PAD / 2],
                                       uint32_t (&w)[TILE_KEYS / 4], Softmax& m, const Item& it,
                                       int tile) {
    const bool leader = threadIdx.x % 32 == 0;
    const Places keys = at;
    at.advance();
    const Places values = at;
    at.advance();
    barrier_wait(&full[keys.place], keys.phase);
    await_turn(group);
    wgmma_hold(s);
    wgmma_hold(out);
    wgmma_fence();
    multiply_scores(s, queries, ring + keys.place * kTileBytes);
    wgmma_commit();
    barrier_wait(&full[values.place], values.phase);
    wgmma_fence();  // by hand: the compiler's own, behind a wait, would serialize the products
    multiply_values(out, w, ring + values.place * kTileBytes);
    wgmma_commit();
    pass_turn(group);
    wgmma_wait<1>();
    wgmma_hold(s);
    if (leader) barrier_arrive(&empty[keys.place]);
    m.update<kMasked>(s, it, row, tile);
    wgmma_wait<0>();
    wgmma_hold(out);
    if (leader) barrier_arrive(&empty[values.place]);
    weigh(s, out, w, m);
  }
};

/// The softmax and the sums of the item's keys, once its queries are there.
__device__ __forceinline__ void attend_keys(Consumer& c, const Item& it, float (&out)[ATT_PAD / 2],
                                            Softmax& m, uint64_t* queries_done) {
  const int lane = threadIdx.x % 32;
  float s[TILE_KEYS / 2];
  uint32_t w[TILE_KEYS / 4];
  m = Softmax();
#pragma unroll
  for (int i = 0; i < ATT_PAD / 2; ++i) out[i] = 0;
  barrier_wait(&c.full[c.at.place], c.at.phase);
  await_turn(c.group);
  wgmma_hold(s);
  wgmma_fence();
  multiply_scores(s, c.queries, c.ring + c.at.place * kTileBytes);
  wgmma_commit();
  pass_turn(c.group);
  wgmma_wait<0>();
  wgmma_hold(s);
  if (lane == 0) barrier_arrive(&c.empty[c.at.place]);
  c.at.advance();
  m.update<true>(s, it, c.row, it.last_tile - 1);
  weigh(s, out, w, m);
#if ATT_TMA && ATT_KV == 0
  if (it.last_tile * TILE_KEYS > it.keys) {
    Places values = c.at;
    if (it.last_tile - it.first_tile > 1) values.advance();
    barrier_wait(&c.full[values.place], values.phase);
    clear_values(it, it.last_tile - 1, c.group, c.ring + values.place * kTileBytes);
  }
#endif
  // Tiles from here down lie wholly before every row of this warpgroup.
  const int whole = ATT_WINDOW > 0 ? 0 : (it.position + c.group * kGroupTokens + 1) / TILE_KEYS;
  int tile = it.last_tile - 2;
  for (; tile >= it.first_tile && tile >= whole; --tile) {
    c.step<true>(s, out, w, m, it, tile);
  }
  for (; tile >= it.first_tile; --tile) c.step<false>(s, out, w, m, it, tile);
  if (queries_done != nullptr && lane == 0) barrier_arrive(queries_done);
  barrier_wait(&c.full[c.at.place], c.at.phase);
  wgmma_hold(out);
  wgmma_fence();
  multiply_values(out, w, c.ring + c.at.place * kTileBytes);
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(out);
  if (lane == 0) barrier_arrive(&c.empty[c.at.place]);
  c.at.advance();
}

__device__ void consume(const AttentionArguments& a, const Work& work, const Exchange& exchange,
                        uint8_t* queries, uint8_t* ring, uint64_t* full, uint64_t* empty,
                        uint64_t* queries_full, uint64_t* queries_empty) {
  const int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
  Consumer c;
  c.ring = ring, c.full = full, c.empty = empty, c.group = group;
  c.row = group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
  int buffer = 0;
  uint32_t queries_phase = 0;
  if (group == 1) pass_turn(group);  // the first turn is group 0's
  for (int index = blockIdx.x; index < work.items(); index += gridDim.x) {
    const Item it = item_at(a, work, index);
    const bool busy = group * kGroupTokens < it.tokens;
    float out[ATT_PAD / 2];
    Softmax m;
    c.queries = queries + (buffer * 2 + group) * kQueryBytes;
    // Where warpgroups fetch queries themselves nobody waits for a buffer.
    uint64_t* const queries_done = ATT_TMA ? &queries_empty[buffer] : nullptr;
#if ATT_TMA
    barrier_wait(&queries_full[buffer], queries_phase);
#if ATT_KV == 1
    narrow_queries(queries + group * kQueryBytes, group);
#endif
#else
    load_queries(a, it, group, queries + group * kQueryBytes);
#endif
    if constexpr (SPLIT_TILES == 0) {
      attend_keys(c, it, out, m, queries_done);
    } else {
      for (Item part = it.part();; part = part.before(it)) {
        const bool last = part.first_tile == it.first_tile;
        attend_keys(c, part, out, m, last ? queries_done : nullptr);
        if (busy && part.last_tile < it.last_tile) add_sums(exchange.own(group), out, m);
        if (last) break;
        if (busy) leave_sums(exchange.own(group), out, m);
      }
    }
    if (++buffer == QUERIES) buffer = 0, queries_phase ^= 1;
    if (SPLIT_TILES > 0 && (!busy || (it.slots > 0 && !meet(exchange, it, group, out, m))))
      continue;
    store_rows(a, it, group, out, m);
  }
}

#if ATT_TMA
#define MAP_PARAMETERS \
  , const __grid_constant__ TensorMap cache_map, const __grid_constant__ TensorMap query_map
#else
#define MAP_PARAMETERS
#endif

#if SPLIT_TILES > 0
#define EXCHANGE_PARAMETERS , float4 *sums, uint32_t *flags
#else
#define EXCHANGE_PARAMETERS
#endif

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    attention_prefill(const uint8_t* q, const int* query_start, const int* kv_len,
                      const int* block_table, const int* sequences, const uint8_t* cache,
                      uint8_t* out SINKS_PARAMETER EXCHANGE_PARAMETERS MAP_PARAMETERS) {
  extern __shared__ __align__(1024) uint8_t shared[];
  __shared__ uint64_t full[2 * STAGES], empty[2 * STAGES], queries_full[2], queries_empty[2];
  __shared__ uint64_t raw_full[RAW_TILES + 1];
  __shared__ int pieces[ATT_MAX_SEQUENCES];
  const AttentionArguments a = {q,         query_start, kv_len,         block_table,
                                sequences, cache,       out SINKS_VALUE};
  // Dynamic memory begins after the static: tiles of swizzled rows want multiples of 1024.
  uint8_t* queries = shared + (1024 - shared_address(shared) % 1024) % 1024;
  uint8_t* ring = queries + QUERIES * 2 * kQueryBytes;
  launch_dependents();
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2 * STAGES; ++i) {
      barrier_init(&full[i], ATT_TMA && !kWiden ? 1 : 128);
      barrier_init(&empty[i], 8);
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(&queries_full[i], 1);
      barrier_init(&queries_empty[i], 8);
    }
    for (int i = 0; i < RAW_TILES; ++i) barrier_init(&raw_full[i], 1);
    barrier_init_fence();
  }
  const int count = *sequences;
#if SPLIT_TILES > 0
  const Exchange exchange = {sums, flags};
  bool split = true;
  int total = find_pieces(a, count, split, pieces);
  if (total * kItemHeads > SPLIT_SLOTS) {
    split = false;
    total = find_pieces(a, count, split, pieces);
  }
#else
  const Exchange exchange = {};
  constexpr bool split = false;
  const int total = find_pieces(a, count, split, pieces);
#endif
  const Work work = {pieces, total, count, split};
  __syncthreads();
  wait_dependencies();
  if (threadIdx.x < 128) {
#if ATT_KV == 1
    registers_give<72>();
    const Maps maps = {&cache_map, &query_map};
    produce(a, maps, work, queries, ring, full, empty, queries_full, queries_empty, raw_full);
#elif ATT_TMA
    registers_give<40>();
    const Maps maps = {&cache_map, &query_map};
    if (threadIdx.x == 0) {
      produce(a, maps, work, queries, ring, full, empty, queries_full, queries_empty);
    }
#else
    registers_give<72>();
    produce(a, work, ring, full, empty);
#endif
  } else {
    registers_take<ATT_TMA && !kWiden ? 232 : 216>();
    consume(a, work, exchange, queries, ring, full, empty, queries_full, queries_empty);
  }
}

// Paged attention of sequences with several query tokens over an e4m3 cache, for Hopper: as
// attention_prefill.cuh, where rows have 65 to 128 dimensions and no window.
//
// Keys are multiplied as they lie. A row of queries becomes two of e4m3, what e4m3 holds of it and
// the rest, under a scale of its own that is a power of two: together they are its bf16 exactly,
// but for elements below a thousandth of the row's largest. Scores are sums of two e4m3 products.
// Values are widened to f16 (exactly), from shared memory to shared memory, with weights in f16.
//
// A block takes 128 query tokens of one head: one warp copies, by tensor maps, three widen values,
// two warpgroups of 64 rows each multiply and keep the softmax. Stale cells (which may hold NaN)
// are masked as keys and cleared as values.
//
// Defined by the host beside the common ones: ATT_PAD (128), TILE_KEYS (128), PAGE_ROWS (of a
// copy), RAW_TILES (of values as they lie in flight) and the products wgmma_scores (64 x TILE_KEYS,
// of e4m3) and wgmma_values (64 x ATT_PAD, of f16).
#pragma once

#include "attention_common.cuh"
#include "hopper.cuh"

static_assert(ATT_DIM == ATT_V_DIM && ATT_KV == 1 && !ATT_Q_F32, "served by others");
static_assert(ATT_PAD == 128 && ATT_WINDOW == 0, "rows of 128 bytes, all keys visible");
constexpr int kKeyPlaces = 3, kValuePlaces = 3;
constexpr int kPlaces = kKeyPlaces + kValuePlaces;
constexpr int kThreads = 384;
constexpr int kTileRows = 128;
constexpr int kHalves = ATT_PAD / 64;  // of 64 dimensions: rows of 128 bytes, swizzled
constexpr int kQueryBytes = 64 * ATT_PAD * 2;
constexpr int kTileBytes = TILE_KEYS * ATT_PAD * 2;
constexpr int kRawBytes = TILE_KEYS * ATT_PAD;  // of a tile as e4m3

#include "attention_tiles.cuh"

struct Places {
  int place = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance(int count) {
    if (++place == count) place = 0, phase ^= 1;
  }
};

struct Item {
  int sequence, head, row, rows, position, keys, first_tile, last_tile;
};

/// tiles[s]: tiles of 128 queries before sequence s; by the whole block. Returns their number.
__device__ int find_tiles(const int* query_start, int count, int* tiles) {
  return sums_before(count, tiles, [&](int s) {
    const int rows = query_start[s + 1] - query_start[s];
    return rows > 1 ? (rows + kTileRows - 1) / kTileRows : 0;
  });
}

__device__ __forceinline__ Item item_at(const AttentionArguments& a, const int* tiles, int total,
                                        int sequences, int index) {
  Item it;
  const int tile = total - 1 - index / ATT_HEADS;
  it.head = index % ATT_HEADS;
  int low = 0, high = sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (tiles[middle] <= tile ? low : high) = middle;
  }
  it.sequence = low;
  const int start = a.query_start[low], end = a.query_start[low + 1];
  const int offset = (tile - tiles[low]) * kTileRows;
  it.row = start + offset;
  it.rows = end - it.row < kTileRows ? end - it.row : kTileRows;
  it.keys = a.kv_len[low];
  it.position = it.keys - (end - it.row);
  it.first_tile = first_visible(it.position) / TILE_KEYS;
  it.last_tile = (it.position + it.rows - 1) / TILE_KEYS + 1;
  return it;
}

/// The queries of both warpgroups; by one thread.
__device__ __forceinline__ void load_queries(const Maps& maps, const Item& it, uint8_t* to,
                                             uint64_t* full, uint64_t policy) {
  barrier_expect(full, 2 * kQueryBytes);
#pragma unroll
  for (int i = 0; i < 2 * kHalves; ++i) {
    const int group = i / kHalves, half = i % kHalves;
    tensor_load_3d(to + group * kQueryBytes + half * (64 * 128), maps.queries, half * 64, it.head,
                   it.row + group * 64, full, policy);
  }
}

/// Where the copies of e4m3 stand, ahead of what is widened. By one warp, a lane a page, whose
/// block is looked up a step before it is wanted.
struct Ahead {
  static constexpr int kPages = TILE_KEYS / PAGE_ROWS;
  static_assert(kPages <= 32, "a lane a page");
  Item it;
  int index, end, step, key, block;
  bool values;

  __device__ __forceinline__ bool valid() const { return index < end; }
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
      const int row = ((values ? ATT_KV_HEADS : 0) + it.head / kGroup) * ATT_BLOCK_TOKENS;
      tensor_load_3d(to + threadIdx.x * (PAGE_ROWS * ATT_PAD), maps.cache, 0,
                     row + key % ATT_BLOCK_TOKENS, block, full, policy);
    }
  }
  __device__ __forceinline__ void next(const AttentionArguments& a, const int* tiles, int total,
                                       int sequences) {
    if (++step == 2 * (it.last_tile - it.first_tile)) {
      step = 0;
      index += gridDim.x;
      if (!valid()) return;
      it = item_at(a, tiles, total, sequences, index);
    }
    look(a);
  }
};

constexpr int kWideners = 96;

/// Queries of a warpgroup, where they lie: 64 rows of 128 bytes, and as many of what is left.
/// `inverse`: of each row's scale.
__device__ __forceinline__ void split_queries(uint8_t* queries, int group, float* inverse) {
  const int row = threadIdx.x % 128 / 2, half = threadIdx.x % 2;
  uint4 x[8];
  float most = 0;
#pragma unroll
  for (int u = 0; u < 8; ++u) {
    x[u] = *reinterpret_cast<const uint4*>(queries + swizzled(row, half * 8 + u, 64));
    const uint32_t words[4] = {x[u].x, x[u].y, x[u].z, x[u].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      most = fmaxf(most, fmaxf(fabsf(bf16_low(words[i])), fabsf(bf16_high(words[i]))));
    }
  }
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
  // The largest element comes to lie in [128, 256).
  const int exponent = 261 - static_cast<int>(__float_as_uint(most) >> 23);
  const int bounded = exponent > 253 ? 253 : exponent;
  const float scale = __uint_as_float(static_cast<uint32_t>(bounded) << 23);
  if (half == 0) inverse[row] = __uint_as_float(static_cast<uint32_t>(254 - bounded) << 23);
  named_barrier(2 + group, 128);  // all are read
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    uint32_t first[4], rest[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4& from = x[u * 2 + i / 2];
      const uint32_t words[2] = {i % 2 == 0 ? from.x : from.z, i % 2 == 0 ? from.y : from.w};
      uint32_t parts[2][2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float low = bf16_low(words[j]) * scale, high = bf16_high(words[j]) * scale;
        const uint16_t near = pack_e4m3(low, high);
        const uint32_t held = e4m3_to_f16(near);
        parts[0][j] = near;
        parts[1][j] = pack_e4m3(low - f16_low(held), high - f16_low(held >> 16));
      }
      first[i] = parts[0][0] | parts[0][1] << 16;
      rest[i] = parts[1][0] | parts[1][1] << 16;
    }
    uint8_t* const to = queries + swizzled(row, half * 4 + u, 64);
    *reinterpret_cast<uint4*>(to) = make_uint4(first[0], first[1], first[2], first[3]);
    *reinterpret_cast<uint4*>(to + 64 * 128) = make_uint4(rest[0], rest[1], rest[2], rest[3]);
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  named_barrier(2 + group, 128);
}

__device__ __forceinline__ void multiply_keys(float (&s)[TILE_KEYS / 2], const uint8_t* queries,
                                              const uint8_t* keys) {
  const uint64_t first = wgmma_descriptor(queries), rest = first + 64 * 128 / 16;
  const uint64_t b = wgmma_descriptor(keys);
#pragma unroll
  for (int k = 0; k < ATT_PAD / 32; ++k) wgmma_scores(s, rest + k * 2, b + k * 2, k > 0);
#pragma unroll
  for (int k = 0; k < ATT_PAD / 32; ++k) wgmma_scores(s, first + k * 2, b + k * 2, 1);
}

/// As widen_tile, by three warps.
__device__ __forceinline__ void widen_values(const uint8_t* raw, uint8_t* to, int first, int end) {
  constexpr int kWide = ATT_PAD / 16, kUnits = TILE_KEYS * kWide;
  const bool whole = first <= 0 && end >= TILE_KEYS;
#pragma unroll 4
  for (int at = threadIdx.x - 32; at < kUnits; at += kWideners) {
    const int unit = at % kWide, r = at / kWide;
    uint4 v = *reinterpret_cast<const uint4*>(raw + at * 16);
    if (!whole && (r < first || r >= end)) v = make_uint4(0, 0, 0, 0);
    // Of eight lanes half write their second unit first: together they touch all banks.
    const bool swap = (unit & 4) != 0;
    const uint32_t words[4] = {swap ? v.z : v.x, swap ? v.w : v.y, swap ? v.x : v.z,
                               swap ? v.y : v.w};
    uint32_t wide[8];
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      wide[w * 2] = e4m3_to_f16(static_cast<uint16_t>(words[w]));
      wide[w * 2 + 1] = e4m3_to_f16(static_cast<uint16_t>(words[w] >> 16));
    }
    *reinterpret_cast<uint4*>(to + swizzled(r, unit * 2 + swap, TILE_KEYS)) =
        make_uint4(wide[0], wide[1], wide[2], wide[3]);
    *reinterpret_cast<uint4*>(to + swizzled(r, unit * 2 + !swap, TILE_KEYS)) =
        make_uint4(wide[4], wide[5], wide[6], wide[7]);
  }
}

struct KeyBarriers {
  uint64_t *full, *empty;          // places of keys, then of values
  uint64_t *raw_full, *raw_empty;  // of values as they lie
  uint64_t *queries_full, *queries_empty;
};

/// By one warp, a lane a page.
__device__ void copy_tiles(const AttentionArguments& a, const Maps& maps, const void* key_map,
                           const int* tiles, int total, int sequences, uint8_t* queries,
                           uint8_t* ring, const KeyBarriers& barriers) {
  const uint64_t policy = policy_evict_normal();
  uint8_t* const raw = ring + kKeyPlaces * kRawBytes + kValuePlaces * kTileBytes;
  const Maps keys = {key_map, maps.queries};
  Places key, value;
  uint32_t queries_phase = 1;
  Ahead ahead;
  ahead.index = blockIdx.x, ahead.end = total * ATT_HEADS, ahead.step = 0;
  if (!ahead.valid()) return;
  ahead.it = item_at(a, tiles, total, sequences, ahead.index);
  ahead.look(a);
  while (ahead.valid()) {
    if (ahead.values) {
      barrier_wait(&barriers.raw_empty[value.place], value.phase ^ 1);
      ahead.issue(maps, raw + value.place * kRawBytes, &barriers.raw_full[value.place], policy);
      value.advance(RAW_TILES);
    } else {
      barrier_wait(&barriers.empty[key.place], key.phase ^ 1);
      ahead.issue(keys, ring + key.place * kRawBytes, &barriers.full[key.place], policy);
      key.advance(kKeyPlaces);
    }
    if (ahead.step == 0) {
      if (threadIdx.x == 0) {
        barrier_wait(barriers.queries_empty, queries_phase);
        load_queries(maps, ahead.it, queries, barriers.queries_full, policy);
      }
      queries_phase ^= 1;
      __syncwarp();
    }
    ahead.next(a, tiles, total, sequences);
  }
}

/// By three warps.
__device__ void widen_tiles(const AttentionArguments& a, const int* tiles, int total, int sequences,
                            uint8_t* ring, const KeyBarriers& barriers) {
  uint8_t* const values = ring + kKeyPlaces * kRawBytes;
  const uint8_t* const raw = values + kValuePlaces * kTileBytes;
  Places from, to;
  for (int index = blockIdx.x; index < total * ATT_HEADS; index += gridDim.x) {
    const Item it = item_at(a, tiles, total, sequences, index);
    const int first = first_visible(it.position);
    for (int tile = it.last_tile - 1; tile >= it.first_tile; --tile) {
      const int key = tile * TILE_KEYS;
      barrier_wait(&barriers.raw_full[from.place], from.phase);
      barrier_wait(&barriers.empty[kKeyPlaces + to.place], to.phase ^ 1);
      widen_values(raw + from.place * kRawBytes, values + to.place * kTileBytes, first - key,
                   it.keys - key);
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      barrier_arrive(&barriers.full[kKeyPlaces + to.place]);
      __syncwarp();
      if (threadIdx.x % 32 == 0) barrier_arrive(&barriers.raw_empty[from.place]);
      from.advance(RAW_TILES), to.advance(kValuePlaces);
    }
  }
}

struct Softmax {
  float top[2] = {-infinity(), -infinity()}, sum[2] = {0, 0}, scale[2];
  float inverse[2];  // of the rows' scales

  /// Scores to weights in place; `scale` is what earlier sums are to be multiplied by.
  template <bool kMasked>
  __device__ __forceinline__ void update(float (&s)[TILE_KEYS / 2], const Item& it, int row,
                                         int tile) {
    constexpr float kFactor = ATT_SOFTCAP > 0 ? 1.0f : kScoreScale * kLog2E;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int position = it.position + row + half * 8;
      const int last = position < it.keys ? position : it.keys - 1;
      const int first = first_visible(position);
      float most = top[half];
      const float unscaled = inverse[half];
      const float factor = ATT_SOFTCAP > 0 ? 1.0f : kFactor * unscaled;
#pragma unroll
      for (int i = 0; i < TILE_KEYS / 4; ++i) {
        float& x = s[i / 2 * 4 + half * 2 + i % 2];
        if (ATT_SOFTCAP > 0) x = score_exponent(x * unscaled);
        if (kMasked) {
          const int key = tile * TILE_KEYS + i / 2 * 8 + t * 2 + i % 2;
          if (key > last || key < first) x = -infinity();
        }
        most = fmaxf(most, x);
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -infinity() ? 0.0f : most * factor;
      scale[half] = exp2_fast(top[half] * factor - base);
      top[half] = most;
      float added = 0;
#pragma unroll
      for (int i = 0; i < TILE_KEYS / 4; ++i) {
        float& x = s[i / 2 * 4 + half * 2 + i % 2];
        x = exp2_fast(x * factor - base);
        added += x;
      }
      sum[half] = sum[half] * scale[half] + added;
    }
  }
};

__device__ __forceinline__ void store_rows(const AttentionArguments& a, const Item& it, int group,
                                           const float (&out)[ATT_PAD / 2], Softmax& m) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    m.sum[half] += __shfl_xor_sync(~0u, m.sum[half], 1);
    m.sum[half] += __shfl_xor_sync(~0u, m.sum[half], 2);
    const int row = group * 64 + warp * 16 + lane / 4 + half * 8;
    if (row >= it.rows) continue;
    const float scale = ATT_V_SCALE / m.sum[half];
    uint8_t* to = a.out + ((int64_t{it.row} + row) * ATT_HEADS + it.head) * (ATT_DIM * 2);
#pragma unroll
    for (int c = 0; c < ATT_PAD / 8; ++c) {
      const int d = c * 8 + lane % 4 * 2;
      if (d >= ATT_DIM) continue;
      *reinterpret_cast<uint32_t*>(to + d * 2) =
          pack_bf16(out[c * 4 + half * 2] * scale, out[c * 4 + half * 2 + 1] * scale);
    }
  }
}

/// Weights of a tile to the operand of the product with its values; sums so far to its scale.
__device__ __forceinline__ void weigh(const float (&s)[TILE_KEYS / 2], float (&out)[ATT_PAD / 2],
                                      uint32_t (&w)[TILE_KEYS / 4], const Softmax& m) {
#pragma unroll
  for (int i = 0; i < TILE_KEYS / 4; ++i) {
    w[i] = pack_f16(s[i * 2], s[i * 2 + 1]);
  }
#pragma unroll
  for (int i = 0; i < ATT_PAD / 2; ++i) out[i] *= m.scale[i / 2 % 2];
}

struct Consumer {
  const uint8_t* queries;
  const uint8_t* ring;
  uint64_t *full, *empty;
  int group, row;
  Places at[2];  // of keys and of values

  __device__ __forceinline__ Places take_keys() {
    const Places taken = at[0];
    at[0].advance(kKeyPlaces);
    return taken;
  }
  __device__ __forceinline__ Places take_values() {
    Places taken = at[1];
    at[1].advance(kValuePlaces);
    taken.place += kKeyPlaces;
    return taken;
  }
  __device__ __forceinline__ const uint8_t* values_at_place(int place) const {
    return ring + kKeyPlaces * kRawBytes + (place - kKeyPlaces) * kTileBytes;
  }

  /// The product with the values of tile + 1 and, under it, the scores and softmax of `tile`.
  template <bool kMasked>
  __device__ __forceinline__ void step(float (&s)[TILE_KEYS / 2], float (&out)[ATT_PAD / 2],
                                       uint32_t (&w)[TILE_KEYS / 4], Softmax& m, const Item& it,
                                       int tile) {
    const bool leader = threadIdx.x % 32 == 0;
    const Places keys = take_keys(), values = take_values();
    barrier_wait(&full[keys.place], keys.phase);
    await_turn(group);
    wgmma_hold(s);
    wgmma_hold(out);
    wgmma_fence();
    multiply_keys(s, queries, ring + keys.place * kRawBytes);
    wgmma_commit();
    barrier_wait(&full[values.place], values.phase);
    wgmma_fence();  // by hand: the compiler's own, behind a wait, would serialize the products
    multiply_values(out, w, values_at_place(values.place));
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

__device__ void consume(const AttentionArguments& a, const int* tiles, int total, int sequences,
                        uint8_t* queries, uint8_t* ring, uint64_t* full, uint64_t* empty,
                        uint64_t* queries_full, uint64_t* queries_empty, float* inverse) {
  const int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
  Consumer c;
  c.ring = ring, c.full = full, c.empty = empty, c.group = group;
  c.row = group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
  int buffer = 0;
  uint32_t queries_phase = 0;
  if (group == 1) pass_turn(group);  // the first turn is group 0's
  for (int index = blockIdx.x; index < total * ATT_HEADS; index += gridDim.x) {
    const Item it = item_at(a, tiles, total, sequences, index);
    float s[TILE_KEYS / 2], out[ATT_PAD / 2];
    uint32_t w[TILE_KEYS / 4];
    Softmax m;
#pragma unroll
    for (int i = 0; i < ATT_PAD / 2; ++i) out[i] = 0;
    c.queries = queries + (buffer * 2 + group) * kQueryBytes;
    barrier_wait(&queries_full[buffer], queries_phase);
    split_queries(queries + group * kQueryBytes, group, inverse + group * 64);
    m.inverse[0] = inverse[c.row], m.inverse[1] = inverse[c.row + 8];
    const Places keys = c.take_keys();
    barrier_wait(&full[keys.place], keys.phase);
    await_turn(group);
    wgmma_hold(s);
    wgmma_fence();
    multiply_keys(s, c.queries, ring + keys.place * kRawBytes);
    wgmma_commit();
    pass_turn(group);
    wgmma_wait<0>();
    wgmma_hold(s);
    if (lane == 0) barrier_arrive(&empty[keys.place]);
    m.update<true>(s, it, c.row, it.last_tile - 1);
    weigh(s, out, w, m);
    // Tiles from here down lie wholly before every row of this warpgroup.
    const int whole = ATT_WINDOW > 0 ? 0 : (it.position + group * 64 + 1) / TILE_KEYS;
    int tile = it.last_tile - 2;
    for (; tile >= it.first_tile && tile >= whole; --tile) {
      c.step<true>(s, out, w, m, it, tile);
    }
    for (; tile >= it.first_tile; --tile) c.step<false>(s, out, w, m, it, tile);
    if (lane == 0) barrier_arrive(&queries_empty[buffer]);
    if (++buffer == 1) buffer = 0, queries_phase ^= 1;
    const Places values = c.take_values();
    barrier_wait(&full[values.place], values.phase);
    wgmma_hold(out);
    wgmma_fence();
    multiply_values(out, w, c.values_at_place(values.place));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(out);
    if (lane == 0) barrier_arrive(&empty[values.place]);
    store_rows(a, it, group, out, m);
  }
}

#define MAP_PARAMETERS                                                                        \
  , const __grid_constant__ TensorMap cache_map, const __grid_constant__ TensorMap query_map, \
      const __grid_constant__ TensorMap key_map

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    attention_prefill(const uint8_t* q, const int* query_start, const int* kv_len,
                      const int* block_table, const int* sequences, const uint8_t* cache,
                      uint8_t* out MAP_PARAMETERS) {
  extern __shared__ __align__(1024) uint8_t shared[];
  __shared__ uint64_t full[kPlaces], empty[kPlaces];
  __shared__ uint64_t queries_full[2], queries_empty[2];
  __shared__ uint64_t raw_full[RAW_TILES + 1];
  __shared__ uint64_t raw_empty[RAW_TILES];
  __shared__ float inverse[kTileRows];
  __shared__ int tiles[ATT_MAX_SEQUENCES];
  const AttentionArguments a = {q, query_start, kv_len, block_table, sequences, cache, out};
  // Dynamic memory begins after the static: tiles of swizzled rows want multiples of 1024.
  uint8_t* queries = shared + (1024 - shared_address(shared) % 1024) % 1024;
  uint8_t* ring = queries + 2 * kQueryBytes;
  launch_dependents();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kPlaces; ++i) {
      barrier_init(&full[i], i < kKeyPlaces ? 1 : kWideners);
      barrier_init(&empty[i], 8);
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(&queries_full[i], 1);
      barrier_init(&queries_empty[i], 8);
    }
    for (int i = 0; i < RAW_TILES; ++i) barrier_init(&raw_full[i], 1);
    for (int i = 0; i < RAW_TILES; ++i) barrier_init(&raw_empty[i], kWideners / 32);
    barrier_init_fence();
  }
  const int count = *sequences;
  const int total = find_tiles(query_start, count, tiles);
  __syncthreads();
  wait_dependencies();
  if (threadIdx.x < 128) {
    registers_give<72>();
    const Maps maps = {&cache_map, &query_map};
    const KeyBarriers barriers = {full, empty, raw_full, raw_empty, queries_full, queries_empty};
    if (threadIdx.x < 32) {
      copy_tiles(a, maps, &key_map, tiles, total, count, queries, ring, barriers);
    } else {
      widen_tiles(a, tiles, total, count, ring, barriers);
    }
  } else {
    registers_take<216>();
    consume(a, tiles, total, count, queries, ring, full, empty, queries_full, queries_empty,
            inverse);
  }
}

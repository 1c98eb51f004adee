// Sampling: the row in its blocks, weights in fixed point, sums over a cluster. Compiled per
//   VOCAB, SPLITS, SEGMENT (elements of a block, a multiple of 512), IN_SHARED, THREADS,
//   SHARED_BYTES
//
// A row is cut over the SPLITS blocks of a cluster, a segment each, in order of ids. A warp reads
// spans of 512 neighbouring elements, four times four a lane. Weights exp((x - max) / temperature)
// are summed as integers of 44 fractional bits: sums do not depend on their order, so neither on
// the number of blocks nor on what else is in the batch, and runs repeat to the bit.
#pragma once

#ifndef SIMT_EMULATION
#include "simt.cuh"
#endif

constexpr int kWarps = THREADS / 32;
constexpr int kGroup = 128;
constexpr int kQuads = 4;  // groups of a span
constexpr int kSpan = kGroup * kQuads;
constexpr int kSegment = SEGMENT;
constexpr int kSpans = kSegment / kSpan;
constexpr int kChunkSpans = (kSpans + 3) / 4;  // of a copy
constexpr int kChunks = (kSpans + kChunkSpans - 1) / kChunkSpans;
constexpr int kBins = 2048;
constexpr int kOwnBins = kBins / SPLITS;
constexpr int kCoarse = 32;  // sums of bins
constexpr int kCoarseBins = kBins / kCoarse;
constexpr int kList = 512;
constexpr int kLocal = 128;  // of a block's own list
constexpr int kWords = 5;    // of an exchange
static_assert(kSegment % kSpan == 0 && kSegment * SPLITS >= VOCAB, "segments cover the row");
static_assert(SPLITS == 1 || IN_SHARED, "blocks that share a row hold it");
/// A segment comes by copies that run while others are looked at.
constexpr bool kCopied = kHasCopies && IN_SHARED && VOCAB % 4 == 0;

constexpr int kUnitBits = 44;  // of the fixed point; the largest weight is 1

__device__ __forceinline__ float nothing() { return float_of(0xff800000u); }  // minus infinity

struct ListEntries {
  uint64_t order[kList];
  uint64_t mass[kList];
};
/// For the cut through one bin: its elements, and their mass by finer bins in two words.
struct CutEntries {
  uint64_t order[kList];
  uint32_t high[256], low[256];
  uint64_t few[32];
};

struct alignas(16) Shared {
  union {
    uint32_t bins[kBins + 4];
    ListEntries list;  // in the first block
    CutEntries cut;
  };
  uint64_t arrivals[4];  // of the segment's copies
  uint64_t pushed[2];    // to slots
  uint64_t part[kWords][kWarps];
  uint64_t slots[2][kWords][SPLITS];  // of an exchange: every block's own sums
  uint64_t total[kWords], lower[kWords];
  uint64_t scan[kWarps];
  uint32_t raw_scan[kWarps];
  uint64_t coarse[kCoarse];
  union {
    uint32_t reduced[kOwnBins];
    uint64_t local[kLocal];
  };
  uint64_t kept[SPLITS];  // mass of what the cut leaves of a bin, by block
  uint64_t before;        // of a search
  uint64_t least;         // of a cut
  int found;
  uint32_t raw_upto;
  uint32_t listed;
  uint32_t few;
  int exchanges;  // so far
  int answer;
  int words[PARAM_WORDS];  // of the row
  uint64_t spans[kSpans];
};
static_assert(sizeof(Shared) + (IN_SHARED ? 4 * kSegment : 0) <= SHARED_BYTES, "shared memory");

/// Where a thread is. Cheap to make, so that functions that are not inlined take none.
struct Context {
  Shared& s = *reinterpret_cast<Shared*>(shared_memory());
  int rank = block_index() % SPLITS;
  int thread = thread_index();
  int warp = thread_index() / 32;
  int lane = thread_index() % 32;
};

/// The elements of this block: its segment in shared memory, or the row in global memory.
struct View {
  const float* x;
  __device__ Four at(int local) const {
    if (IN_SHARED) return *reinterpret_cast<const Four*>(x + local);
    return row_four(x, local);
  }
  __device__ float one(int local) const {
    return IN_SHARED || local < VOCAB ? x[local] : nothing();
  }
  /// Minus infinity beyond the vocabulary.
  static __device__ Four row_four(const float* row, int id) {
    if (VOCAB % 4 == 0 && id < VOCAB) return *reinterpret_cast<const Four*>(row + id);
    Four out;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      out.x[j] = VOCAB % 4 != 0 && id + j < VOCAB ? row[id + j] : nothing();
    return out;
  }
};

// Order of likelihood: larger is more likely; of equal values the lower id is.
__device__ __forceinline__ uint32_t key_of(float x) {
  const uint32_t bits = bits_of(x + 0.0f);  // -0 counts as 0
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float value_of(uint32_t key) {
  return float_of(key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}
__device__ __forceinline__ uint64_t order_of(float x, int id) {
  return uint64_t{key_of(x)} << 32 | static_cast<uint32_t>(~id);
}
__device__ __forceinline__ int id_of(uint64_t order) {
  return static_cast<int>(~static_cast<uint32_t>(order));
}
__device__ __forceinline__ float value_of(uint64_t order) {
  return value_of(static_cast<uint32_t>(order >> 32));
}

/// A sum of kCount weights of at most 1 in two words of 22 bits, so that many fit in 32. The
/// exponents of the floats that hold the parts are taken off at the start.
template <uint32_t kCount>
struct Mass {
  uint32_t high = 0u - kCount * 0x4B000000u, low = 0u - kCount * 0x4B000000u;
  /// Exactly kCount times.
  __device__ __forceinline__ void add(float weight) {
    const float whole = fused_toward_zero(weight, 4194304.0f, 8388608.0f);
    const float rest = fused(weight, 4194304.0f, 8388608.0f - whole);
    high += bits_of(whole);
    low += bits_of(fused_toward_zero(rest, 4194304.0f, 8388608.0f));
  }
  __device__ uint64_t value() const { return (uint64_t{high} << 22) + low; }
};
__device__ __forceinline__ uint64_t mass_of(float weight) {
  Mass<1> mass;
  mass.add(weight);
  return mass.value();
}

/// ceil(share * total), at least 1, for a share below 1.
__device__ __forceinline__ uint64_t part_of(uint64_t total, float share) {
  const uint64_t bits = static_cast<uint64_t>(share * 1099511627776.0f) << 24;
  const uint64_t whole = high_product(bits, total) + (bits * total != 0 ? 1 : 0);
  return whole == 0 ? 1 : whole;
}

/// What of the row is kept: nothing less likely than `least`, and weights from `weight` on.
struct Filter {
  uint64_t least = 0;
  float weight = 0;
  __device__ bool keeps(float x, int id) const { return least == 0 || order_of(x, id) >= least; }
};

/// Weights of a row: by powers of two, so `by_two` is scale / log(2).
struct Scale {
  float max, scale, by_two;
  __device__ __forceinline__ Scale(float largest, float factor)
      : max(largest), scale(factor), by_two(product_of(factor, 1.44269504f)) {}
  __device__ __forceinline__ float at_distance(float below) const {
    return power_of_two(product_of(below, -by_two));
  }
  __device__ __forceinline__ float weight(float x) const { return at_distance(max - x); }
};

// Over the first kLanes lanes, a power of two; for them.
template <int kLanes = 32>
__device__ __forceinline__ uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step >>= 1) value += shuffle_xor(value, step);
  return value;
}
template <int kLanes = 32>
__device__ __forceinline__ uint64_t warp_most(uint64_t value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step >>= 1) {
    const uint64_t other = shuffle_xor(value, step);
    value = other > value ? other : value;
  }
  return value;
}
/// The sum over this and all lower lanes.
template <class T>
__device__ __forceinline__ T warp_scan(T value, int lane) {
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const T other = shuffle_up(value, step);
    if (lane >= step) value += other;
  }
  return value;
}

/// Gives a word of this warp to an exchange.
__device__ __forceinline__ void offer(const Context& c, int word, uint64_t value) {
  if (c.lane == 0) c.s.part[word][c.warp] = value;
}
/// Ends an exchange: total[w] is the sum over all warps of the row, or with bit w of `most` the
/// largest; lower[w] the sum over the blocks before this one. Every block pushes its own sums to
/// all others, and waits for theirs. With `ordered`, what any thread of the row has written to
/// shared memory before is then seen by all.
__device__ __noinline__ void exchange(int words, uint32_t most, bool ordered) {
  const Context c;
  Shared& s = c.s;
  const int count = s.exchanges, phase = count & 1;
  meet_block();
  if (c.thread == 0) {
    s.exchanges = count + 1;
    expect_pushes(&s.pushed[phase], static_cast<uint32_t>(words * SPLITS) * 8);
  }
  for (int w = c.warp; w < words; w += kWarps) {
    const uint64_t mine = c.lane < kWarps ? s.part[w][c.lane] : 0;
    const uint64_t all = (most >> w & 1) != 0 ? warp_most<kWarps>(mine) : warp_sum<kWarps>(mine);
    if (ordered) order_pushes();
    const uint64_t sent = SPLITS > kWarps ? shuffle(all, 0) : all;
    if (c.lane < SPLITS) push_to(&s.slots[phase][w][c.rank], c.lane, sent, &s.pushed[phase]);
  }
  await_pushes(&s.pushed[phase], static_cast<uint32_t>(count >> 1 & 1));
  for (int w = c.warp; w < words; w += kWarps) {
    const uint64_t mine = c.lane < SPLITS ? s.slots[phase][w][c.lane] : 0;
    const uint64_t all = (most >> w & 1) != 0 ? warp_most<SPLITS>(mine) : warp_sum<SPLITS>(mine);
    const uint64_t lower = warp_sum<SPLITS>(c.lane < c.rank ? mine : 0);
    if (c.lane == 0) s.total[w] = all, s.lower[w] = lower;
  }
  meet_block();
}
/// Of the last exchange: what block `rank` gave.
__device__ __forceinline__ uint64_t given(const Context& c, int word, int rank) {
  return c.s.slots[~c.s.exchanges & 1][word][rank];
}

/// The elements of a lane in a span.
struct Sixteen {
  Four quad[kQuads];
  __device__ __forceinline__ Sixteen(const View& view, int span, int lane) {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) quad[i] = view.at(span * kSpan + i * kGroup + 4 * lane);
  }
  __device__ __forceinline__ float operator[](int e) const { return quad[e / 4].x[e % 4]; }
};
/// Where element e of a lane's sixteen lies in its segment.
__device__ __forceinline__ int place_in_span(int span, int e, int lane) {
  return span * kSpan + e / 4 * kGroup + 4 * lane + e % 4;
}

template <bool kFiltered>
__device__ __forceinline__ uint64_t weigh_spans(const Context& c, View view, Scale scale,
                                                Filter filter) {
  uint64_t sum = 0;
#pragma unroll 1
  for (int q = c.warp; q < kSpans; q += kWarps) {
    const Sixteen v(view, q, c.lane);
    Mass<16> mass;
#pragma unroll
    for (int e = 0; e < 16; ++e) {
      float w = scale.weight(v[e]);
      if (kFiltered) {
        const int id = c.rank * kSegment + place_in_span(q, e, c.lane);
        w = w >= filter.weight && filter.keeps(v[e], id) ? w : 0.0f;
      }
      mass.add(w);
    }
    mass.high = warp_total(mass.high);
    mass.low = warp_total(mass.low);
    if (c.lane == 0) c.s.spans[q] = mass.value();
    sum += mass.value();
  }
  return sum;
}

/// Mass of what the filter keeps: of each span in s.spans, of the row in total[0], of the blocks
/// before this one in lower[0].
__device__ __noinline__ void weigh(View view, Scale scale, Filter filter) {
  const Context c;
  const bool filtered = filter.least != 0 || filter.weight > 0;
  offer(c, 0,
        filtered ? weigh_spans<true>(c, view, scale, filter)
                 : weigh_spans<false>(c, view, scale, filter));
  exchange(1, 0, false);
}

/// With the sums of spans known: the first kept element, in order of ids, up to which the row's
/// mass exceeds `target`, in one thread; -1 in the others. `before` is the mass of the blocks
/// before this one.
__device__ __noinline__ int walk(View view, Scale scale, Filter filter, uint64_t before,
                                 uint64_t target) {
  const Context c;
  if (c.warp != 0 || target < before) return -1;
  int span = -1;
#pragma unroll 1
  for (int first = 0; first < kSpans && span < 0; first += 32) {
    const int q = first + c.lane;
    const uint64_t mine = q < kSpans ? c.s.spans[q] : 0;
    const uint64_t upto = before + warp_scan(mine, c.lane);
    const uint32_t beyond = ballot(upto > target);
    if (beyond != 0) {
      span = first + lowest_bit(beyond);
      before = shuffle(upto - mine, lowest_bit(beyond));
    } else {
      before = shuffle(upto, 31);
    }
  }
  if (span < 0) return -1;  // it lies in a later block
  const auto kept_weight = [&](float x, int local) {
    const float w = scale.weight(x);
    return w >= filter.weight && filter.keeps(x, c.rank * kSegment + local) ? w : 0.0f;
  };
  int group = span * kSpan + 4 * c.lane;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int local = span * kSpan + i * kGroup + 4 * c.lane;
    const Four v = view.at(local);
    Mass<4> mass;
#pragma unroll
    for (int j = 0; j < 4; ++j) mass.add(kept_weight(v.x[j], local + j));
    mass.high = warp_total(mass.high);
    mass.low = warp_total(mass.low);
    const bool passed = local == group && i + 1 < kQuads && before + mass.value() <= target;
    if (passed) before += mass.value(), group += kGroup;
  }
  const Four v = view.at(group);
  uint64_t mass[4], mine = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    mass[j] = mass_of(kept_weight(v.x[j], group + j));
    mine += mass[j];
  }
  uint64_t sum = before + warp_scan(mine, c.lane) - mine;
  int id = -1;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (sum <= target && sum + mass[j] > target) id = c.rank * kSegment + group + j;
    sum += mass[j];
  }
  return id;
}

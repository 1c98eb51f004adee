// Sampling: the row in its blocks, weights in fixed point, sums over a cluster. Compiled per
//   VOCAB, SPLITS, SEGMENT (elements of a block, a multiple of 128), IN_SHARED, THREADS,
//   SHARED_BYTES
//
// A row is cut over the SPLITS blocks of a cluster, a segment each, in order of ids. A warp reads
// groups of 128 neighbouring elements, four a lane. Weights exp((x - max) / temperature) are summed
// as integers of 44 fractional bits: sums do not depend on their order, so neither on the number of
// blocks nor on what else is in the batch, and runs repeat to the bit.
#pragma once

#ifndef SIMT_EMULATION
#include "simt.cuh"
#endif

constexpr int kWarps = THREADS / 32;
constexpr int kGroup = 128;
constexpr int kSegment = SEGMENT;
constexpr int kGroups = kSegment / kGroup;
constexpr int kBins = 2048;
constexpr int kOwnBins = kBins / SPLITS;
constexpr int kList = 512;
constexpr int kWords = 5;  // of an exchange
static_assert(kSegment % kGroup == 0 && kSegment * SPLITS >= VOCAB, "segments cover the row");
static_assert(SPLITS == 1 || IN_SHARED, "blocks that share a row hold it");

constexpr int kUnitBits = 44;  // of the fixed point; the largest weight is 1

__device__ __forceinline__ float nothing() { return float_of(0xff800000u); }  // minus infinity

struct ListEntries {
  uint64_t order[kList];
  uint64_t mass[kList];
};

struct alignas(16) Shared {
  union {
    uint32_t bins[kBins];
    ListEntries list;  // in the first block
  };
  uint64_t part[2][kWords][kWarps];
  uint64_t total[kWords], lower[kWords];
  uint64_t scan[kWarps];
  uint32_t raw_scan[kWarps];
  uint32_t reduced[kOwnBins];
  uint64_t before;  // of a search
  int found;
  uint32_t raw_upto;
  uint32_t listed;
  int phase;  // of the next exchange
  int answer;
  uint64_t groups[kGroups];
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

/// exp of an argument of at most 0; 0 where that would be below exp(-87), as the host has it.
__device__ __forceinline__ float weight_of(float y) {
  const float clamped = fmaxf(y, -87.0f);
  const float biased = fused(clamped, 1.44269504f, 12582912.0f);  // its low bits: a whole number
  const float n = biased - 12582912.0f;
  const float r = fused(n, -1.42860677e-6f, fused(n, -0.693145752f, clamped));
  const float value = float_of(bits_of(power_of_two(r * 1.44269504f)) + (bits_of(biased) << 23));
  return y < -87.0f ? 0.0f : value;
}

/// A sum of kCount weights of at most 1 in two words of 22 bits, so that many fit in 32. The
/// exponents of the floats that hold the parts are taken off at the end.
template <uint32_t kCount>
struct Mass {
  uint32_t high = 0u - kCount * 0x4B000000u, low = 0u - kCount * 0x4B000000u;
  /// Exactly kCount times.
  __device__ void add(float weight) {
    const float scaled = weight * 4194304.0f;
    const float whole = add_toward_zero(scaled, 8388608.0f);
    const float rest = (scaled - (whole - 8388608.0f)) * 4194304.0f;
    high += bits_of(whole);
    low += bits_of(add_toward_zero(rest, 8388608.0f));
  }
  __device__ uint64_t value() const { return (uint64_t{high} << 22) + low; }
};
__device__ __forceinline__ uint64_t mass_of(float weight) {
  Mass<1> mass;
  mass.add(weight);
  return mass.value();
}

/// What of the row is kept: nothing less likely than `least`, and weights from `weight` on.
struct Filter {
  uint64_t least = 0;
  float weight = 0;
  __device__ bool keeps(float x, int id) const { return least == 0 || order_of(x, id) >= least; }
};

/// Weights of a row.
struct Scale {
  float max, scale;
  __device__ float weight(float x) const { return weight_of(product_of(x - max, scale)); }
};

__device__ __forceinline__ uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) value += shuffle_xor(value, step);
  return value;
}
__device__ __forceinline__ uint64_t warp_most(uint64_t value) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
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
  if (c.lane == 0) c.s.part[c.s.phase][word][c.warp] = value;
}
/// Ends an exchange: total[w] is the sum over all warps of the row, or with bit w of `most` the
/// largest; lower[w] the sum over the blocks before this one.
__device__ __noinline__ void exchange(int words, uint32_t most) {
  const Context c;
  const int phase = c.s.phase;
  meet_cluster();
  if (c.thread == 0) c.s.phase = phase ^ 1;  // whoever is late still reads this one
  for (int w = c.warp; w < words; w += kWarps) {
    const bool by_most = (most >> w & 1) != 0;
    uint64_t all = 0, lower = 0;
#pragma unroll 1
    for (int i = c.lane; i < SPLITS * kWarps; i += 32) {
      const uint64_t value = *at_rank(&c.s.part[phase][w][i % kWarps], i / kWarps);
      all = !by_most ? all + value : value > all ? value : all;
      if (i / kWarps < c.rank) lower += value;
    }
    all = by_most ? warp_most(all) : warp_sum(all);
    lower = warp_sum(lower);
    if (c.lane == 0) c.s.total[w] = all, c.s.lower[w] = lower;
  }
  meet_block();
}

/// The sum over the block, in all its threads.
__device__ __noinline__ uint64_t block_sum(uint64_t value) {
  const Context c;
  value = warp_sum(value);
  meet_block();
  if (c.lane == 0) c.s.scan[c.warp] = value;
  meet_block();
  uint64_t sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += c.s.scan[w];
  return sum;
}

/// Mass of what the filter keeps: of each group in s.groups, of the row in total[0], of the blocks
/// before this one in lower[0].
__device__ __noinline__ void weigh(View view, Scale scale, Filter filter) {
  const Context c;
  uint64_t sum = 0;
#pragma unroll 2
  for (int q = c.warp; q < kGroups; q += kWarps) {
    const int local = q * kGroup + 4 * c.lane;
    const Four v = view.at(local);
    Mass<4> mass;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float w = scale.weight(v.x[j]);
      const bool kept = w >= filter.weight && filter.keeps(v.x[j], c.rank * kSegment + local + j);
      mass.add(kept ? w : 0.0f);
    }
    mass.high = warp_total(mass.high);
    mass.low = warp_total(mass.low);
    if (c.lane == 0) c.s.groups[q] = mass.value();
    sum += mass.value();
  }
  offer(c, 0, sum);
  exchange(1, 0);
}

/// After weigh(): tells the first block the first kept element, in order of ids, up to which the
/// row's mass exceeds uniform * 2^-53 of all. A meeting must follow.
__device__ __noinline__ void walk(View view, Scale scale, Filter filter, uint64_t uniform) {
  const Context c;
  const uint64_t all = c.s.total[0];
  uint64_t before = c.s.lower[0];
  const uint64_t target = high_product(uniform << 11, all);
  if (c.warp != 0 || target < before) return;
  int group = -1;
#pragma unroll 1
  for (int first = 0; first < kGroups && group < 0; first += 32) {
    const int q = first + c.lane;
    const uint64_t mine = q < kGroups ? c.s.groups[q] : 0;
    const uint64_t upto = before + warp_scan(mine, c.lane);
    const uint32_t beyond = ballot(upto > target);
    if (beyond != 0) {
      group = first + lowest_bit(beyond);
      before = shuffle(upto - mine, lowest_bit(beyond));
    } else {
      before = shuffle(upto, 31);
    }
  }
  if (group < 0) return;  // it lies in a later block
  const int local = group * kGroup + 4 * c.lane;
  const Four v = view.at(local);
  uint64_t mass[4], mine = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float w = scale.weight(v.x[j]);
    const bool kept = w >= filter.weight && filter.keeps(v.x[j], c.rank * kSegment + local + j);
    mass[j] = kept ? mass_of(w) : 0;
    mine += mass[j];
  }
  const uint64_t upto = before + warp_scan(mine, c.lane);
  uint64_t sum = upto - mine;
  if (upto <= target || sum > target) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (sum <= target && sum + mass[j] > target) {
      *at_rank(&c.s.answer, 0) = c.rank * kSegment + local + j;
    }
    sum += mass[j];
  }
}

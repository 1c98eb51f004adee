// Sampling: the least likely element of the k most likely, or of the shortest list of the most
// likely that reaches a mass, without sorting the row.
//
// Elements fall into bins by their distance from the largest; a search over the bins' sums finds
// the one in which the list ends. Sums of mass in bins are approximate, so the bin is checked
// with exact sums and corrected. A bin of few elements is settled by comparing all with all; one of
// many is cut into bins again, by the bits of its values, and one of equal values by ids.
#pragma once

#include "sample_common.cuh"

constexpr int kGroups = kSegment / kGroup;

constexpr int kByDistance = 0, kByKey = 1, kById = 2;
constexpr int kAbove = -1, kOutside = kBins;
constexpr uint32_t kLowestKey = 0x00800000u;  // of the largest finite magnitude below zero

__device__ constexpr int bits_for(int64_t count) {
  int bits = 0;
  while ((int64_t{1} << bits) < count) ++bits;
  return bits;
}
constexpr int kIdShift = bits_for(VOCAB) > 11 ? bits_for(VOCAB) - 11 : 0;
/// Fractional bits of a mass in its bin, relative to the largest there: a row's must fit.
constexpr int kBinBits = 31 - bits_for(VOCAB) < 13 ? 31 - bits_for(VOCAB) : 13;
static_assert(kIdShift <= 9 && kBinBits >= 8, "a vocabulary of at most 2^20");

struct Binning {
  int kind;
  Scale scale;
  float per_unit;      // bins a unit of distance
  uint32_t low, high;  // keys
  int shift;

  __device__ int place(float x, int id) const {
    if (kind == kByDistance) {
      const float distance = product_of(scale.max - x, per_unit);
      return distance < static_cast<float>(kBins) ? static_cast<int>(distance) : kOutside;
    }
    const uint32_t key = key_of(x);
    if (key > high) return kAbove;
    if (key < low) return kOutside;
    return kind == kByKey ? static_cast<int>((high - key) >> shift) : id >> kIdShift;
  }
  /// An element's mass relative to the largest that its bin may hold; exp by its first terms.
  __device__ uint32_t share(float x, int bin) const {
    float t = 0;
    if (kind == kByDistance) {
      const float distance = product_of(scale.max - x, per_unit);
      t = (distance - static_cast<float>(bin)) * (scale.scale / per_unit);
    } else if (kind == kByKey) {
      t = (value_of(high) - x) * scale.scale;
    }
    const float part = fused(t * t, 0.5f, 1.0f - t);  // a bin is narrow
    return static_cast<uint32_t>(fused(part, static_cast<float>(1 << kBinBits), 0.5f));
  }
  __device__ uint64_t mass(uint32_t shares, int bin) const {
    const float top = kind == kByDistance ? -static_cast<float>(bin) * (scale.scale / per_unit)
                                          : (value_of(high) - scale.max) * scale.scale;
    constexpr float kUnit = static_cast<float>(int64_t{1} << (kUnitBits - kBinBits));
    return uint64_t{shares} * static_cast<uint64_t>(power_of_two(top * 1.44269504f) * kUnit);
  }
};

struct Wanted {
  bool by_mass;
  uint64_t need;  // elements or mass
};

/// Sums of all bins, spread over the blocks: s.reduced.
__device__ __noinline__ void fill_bins(View view, Binning binning, bool by_mass, Filter filter) {
  const Context c;
#pragma unroll 1
  for (int i = c.thread; i < kBins; i += THREADS) c.s.bins[i] = 0;
  meet_block();
#pragma unroll 1
  for (int q = c.warp; q < kGroups; q += kWarps) {
    const int local = q * kGroup + 4 * c.lane;
    const Four v = view.at(local);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int id = c.rank * kSegment + local + j;
      const int bin = binning.place(v.x[j], id);
      if (bin == kAbove || bin == kOutside || !filter.keeps(v.x[j], id)) continue;
      fetch_add(&c.s.bins[bin], by_mass ? binning.share(v.x[j], bin) : 1u);
    }
  }
  meet_cluster();
#pragma unroll 1
  for (int i = c.thread; i < kOwnBins; i += THREADS) {
    uint32_t sum = 0;
    for (int r = 0; r < SPLITS; ++r) sum += *at_rank(&c.s.bins[c.rank * kOwnBins + i], r);
    c.s.reduced[i] = sum;
  }
  if (c.thread == 0) c.s.listed = 0;
  meet_cluster();
}

/// The first bin of [low, high] at which the running sum reaches `need`, else `high`. Leaves the
/// sum before it in s.before and the shares up to and with it in s.raw_upto.
__device__ __noinline__ int search(Binning binning, Wanted wanted, int low, int high) {
  const Context c;
  constexpr int kEach = (kBins + THREADS - 1) / THREADS;
  Shared& s = c.s;
  uint32_t raw[kEach], raw_sum = 0;
  uint64_t value[kEach], sum = 0;
  const int first = c.thread * kEach;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int bin = first + i;
    raw[i] = bin < kBins ? *at_rank(&s.reduced[bin % kOwnBins], bin / kOwnBins) : 0;
    value[i] = wanted.by_mass ? binning.mass(raw[i], bin) : raw[i];
    raw_sum += raw[i], sum += value[i];
  }
  uint64_t upto = warp_scan(sum, c.lane);
  uint32_t raw_upto = warp_scan(raw_sum, c.lane);
  meet_block();
  if (c.lane == 31) s.scan[c.warp] = upto, s.raw_scan[c.warp] = raw_upto;
  if (c.thread == 0) s.found = high;
  meet_block();
#pragma unroll 1
  for (int w = 0; w < c.warp; ++w) upto += s.scan[w], raw_upto += s.raw_scan[w];
  uint64_t before = upto - sum;
  if (before < wanted.need && wanted.need <= upto) {
    uint64_t running = before;
    int bin = first - 1;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      bin += running < wanted.need ? 1 : 0;
      running += value[i];
    }
    s.found = bin < low ? low : bin > high ? high : bin;
  }
  meet_block();
  const int found = s.found;
  if (first <= found && found < first + kEach) {
    uint32_t shares = raw_upto - raw_sum;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      before += first + i < found ? value[i] : 0;
      shares += first + i <= found ? raw[i] : 0;
    }
    s.before = before, s.raw_upto = shares;
  }
  meet_block();
  return found;
}

/// Exact sums around one bin; the same in all threads of the row.
struct Tally {
  uint64_t above, inside;  // elements or mass
  uint32_t num_above, num_inside;
  uint32_t low, high;  // keys inside
};

/// Also puts what lies inside the bin, or with `all` also above it, on the first block's list, as
/// far as there is room.
__device__ __noinline__ Tally tally(View view, Binning binning, bool by_mass, Filter filter,
                                    int bin, bool all) {
  const Context c;
  uint64_t above = 0, inside = 0;
  uint32_t num_above = 0, num_inside = 0, low = 0xffffffffu, high = 0;
#pragma unroll 1
  for (int q = c.warp; q < kGroups; q += kWarps) {
    const int local = q * kGroup + 4 * c.lane;
    const Four v = view.at(local);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int id = c.rank * kSegment + local + j;
      const int place = binning.place(v.x[j], id);
      if (place > bin || !filter.keeps(v.x[j], id)) continue;
      const float w = by_mass ? binning.scale.weight(v.x[j]) : 0.0f;
      if (by_mass && w < filter.weight) continue;
      if (place < bin) {
        ++num_above;
        if (by_mass) above += mass_of(w);
        if (!all) continue;
      } else {
        ++num_inside;
        if (by_mass) inside += mass_of(w);
        const uint32_t key = key_of(v.x[j]);
        low = key < low ? key : low, high = key > high ? key : high;
      }
      const uint32_t slot = fetch_add(at_rank(&c.s.listed, 0), 1);
      if (slot < kList) *at_rank(&c.s.list.order[slot], 0) = order_of(v.x[j], id);
    }
  }
  offer(c, 0, warp_sum(above));
  offer(c, 1, warp_sum(inside));
  offer(c, 2, uint64_t{warp_total(num_above)} << 32 | warp_total(num_inside));
  offer(c, 3, warp_most(high));
  offer(c, 4, warp_most(static_cast<uint32_t>(~low)));
  exchange(5, 0b11000, true);
  Tally t;
  t.num_above = static_cast<uint32_t>(c.s.total[2] >> 32);
  t.num_inside = static_cast<uint32_t>(c.s.total[2]);
  t.above = by_mass ? c.s.total[0] : t.num_above;
  t.inside = by_mass ? c.s.total[1] : t.num_inside;
  t.high = static_cast<uint32_t>(c.s.total[3]);
  t.low = ~static_cast<uint32_t>(c.s.total[4]);
  return t;
}

__device__ __forceinline__ void clear_list(const Context& c) {
  if (c.thread == 0) c.s.listed = 0;
  meet_cluster();
}

/// The first block: the element of its list of `count` with which `above` and what is more likely
/// on the list reach `need`, to s.before.
__device__ __noinline__ void settle(int count, Scale scale, Wanted wanted, uint64_t above) {
  const Context c;
  ListEntries& list = c.s.list;
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    list.mass[i] = wanted.by_mass ? mass_of(scale.weight(value_of(list.order[i]))) : 1;
  }
  meet_block();
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    const uint64_t mine = list.order[i];
    uint64_t sum = above;
#pragma unroll 1
    for (int j = 0; j < count; ++j) sum += list.order[j] > mine ? list.mass[j] : 0;
    if (sum < wanted.need && wanted.need <= sum + list.mass[i]) c.s.before = mine;
  }
}

struct Selection {
  bool listed;  // the first block's list holds all that may be kept, `count` of them, and more
  int count;
  uint64_t least;  // if not listed: the order of the last kept element
};

/// The range of all finite values up to the largest.
__device__ __forceinline__ Binning over_keys(const Scale& scale, uint32_t low, uint32_t high) {
  const uint32_t span = high - low;
  return {low == high ? kById : kByKey,
          scale,
          0,
          low,
          high,
          span < kBins ? 0 : 21 - leading_zeros(span)};
}

/// Where fewer than `need` elements are finite, all of them are selected. A need of mass must be
/// within what the filter keeps and the binning reaches.
__device__ __noinline__ Selection select(View view, Binning binning, Wanted wanted, Filter filter) {
  const Context c;
  constexpr uint32_t kFew = kList - kList / 8;  // shares are a little below the counts
  uint64_t base = 0;                            // of what lies above all bins
  for (;;) {
    fill_bins(view, binning, wanted.by_mass, filter);
    int low = 0, high = kBins - 1;
    uint64_t target = wanted.need - base;
    Tally t;
    bool all = false, again = false;
    while (low <= high) {
      const int bin = search(binning, {wanted.by_mass, target}, low, high);
      const uint64_t before = c.s.before;
      all = base == 0 && c.s.raw_upto <= (wanted.by_mass ? kFew << kBinBits : kList);
      if (again) clear_list(c);
      again = true;
      t = tally(view, binning, wanted.by_mass, filter, bin, all);
      if (t.above < wanted.need && wanted.need <= t.above + t.inside) break;
      if (t.above >= wanted.need) {
        high = bin - 1;
      } else {
        low = bin + 1;
      }
      // Off by the error of the approximate sums: seek again with it.
      const int64_t error = static_cast<int64_t>(t.above - base) - static_cast<int64_t>(before);
      const int64_t next = static_cast<int64_t>(wanted.need - base) - error;
      target = next < 1 ? 1 : static_cast<uint64_t>(next);
    }
    const int listed = static_cast<int>(t.num_above + t.num_inside);
    if (low > high && !wanted.by_mass && binning.kind == kByDistance) {
      binning = over_keys(binning.scale, kLowestKey, key_of(binning.scale.max));
      continue;
    }
    if (all && listed <= kList) return {true, listed, 0};
    if (low > high) return {false, 0, 1};
    if (t.num_inside <= kList) {
      if (all) {  // crowded out by what lies above
        clear_list(c);
        t = tally(view, binning, wanted.by_mass, filter, c.s.found, false);
      }
      if (c.rank == 0) {
        settle(static_cast<int>(t.num_inside), binning.scale, wanted, t.above);
      }
      meet_cluster();
      const uint64_t least = *at_rank(&c.s.before, 0);
      meet_cluster();
      return {false, 0, least};
    }
    base = t.above;
    binning = over_keys(binning.scale, t.low, t.high);
  }
}

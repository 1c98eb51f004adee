// Sampling: the quick ways to a token. One pass over the row counts its elements in bins by their
// distance from the largest, and weighs it; a search over the counts finds the bin in which the
// nucleus, or the k most likely, end; a second pass weighs what lies above exactly and lists what
// lies inside. Where a guess was wrong or a list is full, the caller takes the slow way
// (sample_select.cuh), which knows no such limits.
#pragma once

#include "sample_common.cuh"

constexpr int kMostFew = 256;                // of top-k
constexpr uint32_t kFirstBin = 0x4B000000u;  // bits of 2^23

/// Bins by distance from the largest, rounded: bin 0 is half as wide.
struct Grid {
  float max, per_unit;
  __device__ __forceinline__ uint32_t raw_bin(float below) const {  // from kFirstBin on
    return bits_of(fused(below, per_unit, 8388608.0f));
  }
};

/// Bins down to a weight of exp(-reach), or to the least element if that is nearer.
__device__ __forceinline__ Grid grid_over(const Scale& scale, float reach, float least) {
  const float distance = fminf(quotient_of(reach, scale.scale), scale.max - least);
  return {scale.max, fminf(quotient_of(static_cast<float>(kBins - 1), distance), 1e30f)};
}

/// Counts in bins, which must be clear, and with kWeigh the row's mass to total[0].
template <bool kWeigh>
__device__ __forceinline__ void gauge(const Context& c, View view, Scale scale, Grid grid) {
  uint64_t sum = 0;
#pragma unroll 1
  for (int q = c.warp; q < kSpans; q += kWarps) {
    const Sixteen v(view, q, c.lane);
    Mass<16> mass;
#pragma unroll
    for (int e = 0; e < 16; ++e) {
      const float below = scale.max - v[e];
      const uint32_t bin = grid.raw_bin(below) - kFirstBin;
      count_in(c.s.bins, bin, kBins);
      if (kWeigh) mass.add(scale.at_distance(below));
    }
    if (kWeigh) sum += mass.value();
  }
  if (kWeigh) offer(c, 0, warp_sum(sum));
}

/// What a bin's elements weigh, about.
struct Amount {
  bool by_mass;
  float slope;  // of a weight's logarithm of two, a bin
  __device__ __forceinline__ uint64_t operator()(uint32_t count, int bin) const {
    if (!by_mass) return count;
    constexpr float kUnit = static_cast<float>(int64_t{1} << kUnitBits);
    return count * static_cast<uint64_t>(power_of_two(static_cast<float>(bin) * slope) * kUnit);
  }
};

/// Sums over neighbouring bins of this block, for seek().
__device__ __forceinline__ void sum_bins(const Context& c, Amount amount) {
  constexpr int kEach = kBins / THREADS, kLanes = kCoarseBins / kEach;
  static_assert(kEach >= 1 && kLanes >= 1 && kLanes <= 32, "threads");
  meet_block();
  uint64_t sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int bin = c.thread * kEach + i;
    sum += amount(c.s.bins[bin], bin);
  }
#pragma unroll
  for (int step = 1; step < kLanes; step <<= 1) sum += shuffle_xor(sum, step);
  if (c.thread % kLanes == 0) c.s.coarse[c.thread / kLanes] = sum;
}

/// After an exchange: the first bin of [low, high] at which the row's running sum reaches `need`,
/// else `high`. Leaves the sum before it in s.before, and the one with it in s.raw_upto.
__device__ __noinline__ int seek(Amount amount, uint64_t need, int low, int high) {
  const Context c;
  Shared& s = c.s;
  if (c.warp == 0) {
    static_assert(kCoarse == 32 && kCoarseBins == 64, "two bins a lane");
    uint64_t mine = 0;
#pragma unroll
    for (int r = 0; r < SPLITS; ++r) mine += *at_rank(&s.coarse[c.lane], r);
    uint64_t upto = warp_scan(mine, c.lane);
    const uint32_t over = ballot(upto >= need && c.lane >= low / kCoarseBins);
    const int last = high / kCoarseBins, first = over == 0 ? last : lowest_bit(over);
    const int part = first < last ? first : last;
    const uint64_t base = shuffle(upto - mine, part);
    const int bin = part * kCoarseBins + 2 * c.lane;
    uint32_t count[2] = {0, 0};
#pragma unroll
    for (int r = 0; r < SPLITS; ++r) {
      const uint64_t pair = *reinterpret_cast<const uint64_t*>(at_rank(&s.bins[bin], r));
      count[0] += static_cast<uint32_t>(pair), count[1] += static_cast<uint32_t>(pair >> 32);
    }
    const uint64_t even = amount(count[0], bin), odd = amount(count[1], bin + 1);
    upto = base + warp_scan(even + odd, c.lane);
    const bool at_even = upto - odd >= need && bin >= low;
    const bool at_odd = upto >= need && bin + 1 >= low;
    const uint32_t lanes = ballot(at_even || at_odd);
    int found = shuffle(at_even ? bin : bin + 1, lanes == 0 ? 0 : lowest_bit(lanes));
    if (lanes == 0 || found > high) found = high;
    if (found == bin) s.before = upto - odd - even, s.raw_upto = static_cast<uint32_t>(upto - odd);
    if (found == bin + 1) s.before = upto - odd, s.raw_upto = static_cast<uint32_t>(upto);
    if (c.lane == 0) s.found = found, s.listed = 0, s.few = 0;
  }
  meet_block();
  return s.found;
}

/// Puts element `local` of this block on its own list, as far as there is room.
__device__ __forceinline__ void list_element(const Context& c, float x, int local) {
  const uint32_t slot = fetch_add(&c.s.listed, 1u);
  if (slot < kLocal) c.s.local[slot] = order_of(x, c.rank * kSegment + local);
}

/// Exact sums: total[0] above the bin, by spans too, total[1] inside it, whose elements are listed.
/// Without kWeigh all down to the bin are listed. given(2, rank): how many.
template <bool kWeigh>
__device__ __forceinline__ void tally_bin(const Context& c, View view, Scale scale, Grid grid,
                                          int bin) {
  const uint32_t edge = kFirstBin + static_cast<uint32_t>(bin);
  uint64_t above = 0;
#pragma unroll 1
  for (int q = c.warp; q < kSpans; q += kWarps) {
    const Sixteen v(view, q, c.lane);
    float top = v[0];
#pragma unroll
    for (int e = 1; e < 16; ++e) top = fmaxf(top, v[e]);
    if (ballot(grid.raw_bin(scale.max - top) <= edge) == 0) {
      if (kWeigh && c.lane == 0) c.s.spans[q] = 0;
      continue;
    }
    Mass<16> mass;
    bool any = false;
#pragma unroll
    for (int e = 0; e < 16; ++e) {
      const float below = scale.max - v[e];
      const uint32_t raw = grid.raw_bin(below);
      if (kWeigh) mass.add(raw < edge ? scale.at_distance(below) : 0.0f);
      any = any || (kWeigh ? raw == edge : raw <= edge);
    }
    if (ballot(any) != 0) {
#pragma unroll
      for (int e = 0; e < 16; ++e) {
        const uint32_t raw = grid.raw_bin(scale.max - v[e]);
        if (kWeigh ? raw == edge : raw <= edge) list_element(c, v[e], place_in_span(q, e, c.lane));
      }
    }
    if (!kWeigh) continue;
    mass.high = warp_total(mass.high);
    mass.low = warp_total(mass.low);
    if (c.lane == 0) c.s.spans[q] = mass.value();
    above += mass.value();
  }
  meet_block();
  uint64_t inside = 0;
  const int listed = static_cast<int>(c.s.listed < kLocal ? c.s.listed : kLocal);
  if (kWeigh) {
    for (int i = c.thread; i < listed; i += THREADS) {
      inside += mass_of(scale.weight(value_of(c.s.local[i])));
    }
  }
  offer(c, 0, above);
  offer(c, 1, warp_sum(inside));
  offer(c, 2, c.thread == 0 ? c.s.listed : 0);
  exchange(3, 0, true);
}

/// How many elements the blocks listed; 0 if one has no room for its own, or kList is too short.
__device__ __forceinline__ int count_listed(const Context& c) {
  uint64_t sum = 0;
  bool fits = true;
#pragma unroll
  for (int r = 0; r < SPLITS; ++r) {
    fits = fits && given(c, 2, r) <= kLocal;
    sum += given(c, 2, r);
  }
  return fits && sum <= kList ? static_cast<int>(sum) : 0;
}
/// Calls take(order, index) for every listed element of the row, from many threads.
template <class Take>
__device__ __forceinline__ void for_listed(const Context& c, Take take) {
#pragma unroll 1
  for (int r = c.warp; r < SPLITS; r += kWarps) {
    int start = 0;
    for (int b = 0; b < r; ++b) start += static_cast<int>(given(c, 2, b));
    const int count = static_cast<int>(given(c, 2, r));
    const uint64_t* const from = at_rank(c.s.local, r);
#pragma unroll
    for (int i = 0; i < kLocal / 32; ++i) {
      const int at = i * 32 + c.lane;
      if (at < count) take(from[at], start + at);
    }
  }
}

/// Finer bins of the listed elements: leaves those of the one at which `above` and what is more
/// likely reach `need` in s.cut.few, and the mass of what lies above them in s.before.
__device__ __noinline__ void refine_bin(Scale scale, Grid grid, int bin, int count, uint64_t above,
                                        uint64_t need) {
  const Context c;
  Shared& s = c.s;
  const auto part_of_bin = [&](uint64_t order) {
    const float below = scale.max - value_of(order);
    const float part = fused(below, grid.per_unit, 0.5f - static_cast<float>(bin)) * 256.0f;
    return static_cast<int>(fminf(fmaxf(part, 0.0f), 255.0f));
  };
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    const uint64_t mass = mass_of(scale.weight(value_of(s.cut.order[i])));
    const int part = part_of_bin(s.cut.order[i]);
    fetch_add(&s.cut.high[part], static_cast<uint32_t>(mass >> 22));
    fetch_add(&s.cut.low[part], static_cast<uint32_t>(mass & 0x3fffff));
  }
  meet_block();
  if (c.warp == 0) {
    uint64_t each[8], sum = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int part = 8 * c.lane + i;
      each[i] = (uint64_t{s.cut.high[part]} << 22) + s.cut.low[part];
      sum += each[i];
    }
    uint64_t before = above + warp_scan(sum, c.lane) - sum;
    if (before < need && need <= before + sum) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (before < need && need <= before + each[i]) s.found = 8 * c.lane + i, s.before = before;
        before += each[i];
      }
    }
  }
  meet_block();
  const int found = s.found;
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    if (part_of_bin(s.cut.order[i]) != found) continue;
    const uint32_t slot = fetch_add(&s.few, 1u);
    if (slot < 32) s.cut.few[slot] = s.cut.order[i];
  }
}

/// Finds the element of the listed ones with which `above` and what is more likely among them
/// reach `need`: s.least; and what is kept of them by block, s.kept. False: too many equal ones.
/// Arrives at a meeting of the cluster, for which the caller waits before it goes.
__device__ __noinline__ bool cut_bin(Scale scale, Grid grid, int bin, uint64_t above,
                                     uint64_t need) {
  const Context c;
  Shared& s = c.s;
  const int count = count_listed(c);
  const bool finer = count > 32;
  if (finer) {
#pragma unroll 1
    for (int i = c.thread; i < 256; i += THREADS) s.cut.high[i] = 0, s.cut.low[i] = 0;
  } else if (c.thread == 0) {
    s.few = static_cast<uint32_t>(count), s.before = above;
  }
  for_listed(c, [&](uint64_t order, int at) {
    s.cut.order[at] = order;
    if (!finer) s.cut.few[at] = order;
  });
  arrive_cluster_idly();
  meet_block();
  if (finer) {
    refine_bin(scale, grid, bin, count, above, need);
    meet_block();
  }
  const int few = static_cast<int>(s.few);
  if (few > 32) return false;
  if (c.warp == 0) {
    const uint64_t mine = c.lane < few ? s.cut.few[c.lane] : 0;
    const uint64_t mass = c.lane < few ? mass_of(scale.weight(value_of(mine))) : 0;
    uint64_t before = s.before;
#pragma unroll 1
    for (int i = 0; i < few; ++i) {
      const uint64_t other = shuffle(mass, i);
      before += shuffle(mine, i) > mine ? other : 0;
    }
    if (before < need && need <= before + mass) s.least = mine;
  }
  meet_block();
  const uint64_t least = s.least;
  for (int r = c.warp; r < SPLITS; r += kWarps) {
    int start = 0;
    for (int b = 0; b < r; ++b) start += static_cast<int>(given(c, 2, b));
    const int end = start + static_cast<int>(given(c, 2, r));
    uint64_t sum = 0;
    for (int i = start + c.lane; i < end; i += 32) {
      const uint64_t order = s.cut.order[i];
      if (order < least) continue;
      const uint64_t mass = mass_of(scale.weight(value_of(order)));
      sum += mass;
      if (r == c.rank) fetch_add(&s.spans[(id_of(order) - r * kSegment) / kSpan], mass);
    }
    sum = warp_sum(sum);
    if (c.lane == 0) s.kept[r] = sum;
  }
  meet_block();
  return true;
}

constexpr int kNoWay = -2;
/// Draws from the shortest list of most likely tokens that reaches top_p; the bins are clear. The
/// token in one thread, -1 in the others; kNoWay in all if this is not the way for the row. When it
/// returns, no block reads another's memory any more.
__device__ __noinline__ int draw_nucleus(View view, Scale scale, float least, float top_p,
                                         uint64_t uniform) {
  const Context c;
  Shared& s = c.s;
  // All tokens below (1 - p) / vocabulary together weigh less than 1 - p, and the row at least 1.
  const float reach = natural_log(quotient_of(static_cast<float>(VOCAB), 1.0f - top_p)) + 0.01f;
  const Grid grid = grid_over(scale, reach, least);
  const Amount amount = {true, -quotient_of(scale.by_two, grid.per_unit)};
  gauge<true>(c, view, scale, grid);
  sum_bins(c, amount);
  exchange(1, 0, true);
  const uint64_t need = part_of(s.total[0], top_p);
  uint64_t target = need;
  int low = 0, high = kBins - 1, bin = 0;
#pragma unroll 1
  for (int tries = 0;; ++tries) {
    bin = seek(amount, target, low, high);
    const uint64_t before = s.before;
    tally_bin<true>(c, view, scale, grid, bin);
    const uint64_t above = s.total[0];
    if (above < need && need <= above + s.total[1]) break;
    // Off by the error of the approximate sums: seek again with it.
    if (above >= need) high = bin - 1;
    if (above < need) low = bin + 1;
    if (low > high || tries == 3) return kNoWay;
    const int64_t next = static_cast<int64_t>(need) + static_cast<int64_t>(before - above);
    target = next < 1 ? 1 : static_cast<uint64_t>(next);
  }
  if (count_listed(c) == 0) return kNoWay;
  const uint64_t above = s.total[0], lower = s.lower[0];
  const bool cut = cut_bin(scale, grid, bin, above, need);
  if (!cut) {
    wait_cluster();
    return kNoWay;
  }
  uint64_t kept = above, before = lower;
#pragma unroll
  for (int r = 0; r < SPLITS; ++r) {
    kept += s.kept[r];
    if (r < c.rank) before += s.kept[r];
  }
  const int id = walk(view, scale, Filter{s.least, 0}, before, high_product(uniform << 11, kept));
  wait_cluster();
  return id;
}

/// Lists the `wanted` most likely elements and some more in the first block; the bins are clear.
/// Returns how many; 0 if they are too many. Elements below exp(-87) of the largest are left out.
__device__ __noinline__ int list_few(View view, Scale scale, float least, int wanted) {
  const Context c;
  Shared& s = c.s;
  const Grid grid = grid_over(scale, 87.0f, least);
  const Amount amount = {false, 0};
  gauge<false>(c, view, scale, grid);
  sum_bins(c, amount);
  offer(c, 0, 0);
  exchange(1, 0, true);
  const int bin = seek(amount, static_cast<uint64_t>(wanted), 0, kBins - 1);
  if (s.raw_upto > kList) {
    meet_cluster();
    return 0;
  }
  tally_bin<false>(c, view, scale, grid, bin);
  const int count = count_listed(c);
  if (count > 0 && c.rank == 0) {
    for_listed(c, [&](uint64_t order, int at) { s.list.order[at] = order; });
    meet_block();
  }
  arrive_cluster_idly();
  wait_cluster();  // no block reads another's memory any more
  return count;
}

/// Sorts the block's list, the most likely first. All its threads.
__device__ __noinline__ void sort_list(int count) {
  const Context c;
  ListEntries& list = c.s.list;
  int size = 2;
  while (size < count) size *= 2;
#pragma unroll 1
  for (int i = count + c.thread; i < size; i += THREADS) list.order[i] = 0, list.mass[i] = 0;
  meet_block();
#pragma unroll 1
  for (int run = 2; run <= size; run *= 2) {
#pragma unroll 1
    for (int step = run / 2; step > 0; step /= 2) {
#pragma unroll 1
      for (int pair = c.thread; pair < size / 2; pair += THREADS) {
        const int a = 2 * pair - (pair & (step - 1)), b = a + step;
        const uint64_t x = list.order[a], y = list.order[b];
        if ((x < y) != ((a & run) == 0)) continue;
        const uint64_t mass = list.mass[a];
        list.order[a] = y, list.order[b] = x;
        list.mass[a] = list.mass[b], list.mass[b] = mass;
      }
      meet_block();
    }
  }
}

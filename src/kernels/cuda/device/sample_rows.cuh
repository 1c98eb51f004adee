// sample: chooses a token for each row of params (op/sampling.h), in the order of operations of
// runtime/sampling/sampler.h. A cluster of blocks a row; see sample_common.cuh for its layout.
//   PARAM_WORDS, MASK_WORDS, COUNT_WORDS, MAX_TOP, ROW_FACTOR, ROW_OFFSET
#pragma once

#include "sample_cut.cuh"
#include "sample_select.cuh"

enum : int {
  kLogitsRow,
  kSlot,
  kTemperature,
  kTopK,
  kTopP,
  kMinP,
  kSeedLow,
  kSeedHigh,
  kIndex,
  kPosition,
  kRepetition,
  kPresence,
  kFrequency,
  kCounts,
  kEditsBegin,
  kEditsEnd,
  kMask,
  kLogprobs,
  kNumParams,
};
static_assert(kNumParams == PARAM_WORDS, "op/sampling.h");
constexpr int kNotFinite = 1, kNoneLeft = 2;
constexpr int kExcluded = static_cast<int>(0xff800000u);  // minus infinity

struct Operands {
  const float* logits;
  const int* params;
  const int* edits;
  const uint32_t* masks;
  uint32_t* counts;
  int* chosen;
  int* results;
  int* tops;
  float* edited;  // rows of logits, where shared memory does not hold one
};

struct Row {
  const int* words;  // its params
  int index;         // of the step
  bool edited;

  __device__ int word(int i) const { return words[i]; }
  __device__ float real(int i) const { return float_of(static_cast<uint32_t>(words[i])); }
  __device__ const float* logits(const Operands& o) const {
    return o.logits + int64_t{word(kLogitsRow)} * VOCAB;
  }
};

/// Philox 4x32-10 as in runtime/sampling/philox.h: 53 bits.
__device__ __forceinline__ uint64_t uniform_bits(const Row& row) {
  uint32_t counter[4] = {static_cast<uint32_t>(row.word(kPosition)), 0,
                         static_cast<uint32_t>(row.word(kIndex)), 0};
  uint32_t k0 = static_cast<uint32_t>(row.word(kSeedLow));
  uint32_t k1 = static_cast<uint32_t>(row.word(kSeedHigh));
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    const uint32_t next0 = static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0;
    const uint32_t next2 = static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1;
    counter[0] = next0, counter[1] = static_cast<uint32_t>(b);
    counter[2] = next2, counter[3] = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (uint64_t{counter[0]} << 32 | counter[1]) >> 11;
}

/// What a thread has seen of a row: its largest value, in which four of the segment it lies, the
/// least one, and whether something is not finite.
struct Survey {
  float best = nothing(), least = -nothing(), most = nothing();
  int at = 0;
  __device__ __forceinline__ void take(const Four& v, int local) {
    const float top = most_of(most_of(v.x[0], v.x[1]), most_of(v.x[2], v.x[3]));
    least = fminf(least, fminf(fminf(v.x[0], v.x[1]), fminf(v.x[2], v.x[3])));
    most = most_of(most, top);
    if (top > best) best = top, at = local;
  }
};

/// A segment's copies, queued; what is beyond the vocabulary, set.
__device__ __forceinline__ void start_segment(const Context& c, const float* row, float* to) {
  const int held = VOCAB - c.rank * kSegment;
  if (c.thread == 0) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      constexpr int kChunk = kChunkSpans * kSpan;
      const int left = (held < kSegment ? held : kSegment) - i * kChunk;
      const int count = left < 0 ? 0 : left < kChunk ? left : kChunk;
      prepare_arrival(&c.s.arrivals[i]);
      start_copy(to + i * kChunk, row + c.rank * kSegment + i * kChunk,
                 static_cast<uint32_t>(count) * 4, &c.s.arrivals[i]);
    }
  }
  for (int i = (held < 0 ? 0 : held) + c.thread; i < kSegment; i += THREADS) to[i] = nothing();
}

/// Copies a segment to where it is worked on, without what the mask excludes.
__device__ __noinline__ Survey load_segment(const float* from, float* to, const uint32_t* mask) {
  const Context c;
  constexpr int kAhead = 4, kGroups = kSegment / kGroup;
  Survey survey;
#pragma unroll 1
  for (int q = c.warp; q < kGroups; q += kWarps * kAhead) {
    Four v[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int id = c.rank * kSegment + (q + i * kWarps) * kGroup + 4 * c.lane;
      if (q + i * kWarps < kGroups) v[i] = View::row_four(from, id);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (q + i * kWarps >= kGroups) continue;
      const int local = (q + i * kWarps) * kGroup + 4 * c.lane;
      const int id = c.rank * kSegment + local;
      const uint32_t bits = mask == nullptr || id >= VOCAB ? ~0u : mask[id / 32] >> (id % 32);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if ((bits >> j & 1) == 0) v[i].x[j] = nothing();
      }
      if (id < VOCAB) survey.take(v[i], local);
      if (IN_SHARED) {
        *reinterpret_cast<Four*>(to + local) = v[i];
      } else if (to != nullptr) {
        for (int j = 0; j < 4; ++j) {
          if (id + j < VOCAB) to[id + j] = v[i].x[j];
        }
      }
    }
  }
  return survey;
}

/// With kArriving the segment's copies have been started, and are waited for here.
template <bool kArriving>
__device__ __noinline__ Survey survey_of(View view) {
  const Context c;
  Survey survey;
#pragma unroll 1
  for (int q = c.warp; q < kSpans; q += kWarps) {
    if (kArriving) await_copy(&c.s.arrivals[q / kChunkSpans]);
    const Sixteen v(view, q, c.lane);
    const int held = VOCAB - c.rank * kSegment - q * kSpan;
    if (held >= kSpan) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        survey.take(v.quad[i], q * kSpan + i * kGroup + 4 * c.lane);
      }
    } else {
#pragma unroll 1
      for (int at = 4 * c.lane; at < held; at += kGroup) {
        survey.take(view.at(q * kSpan + at), q * kSpan + at);
      }
    }
  }
  return survey;
}

__device__ __noinline__ void exclude_masked(float* x, const uint32_t* mask) {
  const Context c;
#pragma unroll 1
  for (int local = 4 * c.thread; local < kSegment; local += 4 * THREADS) {
    const int id = c.rank * kSegment + local;
    if (id >= VOCAB) break;
    const uint32_t bits = mask[id / 32] >> (id % 32);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if ((bits >> j & 1) == 0) x[local + j] = nothing();
    }
  }
}

/// One kind of the row's edits: additions or exclusions.
__device__ __forceinline__ void apply_edits(const Context& c, const Operands& o, const Row& row,
                                            float* x, int previous, bool exclude) {
#pragma unroll 1
  for (int i = row.word(kEditsBegin) + c.thread; i < row.word(kEditsEnd); i += THREADS) {
    const int* edit = o.edits + int64_t{i} * 3;
    const int local = edit[0] - c.rank * kSegment;
    if (local < 0 || local >= kSegment || edit[0] >= VOCAB) continue;
    if ((edit[1] == kExcluded) != exclude || (edit[2] >= 0 && edit[2] != previous)) continue;
    x[local] = exclude ? nothing() : sum_of(x[local], float_of(static_cast<uint32_t>(edit[1])));
  }
  meet_block();
}

__device__ __noinline__ void apply_penalties(const Operands& o, const Row& row, float* x) {
  const Context c;
  const uint32_t* counts = o.counts + int64_t{row.word(kCounts)} * COUNT_WORDS;
#pragma unroll 1
  for (int local = 2 * c.thread; local < kSegment; local += 2 * THREADS) {
    const int id = c.rank * kSegment + local;
    const uint32_t pair = id < VOCAB ? counts[id / 2] : 0;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t count = j == 0 ? pair & 0xffff : pair >> 16;
      if (count == 0) continue;
      float v = x[local + j];
      const float low = v < -1e30f ? v : -1e30f;  // an absurd penalty is not an infinite one
      v = v > 0 ? quotient_of(v, row.real(kRepetition)) : product_of(v, row.real(kRepetition));
      v = v > 1e30f ? 1e30f : v < low ? low : v;
      const uint32_t output = count & 0x7fff;
      if (output != 0) {
        v -= sum_of(product_of(row.real(kFrequency), static_cast<float>(output)),
                    row.real(kPresence));
      }
      x[local + j] = v;
    }
  }
  meet_block();
}

/// The row as the choice sees it.
__device__ __forceinline__ Survey load_row(const Context& c, const Operands& o, const Row& row,
                                           float* x) {
  const int slot = row.word(kSlot);
  const int previous = slot >= 0 ? o.chosen[slot] : -2;
  const uint32_t* const mask =
      row.word(kMask) < 0 ? nullptr : o.masks + int64_t{row.word(kMask)} * MASK_WORDS;
  Survey survey;
  if (kCopied) {
    if (!row.edited && mask == nullptr) return survey_of<true>(View{x});
    for (int i = 0; i < kChunks; ++i) await_copy(&c.s.arrivals[i]);
    if (mask != nullptr) exclude_masked(x, mask);
  } else {
    survey = load_segment(row.logits(o), x, mask);
  }
  meet_block();
  if (!kCopied && !row.edited) return survey;
  if (row.word(kEditsBegin) < row.word(kEditsEnd)) {
    apply_edits(c, o, row, x, previous, false);
    apply_edits(c, o, row, x, previous, true);
  }
  if (row.word(kCounts) >= 0) apply_penalties(o, row, x);
  return survey_of<false>(View{x});
}

/// Leaves the row's best in total[0] (its order; 0: nothing is left), and in total[1] whether
/// something is not finite, above the order of what is least.
__device__ __forceinline__ void find_best(const Context& c, const View& view,
                                          const Survey& survey) {
  int id = 0;
  if (survey.best > nothing()) {
    const Four v = view.at(survey.at);
    int j = 3;
    for (int i = 2; i >= 0; --i) j = v.x[i] == survey.best ? i : j;
    id = c.rank * kSegment + survey.at + j;
  }
  const uint32_t key = survey.best > nothing() ? key_of(survey.best) : 0;
  const uint32_t most = warp_largest(key);
  const uint32_t first = warp_largest(key == most && key != 0 ? ~static_cast<uint32_t>(id) : 0);
  const bool bad = !(survey.most < -nothing());
  offer(c, 0, uint64_t{most} << 32 | first);
  offer(c, 1, uint64_t{ballot(bad)} << 32 | warp_largest(~key_of(survey.least)));
  exchange(2, 0b11, false);
}
__device__ __forceinline__ bool not_finite(const Context& c) { return c.s.total[1] >> 32 != 0; }
__device__ __forceinline__ float least_of_row(const Context& c) {
  return value_of(~static_cast<uint32_t>(c.s.total[1]));
}

struct Draw {
  int top_k;  // 0: all
  float min_weight, top_p;
  uint64_t total;  // that top_p is a share of; 0: what top_k and min_weight leave
  uint64_t uniform;
};

/// The sum over the threads before this one, and all of them.
struct Running {
  uint64_t before, all;
};
__device__ __noinline__ Running run_over_block(uint64_t value) {
  const Context c;
  const uint64_t upto = warp_scan(value, c.lane);
  meet_block();
  if (c.lane == 31) c.s.scan[c.warp] = upto;
  meet_block();
  Running out = {upto - value, 0};
  for (int w = 0; w < kWarps; ++w) {
    if (w < c.warp) out.before += c.s.scan[w];
    out.all += c.s.scan[w];
  }
  return out;
}

/// The first block: draws from its list, which holds more than what may be kept. The token in one
/// thread, -1 in the others.
__device__ __noinline__ int draw_from_list(int count, Scale scale, Draw draw) {
  const Context c;
  constexpr int kMine = (kList + THREADS - 1) / THREADS;
  ListEntries& list = c.s.list;
  sort_list(count);
  if (draw.top_k > 0 && draw.top_k < count) count = draw.top_k;
  const int first = c.thread * kMine;
  uint64_t mass[kMine], sum = 0;
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    const float w = first + m < count ? scale.weight(value_of(list.order[first + m])) : 0.0f;
    mass[m] = w >= draw.min_weight ? mass_of(w) : 0;
    sum += mass[m];
  }
  const Running likely = run_over_block(sum);
  const uint64_t need = draw.top_p >= 1.0f
                            ? ~uint64_t{0}
                            : part_of(draw.total > 0 ? draw.total : likely.all, draw.top_p);
  uint64_t before = likely.before;
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    const bool kept = first + m < count && before < need && mass[m] != 0;
    before += mass[m];
    if (first + m >= kList) continue;
    list.mass[first + m] = kept ? mass[m] : 0;  // in order of ids from here on
    list.order[first + m] = kept ? list.order[first + m] << 32 : 0;
  }
  sort_list(count);
  sum = 0;
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    mass[m] = first + m < count ? list.mass[first + m] : 0;
    sum += mass[m];
  }
  const Running drawn = run_over_block(sum);
  const uint64_t target = high_product(draw.uniform << 11, drawn.all);
  before = drawn.before;
  int id = -1;
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    if (before <= target && target < before + mass[m]) id = id_of(list.order[first + m] >> 32);
    before += mass[m];
  }
  return id;
}

/// Bins down to a weight.
__device__ __forceinline__ Binning down_to(const Scale& scale, float weight) {
  const float reach = fminf(87.0f, 0.01f - natural_log(weight));
  return {kByDistance, scale, static_cast<float>(kBins) * scale.scale / reach, 0, 0, 0};
}

/// A token by temperature, top-k, min-p and top-p, in one thread of the row; -1 in the others.
__device__ __forceinline__ int choose(const Context& c, const View& view, const Row& row,
                                      const Scale& scale, float least) {
  int top_k = row.word(kTopK);
  if (top_k >= VOCAB || top_k < 0) top_k = 0;
  const float top_p = row.real(kTopP), min_p = row.real(kMinP);
  Draw draw = {top_k, min_p, top_p, 0, uniform_bits(row)};
  Filter filter = {0, min_p};
  if (top_k == 0 && min_p == 0.0f && top_p < 1.0f) {
    const int id = draw_nucleus(view, scale, least, top_p, draw.uniform);
    if (id != kNoWay) return id;
  }
  if (top_k > 0 && top_k <= kMostFew) {
    if (const int few = list_few(view, scale, least, top_k)) {
      return c.rank == 0 ? draw_from_list(few, scale, draw) : -1;
    }
  }
  if (top_k > 0) {
    const Selection few =
        select(view, down_to(scale, 2e-38f), {false, static_cast<uint64_t>(top_k)}, Filter{});
    if (few.listed) {
      return c.rank == 0 ? draw_from_list(few.count, scale, draw) : -1;
    }
    filter.least = few.least;
  }
  weigh(view, scale, filter);
  if (top_p < 1.0f) {
    draw.total = c.s.total[0];  // of what top-k and min-p leave
    // All tokens below (1 - p) / vocabulary of the total together weigh less than 1 - p.
    const float mean = static_cast<float>(draw.total >> 20) * (1.0f / 16777216.0f) / VOCAB;
    const float tail = 0.999f * (1.0f - top_p) * mean;
    const float bound = fmaxf(fmaxf(min_p, tail), 1e-37f);
    const Selection nucleus =
        select(view, down_to(scale, bound), {true, part_of(draw.total, top_p)}, filter);
    if (nucleus.listed) {
      draw.top_k = 0;
      return c.rank == 0 ? draw_from_list(nucleus.count, scale, draw) : -1;
    }
    filter.least = nucleus.least > filter.least ? nucleus.least : filter.least;
    weigh(view, scale, filter);
  }
  return walk(view, scale, filter, c.s.lower[0], high_product(draw.uniform << 11, c.s.total[0]));
}

__device__ __forceinline__ void clear_bins(const Context& c) {
#pragma unroll 1
  for (int i = c.thread; i < kBins; i += THREADS) c.s.bins[i] = 0;
}

/// The ends of a row.
struct Ends {
  uint64_t best;  // order
  float least;
};

/// Log-probabilities over the raw logits; `ends` are those of the row as the choice saw it. Returns
/// whether they are finite.
__device__ __forceinline__ bool score(const Context& c, const Operands& o, const Row& row, float* x,
                                      int id, Ends ends) {
  const View view{IN_SHARED ? x : row.logits(o)};
  if (row.edited || row.word(kMask) >= 0) {
    if (IN_SHARED) {
      const Survey survey = load_segment(row.logits(o), x, nullptr);
      meet_block();
      find_best(c, view, survey);
    } else {
      find_best(c, view, survey_of<false>(view));
    }
    if (not_finite(c) || c.s.total[0] == 0) return false;
    ends = {c.s.total[0], least_of_row(c)};
  }
  const Scale scale = {value_of(ends.best), 1.0f};
  weigh(view, scale, Filter{});
  const float log_total = natural_log(static_cast<float>(c.s.total[0]) *
                                      (1.0f / static_cast<float>(int64_t{1} << kUnitBits)));
  const uint64_t order = order_of(row.logits(o)[id], id);
  uint32_t before = 0;
#pragma unroll 1
  for (int q = c.warp; q < kSpans; q += kWarps) {
    const Sixteen v(view, q, c.lane);
#pragma unroll
    for (int e = 0; e < 16; ++e) {
      before += order_of(v[e], c.rank * kSegment + place_in_span(q, e, c.lane)) > order ? 1 : 0;
    }
  }
  clear_bins(c);
  offer(c, 0, warp_total(before));
  exchange(1, 0, false);
  int* result = o.results + int64_t{row.index} * 4;
  if (c.rank == 0 && c.thread == 0) {
    result[1] = static_cast<int>(bits_of(value_of(order) - scale.max - log_total));
    result[2] = static_cast<int>(c.s.total[0]) + 1;
  }
  int* top = o.tops + int64_t{row.index} * (2 * MAX_TOP);
  const int wanted = row.word(kLogprobs) < MAX_TOP ? row.word(kLogprobs) : MAX_TOP;
  if (c.rank == 0 && c.thread < 2 * MAX_TOP) top[c.thread] = c.thread < MAX_TOP ? -1 : 0;
  if (wanted == 0) return true;
  Selection few = {true, list_few(view, scale, ends.least, wanted), 0};
  // Too many equal ones around the last, or too few above exp(-87).
  if (few.count < wanted) {
    meet_cluster();
    few = select(view, down_to(scale, 2e-38f), {false, static_cast<uint64_t>(wanted)}, Filter{});
    if (!few.listed) {
      clear_list(c);
      const Binning binning = over_keys(scale, kLowestKey, key_of(scale.max));
      const Tally t = tally(view, binning, false, Filter{few.least, 0}, kBins - 1, true);
      few.count = static_cast<int>(t.num_above + t.num_inside);
    }
  }
  if (c.rank != 0) return true;
  sort_list(few.count);
  const int shown = few.count < wanted ? few.count : wanted;
  if (c.thread < shown) {
    const uint64_t mine = c.s.list.order[c.thread];
    top[c.thread] = id_of(mine);
    top[MAX_TOP + c.thread] = static_cast<int>(bits_of(value_of(mine) - scale.max - log_total));
  }
  return true;
}

/// Keeps the choice: for the next step's tokens, and in the counts of this sequence.
__device__ __forceinline__ void keep_choice(const Operands& o, const Row& row, int id, int flags) {
  int* result = o.results + int64_t{row.index} * 4;
  result[0] = flags == 0 ? id : -1;
  result[3] = flags;
  if (flags != 0 || row.word(kLogprobs) < 0) result[1] = 0, result[2] = 0;
  if (row.word(kSlot) >= 0) o.chosen[row.word(kSlot)] = flags == 0 ? id : 0;
  if (flags != 0 || row.word(kCounts) < 0) return;
  uint32_t& pair = o.counts[int64_t{row.word(kCounts)} * COUNT_WORDS + id / 2];
  const int shift = id % 2 * 16;
  if ((pair >> shift & 0x7fff) < 0x7fff) pair += 1u << shift;
}

/// Brings a row that a later cluster of this launch will copy into the cache of the device, while
/// this one is worked on.
constexpr int kAtOnce = 48;
__device__ __forceinline__ void fetch_later_row(const Context& c, const Operands& o, int index,
                                                const int* symbol) {
  if (c.thread != THREADS - 1 || index >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return;
  const Row later = {o.params + int64_t{index} * PARAM_WORDS, index, false};
  const int held = VOCAB - c.rank * kSegment;
  if (held <= 0) return;
  prefetch(later.logits(o) + c.rank * kSegment,
           static_cast<uint32_t>(held < kSegment ? held : kSegment) * 4);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    sample_rows(const float* __restrict__ logits, const int* __restrict__ params,
                const int* __restrict__ edits, const uint32_t* __restrict__ masks, uint32_t* counts,
                int* chosen, int* results, int* tops, float* edited, const int* symbol) {
  allow_next_kernel();
  const int index = block_index() / SPLITS;
  await_last_kernel();
  if (index >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return;
  const Operands o = {logits, params, edits, masks, counts, chosen, results, tops, edited};
  Row row = {params + int64_t{index} * PARAM_WORDS, index, false};
  row.edited = row.word(kEditsBegin) < row.word(kEditsEnd) || row.word(kCounts) >= 0;
  const Context c;
  Shared& s = c.s;
  float* x = reinterpret_cast<float*>(shared_memory() + sizeof(Shared));
  if (kCopied) start_segment(c, row.logits(o), x);
  if (c.thread < PARAM_WORDS) s.words[c.thread] = row.words[c.thread];
  if (c.thread == 0) {
    s.exchanges = 0;
    prepare_arrival(&s.pushed[0]);
    prepare_arrival(&s.pushed[1]);
  }
  clear_bins(c);
  arrive_cluster_idly();  // others push only once this block runs
  bool copied = true;
  if (!IN_SHARED) {
    copied = row.edited || row.word(kMask) >= 0;
    x = copied ? edited + int64_t{index} * VOCAB : nullptr;
  }
  meet_block();
  row.words = s.words;
  const Survey survey = load_row(c, o, row, x);
  const View view{copied ? x : row.logits(o)};
  if (kCopied) fetch_later_row(c, o, index + kAtOnce, symbol);
  wait_cluster();
  find_best(c, view, survey);
  const Ends ends = {s.total[0], least_of_row(c)};
  const int flags = not_finite(c) ? kNotFinite : ends.best == 0 ? kNoneLeft : 0;
  const bool scored = flags == 0 && row.word(kLogprobs) >= 0;
  int id = id_of(ends.best);
  if (flags == 0 && row.real(kTemperature) != 0.0f) {
    const float temperature = row.real(kTemperature);
    const Scale scale = {value_of(ends.best), quotient_of(1.0f, fmaxf(temperature, 1e-6f))};
    id = choose(c, view, row, scale, ends.least);
    if (id >= 0) {
      if (scored) {
        *at_rank(&s.answer, 0) = id;
      } else {
        keep_choice(o, row, id, 0);
      }
    }
    if (!scored) return;  // nobody reads another's memory any more
    meet_cluster();
    id = *at_rank(&s.answer, 0);
  }
  if (!scored) {
    if (c.rank == 0 && c.thread == 0) keep_choice(o, row, id, flags);
    return;
  }
  meet_cluster();
  const bool finite = score(c, o, row, x, id, ends);
  meet_cluster();
  if (c.rank == 0 && c.thread == 0) keep_choice(o, row, id, finite ? 0 : kNotFinite);
}

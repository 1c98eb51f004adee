// sample: chooses a token for each row of params (op/sampling.h), in the order of operations of
// runtime/sampling/sampler.h. A cluster of blocks a row; see sample_common.cuh for its layout.
//   PARAM_WORDS, MASK_WORDS, COUNT_WORDS, MAX_TOP, ROW_FACTOR, ROW_OFFSET
#pragma once

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

/// ceil(share * total), at least 1, for a share below 1.
__device__ __forceinline__ uint64_t part_of(uint64_t total, float share) {
  const uint64_t bits = static_cast<uint64_t>(share * 1099511627776.0f) << 24;
  const uint64_t whole = high_product(bits, total) + (bits * total != 0 ? 1 : 0);
  return whole == 0 ? 1 : whole;
}

/// The largest value of a row, the lowest id that has it, and whether something is not finite.
struct Best {
  float value = nothing();
  int id = 0;
  bool bad = false;
  __device__ void take(float x, int at) {
    bad |= !(x < -nothing());  // a NaN too
    if (x > value) value = x, id = at;
  }
};

/// Copies a segment to where it is worked on, without what the mask excludes.
__device__ __noinline__ Best load_segment(const float* from, float* to, const uint32_t* mask) {
  const Context c;
  constexpr int kAhead = 4;
  Best best;
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
        best.take(v[i].x[j], id + j);
      }
      if (IN_SHARED) {
        *reinterpret_cast<Four*>(to + local) = v[i];
      } else if (to != nullptr) {
        for (int j = 0; j < 4; ++j) {
          if (id + j < VOCAB) to[id + j] = v[i].x[j];
        }
      }
    }
  }
  return best;
}

__device__ __noinline__ Best best_of(View view) {
  const Context c;
  Best best;
#pragma unroll 1
  for (int q = c.warp; q < kGroups; q += kWarps) {
    const int local = q * kGroup + 4 * c.lane;
    const Four v = view.at(local);
#pragma unroll
    for (int j = 0; j < 4; ++j) best.take(v.x[j], c.rank * kSegment + local + j);
  }
  return best;
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
      v = v > 0 ? quotient_of(v, row.real(kRepetition)) : product_of(v, row.real(kRepetition));
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
__device__ __forceinline__ Best load_row(const Context& c, const Operands& o, const Row& row,
                                         float* x) {
  const int slot = row.word(kSlot);
  const int previous = slot >= 0 ? o.chosen[slot] : -2;
  const int mask = row.word(kMask);
  Best best =
      load_segment(row.logits(o), x, mask < 0 ? nullptr : o.masks + int64_t{mask} * MASK_WORDS);
  meet_block();
  if (!row.edited) return best;
  if (row.word(kEditsBegin) < row.word(kEditsEnd)) {
    apply_edits(c, o, row, x, previous, false);
    apply_edits(c, o, row, x, previous, true);
  }
  if (row.word(kCounts) >= 0) apply_penalties(o, row, x);
  return best_of(View{x});
}

/// Leaves the row's best in total[0] (its order) and whether something is not finite in total[1].
__device__ __forceinline__ void find_best(const Context& c, const Best& best) {
  const uint64_t mine = best.value == nothing() ? 0 : order_of(best.value, best.id);
  offer(c, 0, warp_most(mine));
  offer(c, 1, ballot(best.bad) != 0 ? 1 : 0);
  exchange(2, 0b11);
}

struct Draw {
  int top_k;  // 0: all
  float min_weight, top_p;
  uint64_t total;  // that top_p is a share of; 0: what top_k and min_weight leave
  uint64_t uniform;
};

/// The first block: draws from its list, which holds more than what may be kept.
__device__ __noinline__ void draw_from_list(int count, Scale scale, Draw draw) {
  const Context c;
  constexpr int kMine = (kList + THREADS - 1) / THREADS;
  ListEntries& list = c.s.list;
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    const float w = scale.weight(value_of(list.order[i]));
    list.mass[i] = w >= draw.min_weight ? mass_of(w) : 0;
  }
  meet_block();
  uint64_t above[kMine], sum = 0;
  uint32_t kept = 0;
  for (int m = 0; m < kMine; ++m) {
    const int i = c.thread + m * THREADS;
    above[m] = 0;
    if (i >= count) continue;
    int rank = 0;
    const uint64_t mine = list.order[i];
#pragma unroll 1
    for (int j = 0; j < count; ++j) {
      if (list.order[j] > mine) above[m] += list.mass[j], ++rank;
    }
    if (draw.top_k > 0 && rank >= draw.top_k) continue;
    kept |= 1u << m;
    sum += list.mass[i];
  }
  const uint64_t left = block_sum(sum);
  if (draw.top_p < 1.0f) {
    const uint64_t need = part_of(draw.total > 0 ? draw.total : left, draw.top_p);
    for (int m = 0; m < kMine; ++m) {
      if (above[m] >= need) kept &= ~(1u << m);
    }
  }
  sum = 0;
  for (int m = 0; m < kMine; ++m) {
    const int i = c.thread + m * THREADS;
    if (i >= count) continue;
    if ((kept >> m & 1) == 0) list.mass[i] = 0;
    sum += list.mass[i];
  }
  const uint64_t target = high_product(draw.uniform << 11, block_sum(sum));
#pragma unroll 1
  for (int i = c.thread; i < count; i += THREADS) {
    const uint64_t mine = list.order[i];
    uint64_t before = 0;
#pragma unroll 1
    for (int j = 0; j < count; ++j) {
      before +=
          static_cast<uint32_t>(list.order[j]) > static_cast<uint32_t>(mine) ? list.mass[j] : 0;
    }
    if (before <= target && target < before + list.mass[i]) c.s.answer = id_of(mine);
  }
}

/// Bins down to a weight.
__device__ __forceinline__ Binning down_to(const Scale& scale, float weight) {
  const float reach = fminf(87.0f, 0.01f - natural_log(weight));
  return {kByDistance, scale, static_cast<float>(kBins) * scale.scale / reach, 0, 0, 0};
}

/// A token by temperature, top-k, min-p and top-p, to the first block's s.answer. A meeting must
/// follow.
__device__ __forceinline__ void choose(const Context& c, const View& view, const Row& row,
                                       const Scale& scale) {
  int top_k = row.word(kTopK);
  if (top_k >= VOCAB || top_k < 0) top_k = 0;
  const float top_p = row.real(kTopP), min_p = row.real(kMinP);
  Draw draw = {top_k, min_p, top_p, 0, uniform_bits(row)};
  Filter filter = {0, min_p};
  if (top_k > 0) {
    const Selection few =
        select(view, down_to(scale, 2e-38f), {false, static_cast<uint64_t>(top_k)}, Filter{});
    if (few.listed) {
      if (c.rank == 0) draw_from_list(few.count, scale, draw);
      return;
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
      if (c.rank == 0) draw_from_list(nucleus.count, scale, draw);
      return;
    }
    filter.least = nucleus.least > filter.least ? nucleus.least : filter.least;
    weigh(view, scale, filter);
  }
  walk(view, scale, filter, draw.uniform);
}

/// Log-probabilities over the raw logits. Returns whether they are finite.
__device__ __forceinline__ bool score(const Context& c, const Operands& o, const Row& row, float* x,
                                      int id) {
  const View view{IN_SHARED ? x : row.logits(o)};
  Best best;
  if (IN_SHARED && (row.edited || row.word(kMask) >= 0)) {
    best = load_segment(row.logits(o), x, nullptr);
    meet_block();
  } else {
    best = best_of(view);
  }
  find_best(c, best);
  if (c.s.total[1] != 0 || c.s.total[0] == 0) return false;
  const Scale scale = {value_of(c.s.total[0]), 1.0f};
  weigh(view, scale, Filter{});
  const float log_total = natural_log(static_cast<float>(c.s.total[0]) *
                                      (1.0f / static_cast<float>(int64_t{1} << kUnitBits)));
  const uint64_t order = order_of(row.logits(o)[id], id);
  uint32_t before = 0;
#pragma unroll 1
  for (int q = c.warp; q < kGroups; q += kWarps) {
    const int local = q * kGroup + 4 * c.lane;
    const Four v = view.at(local);
    for (int j = 0; j < 4; ++j) {
      before += order_of(v.x[j], c.rank * kSegment + local + j) > order ? 1 : 0;
    }
  }
  offer(c, 0, warp_total(before));
  exchange(1, 0);
  int* result = o.results + int64_t{row.index} * 4;
  if (c.rank == 0 && c.thread == 0) {
    result[1] = static_cast<int>(bits_of(value_of(order) - scale.max - log_total));
    result[2] = static_cast<int>(c.s.total[0]) + 1;
  }
  int* top = o.tops + int64_t{row.index} * (2 * MAX_TOP);
  const int wanted = row.word(kLogprobs) < MAX_TOP ? row.word(kLogprobs) : MAX_TOP;
  if (c.rank == 0 && c.thread < 2 * MAX_TOP) top[c.thread] = c.thread < MAX_TOP ? -1 : 0;
  if (wanted == 0) return true;
  Selection few =
      select(view, down_to(scale, 2e-38f), {false, static_cast<uint64_t>(wanted)}, Filter{});
  if (!few.listed) {  // many equal ones around the last
    clear_list(c);
    const Binning binning = over_keys(scale, kLowestKey, key_of(scale.max));
    const Tally t = tally(view, binning, false, Filter{few.least, 0}, kBins - 1, true);
    few.count = static_cast<int>(t.num_above + t.num_inside);
  }
  if (c.rank != 0) return true;
#pragma unroll 1
  for (int i = c.thread; i < few.count; i += THREADS) {
    const uint64_t mine = c.s.list.order[i];
    int rank = 0;
#pragma unroll 1
    for (int j = 0; j < few.count; ++j) rank += c.s.list.order[j] > mine ? 1 : 0;
    if (rank >= wanted) continue;
    top[rank] = id_of(mine);
    top[MAX_TOP + rank] = static_cast<int>(bits_of(value_of(mine) - scale.max - log_total));
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
  if (c.thread == 0) s.phase = 0;
  float* x = reinterpret_cast<float*>(shared_memory() + sizeof(Shared));
  bool copied = true;
  if (!IN_SHARED) {
    copied = row.edited || row.word(kMask) >= 0;
    x = copied ? edited + int64_t{index} * VOCAB : nullptr;
  }
  find_best(c, load_row(c, o, row, x));
  const uint64_t best = s.total[0];
  int flags = s.total[1] != 0 ? kNotFinite : best == 0 ? kNoneLeft : 0;
  int id = id_of(best);
  if (flags == 0 && row.real(kTemperature) != 0.0f) {
    const View view{copied ? x : row.logits(o)};
    const float temperature = row.real(kTemperature);
    choose(c, view, row,
           {value_of(best), quotient_of(1.0f, temperature > 1e-6f ? temperature : 1e-6f)});
    meet_cluster();
    id = *at_rank(&s.answer, 0);
  }
  if (flags == 0 && row.word(kLogprobs) >= 0) {
    meet_cluster();
    if (!score(c, o, row, x, id)) flags = kNotFinite;
  }
  meet_cluster();  // nobody leaves while others read its memory
  if (c.rank == 0 && c.thread == 0) keep_choice(o, row, id, flags);
}

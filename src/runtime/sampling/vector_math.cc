#include "runtime/sampling/vector_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>

namespace ramjet::runtime {
namespace {

constexpr int kLanes = 16;

[[gnu::always_inline]] inline RowMax row_max_body(const float* x, int64_t n) {
  float best[kLanes];
  int32_t nan[kLanes] = {};
  std::fill(best, best + kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float v = x[i + j];
      best[j] = v > best[j] ? v : best[j];
      nan[j] |= v != v ? 1 : 0;
    }
  }
  for (int j = 0; i < n; ++i, ++j) {
    best[j] = x[i] > best[j] ? x[i] : best[j];
    nan[j] |= x[i] != x[i] ? 1 : 0;
  }
  RowMax result{best[0], false};
  for (int j = 0; j < kLanes; ++j) {
    result.value = std::max(result.value, best[j]);
    result.has_nan |= nan[j] != 0;
  }
  return result;
}

// exp for arguments of at most 0: 2^n * p(r), |error| about 1 ulp; 0 where exp would be subnormal.
[[gnu::always_inline]] inline float exp_nonpositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float biased = clamped * 1.44269504f + magic;
  const float n = biased - magic;
  const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(biased) << 23;
  const float value = std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return x < -87.0f ? 0.0f : value;
}

[[gnu::always_inline]] inline double exp_block_body(const float* x, int64_t n, float max,
                                                    float scale, float* w) {
  float sum[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float value = exp_nonpositive((x[i + j] - max) * scale);
      w[i + j] = value;
      sum[j] += value;
    }
  }
  for (int j = 0; i < n; ++i, ++j) {
    w[i] = exp_nonpositive((x[i] - max) * scale);
    sum[j] += w[i];
  }
  double total = 0;
  for (int j = 0; j < kLanes; ++j) total += static_cast<double>(sum[j]);
  return total;
}

[[gnu::always_inline]] inline int64_t count_greater_body(const float* x, int64_t n, float value) {
  int64_t count = 0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    int32_t part = 0;
    const int64_t end = std::min(n, begin + kSumBlock);
    for (int64_t i = begin; i < end; ++i) part += x[i] > value ? 1 : 0;
    count += part;
  }
  return count;
}

// True if any of 64 elements is above (or, with `equal`, at) the threshold.
[[gnu::always_inline]] inline bool any_above_body(const float* x, float threshold) {
  int32_t any = 0;
  for (int j = 0; j < 64; ++j) any |= x[j] > threshold ? 1 : 0;
  return any != 0;
}

struct Table {
  RowMax (*row_max)(const float*, int64_t);
  double (*exp_block)(const float*, int64_t, float, float, float*);
  int64_t (*count_greater)(const float*, int64_t, float);
  bool (*any_above)(const float*, float);
};

// The bodies above, compiled per instruction set: each wrapper inlines one.

RowMax row_max_base(const float* x, int64_t n) { return row_max_body(x, n); }
double exp_block_base(const float* x, int64_t n, float max, float scale, float* w) {
  return exp_block_body(x, n, max, scale, w);
}
int64_t count_greater_base(const float* x, int64_t n, float value) {
  return count_greater_body(x, n, value);
}
bool any_above_base(const float* x, float threshold) { return any_above_body(x, threshold); }
constexpr Table kBase = {row_max_base, exp_block_base, count_greater_base, any_above_base};

__attribute__((target("avx2"))) RowMax row_max_avx2(const float* x, int64_t n) {
  return row_max_body(x, n);
}
__attribute__((target("avx2"))) double exp_block_avx2(const float* x, int64_t n, float max,
                                                      float scale, float* w) {
  return exp_block_body(x, n, max, scale, w);
}
__attribute__((target("avx2"))) int64_t count_greater_avx2(const float* x, int64_t n, float value) {
  return count_greater_body(x, n, value);
}
__attribute__((target("avx2"))) bool any_above_avx2(const float* x, float threshold) {
  return any_above_body(x, threshold);
}
constexpr Table kAvx2 = {row_max_avx2, exp_block_avx2, count_greater_avx2, any_above_avx2};

__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) RowMax row_max_avx512(const float* x,
                                                                                    int64_t n) {
  return row_max_body(x, n);
}
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) double exp_block_avx512(
    const float* x, int64_t n, float max, float scale, float* w) {
  return exp_block_body(x, n, max, scale, w);
}
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) int64_t count_greater_avx512(
    const float* x, int64_t n, float value) {
  return count_greater_body(x, n, value);
}
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) bool any_above_avx512(
    const float* x, float threshold) {
  return any_above_body(x, threshold);
}
constexpr Table kAvx512 = {row_max_avx512, exp_block_avx512, count_greater_avx512,
                           any_above_avx512};

const Table& table() {
  static const Table& chosen = []() -> const Table& {
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      return kAvx512;
    }
    return __builtin_cpu_supports("avx2") ? kAvx2 : kBase;
  }();
  return chosen;
}

int64_t size_of(std::span<const float> x) { return static_cast<int64_t>(x.size()); }

}  // namespace

RowMax row_max(std::span<const float> x) { return table().row_max(x.data(), size_of(x)); }

int32_t index_of(std::span<const float> x, float value) {
  const float below = std::nextafter(value, -std::numeric_limits<float>::infinity());
  const int64_t n = size_of(x);
  for (int64_t begin = 0; begin < n; begin += 64) {
    if (begin + 64 <= n && !table().any_above(x.data() + begin, below)) continue;
    for (int64_t i = begin; i < std::min(n, begin + 64); ++i) {
      if (x[static_cast<size_t>(i)] == value) return static_cast<int32_t>(i);
    }
  }
  return -1;
}

double exp_row(std::span<const float> x, float max, float scale, std::span<float> w,
               std::vector<double>* block_sums) {
  double total = 0;
  block_sums->clear();
  for (int64_t begin = 0; begin < size_of(x); begin += kSumBlock) {
    const int64_t n = std::min(kSumBlock, size_of(x) - begin);
    const double sum = table().exp_block(x.data() + begin, n, max, scale, w.data() + begin);
    block_sums->push_back(sum);
    total += sum;
  }
  return total;
}

int64_t rank_before(std::span<const float> x, int32_t id) {
  const float value = x[static_cast<size_t>(id)];
  const auto head = x.first(static_cast<size_t>(id));
  return table().count_greater(x.data(), size_of(x), value) +
         std::count(head.begin(), head.end(), value);
}

void collect_at_least(std::span<const float> x, std::span<const float> w, float bound,
                      std::vector<Candidate>* out) {
  // any_above is strict; the next float below the bound makes it "at least".
  const float below = std::bit_cast<float>(std::bit_cast<int32_t>(bound) - 1);
  const int64_t n = size_of(w);
  out->clear();
  for (int64_t begin = 0; begin < n; begin += 64) {
    if (begin + 64 <= n && !table().any_above(w.data() + begin, below)) continue;
    // Without branches: whether an element is kept is as good as random.
    Candidate kept[64];
    size_t count = 0;
    for (int64_t i = begin; i < std::min(n, begin + 64); ++i) {
      const auto at = static_cast<size_t>(i);
      kept[count] = {x[at], static_cast<int32_t>(i), w[at]};
      count += w[at] >= bound ? 1 : 0;
    }
    out->insert(out->end(), kept, kept + count);
  }
}

void select_top_k(std::span<const float> x, int64_t k, std::vector<Candidate>* out) {
  out->clear();
  const int64_t n = size_of(x);
  const auto keep = static_cast<size_t>(std::min(k, n));
  const size_t room = keep * 2 + 64;
  float threshold = -std::numeric_limits<float>::infinity();
  const auto cut = [&] {
    if (out->size() <= keep) return;
    const auto kth = out->begin() + static_cast<ptrdiff_t>(keep) - 1;
    std::nth_element(out->begin(), kth, out->end(), more_likely);
    threshold = kth->x;  // a later element of equal value has a higher id, so it loses
    out->resize(keep);
  };
  for (int64_t begin = 0; begin < n; begin += 64) {
    if (begin + 64 <= n && !table().any_above(x.data() + begin, threshold)) continue;
    for (int64_t i = begin; i < std::min(n, begin + 64); ++i) {
      const float value = x[static_cast<size_t>(i)];
      if (value > threshold) out->push_back({value, static_cast<int32_t>(i), 0});
    }
    if (out->size() >= room) cut();
  }
  cut();
}

// Buckets by distance from the top first, so that only one bucket needs a selection.
Candidate select_mass(std::span<const Candidate> list, double mass, float max, float scale,
                      MassScratch* scratch) {
  constexpr float kPerUnit = 32;
  constexpr int32_t kBuckets = 88 * 32;
  const auto bucket_of = [&](const Candidate& c) {
    // Rounding is monotone, so the order of buckets is the order of values.
    const float distance = (max - c.x) * scale * kPerUnit;
    return static_cast<size_t>(distance < kBuckets - 1 ? static_cast<int32_t>(distance)
                                                       : kBuckets - 1);
  };
  scratch->buckets.assign(kBuckets, 0.0);
  for (const Candidate& c : list) scratch->buckets[bucket_of(c)] += static_cast<double>(c.w);
  double before = 0;
  size_t at = 0, last = 0;  // last: the last bucket that is not empty
  for (; at < kBuckets && before + scratch->buckets[at] < mass; ++at) {
    before += scratch->buckets[at];
    if (scratch->buckets[at] > 0) last = at;
  }
  if (at == kBuckets) {  // the mass was not reached, by rounding
    at = last;
    before = -std::numeric_limits<double>::infinity();
  }
  std::vector<Candidate>& rest = scratch->list;
  rest.clear();
  for (const Candidate& c : list) {
    if (bucket_of(c) == at) rest.push_back(c);
  }
  size_t low = 0, high = rest.size();
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(rest.begin() + static_cast<ptrdiff_t>(low),
                     rest.begin() + static_cast<ptrdiff_t>(middle),
                     rest.begin() + static_cast<ptrdiff_t>(high), more_likely);
    double sum = 0;
    for (size_t i = low; i < middle; ++i) sum += static_cast<double>(rest[i].w);
    if (before + sum >= mass) {
      high = middle;
    } else {
      before += sum;
      low = middle;
    }
  }
  return rest[low];
}

}  // namespace ramjet::runtime

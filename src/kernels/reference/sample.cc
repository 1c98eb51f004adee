// sample and resolve_tokens by sorting, in f64: what runtime/sampling/sampler.h does, step by step.
#include "kernels/reference/sample.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>

#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

class Params {
 public:
  explicit Params(std::span<const int32_t> words) : words_(words) {}
  int32_t word(SampleWord w) const { return words_[static_cast<size_t>(w)]; }
  float real(SampleWord w) const { return std::bit_cast<float>(word(w)); }

 private:
  std::span<const int32_t> words_;
};

bool more_likely(std::span<const float> x, int32_t a, int32_t b) {
  const float u = x[static_cast<size_t>(a)], v = x[static_cast<size_t>(b)];
  return u != v ? u > v : a < b;
}

/// Philox 4x32-10 (Salmon et al., SC 2011): [0, 1) with 53 bits.
double uniform_of(const Params& p) {
  std::array<uint32_t, 4> counter = {static_cast<uint32_t>(p.word(SampleWord::kPosition)), 0,
                                     static_cast<uint32_t>(p.word(SampleWord::kIndex)), 0};
  auto k0 = static_cast<uint32_t>(p.word(SampleWord::kSeedLow));
  auto k1 = static_cast<uint32_t>(p.word(SampleWord::kSeedHigh));
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return static_cast<double>((uint64_t{counter[0]} << 32 | counter[1]) >> 11) * 0x1.0p-53;
}

struct SampleCall {
  std::span<const float> logits;
  std::span<const int32_t> edits, masks;
  std::span<uint32_t> counts;
  std::span<int32_t> chosen;
  size_t vocab = 0;
  double nudge = 0;

  std::span<const float> row(const Params& p) const {
    return logits.subspan(static_cast<size_t>(p.word(SampleWord::kLogitsRow)) * vocab, vocab);
  }
  /// The half word of token `id` in a row of counts.
  uint32_t count_of(int32_t row, size_t id) const {
    const auto words = static_cast<size_t>(count_words(static_cast<int64_t>(vocab)));
    return counts[static_cast<size_t>(row) * words + id / 2] >> (id % 2 * 16) & 0xffff;
  }
};

std::vector<float> edited_row(const SampleCall& call, const Params& p) {
  const auto raw = call.row(p);
  std::vector<float> x(raw.begin(), raw.end());
  const int32_t slot = p.word(SampleWord::kSlot);
  const int32_t previous = slot >= 0 ? call.chosen[static_cast<size_t>(slot)] : -2;
  for (const bool exclude : {false, true}) {
    for (int32_t i = p.word(SampleWord::kEditsBegin); i < p.word(SampleWord::kEditsEnd); ++i) {
      const auto edit = call.edits.subspan(static_cast<size_t>(i) * kEditWords, kEditWords);
      const float value = std::bit_cast<float>(edit[1]);
      if ((value == kNothing) != exclude || (edit[2] >= 0 && edit[2] != previous)) continue;
      float& logit = x[static_cast<size_t>(edit[0])];
      logit = exclude ? kNothing : logit + value;
    }
  }
  if (const int32_t mask = p.word(SampleWord::kMask); mask >= 0) {
    const auto words = static_cast<size_t>(mask_words(static_cast<int64_t>(call.vocab)));
    for (size_t i = 0; i < x.size(); ++i) {
      const auto word =
          static_cast<uint32_t>(call.masks[static_cast<size_t>(mask) * words + i / 32]);
      if ((word >> (i % 32) & 1) == 0) x[i] = kNothing;
    }
  }
  const int32_t counts = p.word(SampleWord::kCounts);
  for (size_t i = 0; counts >= 0 && i < x.size(); ++i) {
    const uint32_t count = call.count_of(counts, i);
    if (count == 0) continue;
    const float repetition = p.real(SampleWord::kRepetition);
    // An absurd penalty is not an infinite one: +inf would say that the model has failed.
    x[i] =
        std::clamp(x[i] > 0 ? x[i] / repetition : x[i] * repetition, std::min(x[i], -1e30f), 1e30f);
    if ((count & kMostCounted) == 0) continue;
    x[i] -= p.real(SampleWord::kFrequency) * static_cast<float>(count & kMostCounted) +
            p.real(SampleWord::kPresence);
  }
  return x;
}

/// kSampleNotFinite, kSampleNoneLeft or 0.
int32_t flags_of(std::span<const float> x) {
  float max = kNothing;
  for (const float v : x) {
    if (std::isnan(v) || v == -kNothing) return kSampleNotFinite;
    max = std::max(max, v);
  }
  return max == kNothing ? kSampleNoneLeft : 0;
}

void score(const SampleCall& call, const Params& p, int32_t id, std::span<int32_t> result,
           std::span<int32_t> top) {
  const auto raw = call.row(p);
  if (flags_of(raw) != 0) {
    result[static_cast<size_t>(SampleResult::kFlags)] = kSampleNotFinite;
    return;
  }
  const auto max = static_cast<double>(*std::max_element(raw.begin(), raw.end()));
  double total = 0;
  for (const float v : raw) total += std::exp(static_cast<double>(v) - max);
  const auto logprob = [&](int32_t token) {
    const auto v = static_cast<double>(raw[static_cast<size_t>(token)]);
    return std::bit_cast<int32_t>(static_cast<float>(v - max - std::log(total)));
  };
  std::vector<int32_t> order(raw.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int32_t i) { return raw[static_cast<size_t>(i)] == kNothing; });
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return more_likely(raw, a, b); });
  const auto at = std::find(order.begin(), order.end(), id);
  result[static_cast<size_t>(SampleResult::kLogprob)] = logprob(id);
  result[static_cast<size_t>(SampleResult::kRank)] = static_cast<int32_t>(at - order.begin()) + 1;
  const auto wanted = static_cast<size_t>(p.word(SampleWord::kLogprobs));
  for (size_t i = 0; i < kMaxTopLogprobs; ++i) {
    const bool there = i < wanted && i < order.size();
    top[i] = there ? order[i] : -1;
    top[kMaxTopLogprobs + i] = there ? logprob(order[i]) : 0;
  }
}

void sample_row(const SampleCall& call, const Params& p, std::span<int32_t> result,
                std::span<int32_t> top) {
  const std::vector<float> x = edited_row(call, p);
  int32_t flags = flags_of(x), id = -1;
  result[static_cast<size_t>(SampleResult::kLogprob)] = 0;
  result[static_cast<size_t>(SampleResult::kRank)] = 0;
  result[static_cast<size_t>(SampleResult::kFlags)] = flags;
  if (flags == 0) {
    const SampleFilter filter = {p.real(SampleWord::kTemperature), p.word(SampleWord::kTopK),
                                 p.real(SampleWord::kTopP), p.real(SampleWord::kMinP)};
    id = draw_token(x, filter, uniform_of(p) + call.nudge);
    if (p.word(SampleWord::kLogprobs) >= 0) score(call, p, id, result, top);
    flags = result[static_cast<size_t>(SampleResult::kFlags)];
  }
  result[static_cast<size_t>(SampleResult::kId)] = flags == 0 ? id : -1;
  if (const int32_t slot = p.word(SampleWord::kSlot); slot >= 0) {
    call.chosen[static_cast<size_t>(slot)] = flags == 0 ? id : 0;
  }
  const int32_t counts = p.word(SampleWord::kCounts);
  if (flags != 0 || counts < 0) return;
  const auto token = static_cast<size_t>(id);
  if ((call.count_of(counts, token) & kMostCounted) == kMostCounted) return;
  const auto words = static_cast<size_t>(count_words(static_cast<int64_t>(call.vocab)));
  call.counts[static_cast<size_t>(counts) * words + token / 2] += 1u << (token % 2 * 16);
}

}  // namespace

int32_t draw_token(std::span<const float> x, const SampleFilter& filter, double uniform) {
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int32_t i) { return x[static_cast<size_t>(i)] == kNothing; });
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return more_likely(x, a, b); });
  if (filter.temperature == 0) return order[0];
  const float max = x[static_cast<size_t>(order[0])];
  const float scale = 1.0f / std::max(filter.temperature, 1e-6f);
  const auto weight = [&](int32_t id) {
    const float y = (x[static_cast<size_t>(id)] - max) * scale;
    return y < -87.0f ? 0.0f : static_cast<float>(std::exp(static_cast<double>(y)));
  };
  if (filter.top_k > 0) {
    order.resize(std::min(order.size(), static_cast<size_t>(filter.top_k)));
  }
  double total = 0;
  size_t count = 0;
  for (; count < order.size() && weight(order[count]) >= filter.min_p; ++count) {
    total += static_cast<double>(weight(order[count]));
  }
  order.resize(count);
  if (filter.top_p < 1) {
    double sum = 0;
    for (count = 0; count < order.size() && sum < static_cast<double>(filter.top_p) * total;) {
      sum += static_cast<double>(weight(order[count++]));
    }
    order.resize(std::max<size_t>(count, 1));
    total = sum;
  }
  std::sort(order.begin(), order.end());
  double sum = 0;
  for (const int32_t id : order) {
    sum += static_cast<double>(weight(id));
    if (sum > uniform * total) return id;
  }
  return order.back();
}

void sample(const KernelCall& call) { sample_nudged(call, 0); }

void sample_nudged(const KernelCall& call, double nudge) {
  const SampleCall c = {call.inputs[0].span<float>(),
                        call.inputs[2].span<int32_t>(),
                        call.inputs[3].span<int32_t>(),
                        call.inputs[4].span<uint32_t>(),
                        call.inputs[5].span<int32_t>(),
                        static_cast<size_t>(call.inputs[0].shape.back()),
                        nudge};
  const auto params = call.inputs[1].span<int32_t>();
  const auto results = call.outputs[0].span<int32_t>(), tops = call.outputs[1].span<int32_t>();
  const size_t top_words = 2 * kMaxTopLogprobs;
  for (size_t i = 0; i * kSampleWords < params.size(); ++i) {
    sample_row(c, Params(params.subspan(i * kSampleWords, kSampleWords)),
               results.subspan(i * kSampleResultWords, kSampleResultWords),
               tops.subspan(i * top_words, top_words));
  }
}

void resolve_tokens(const KernelCall& call) {
  const auto ids = call.inputs[0].span<int32_t>(), chosen = call.inputs[1].span<int32_t>();
  const auto out = call.outputs[0].span<int32_t>();
  for (size_t i = 0; i < ids.size(); ++i) {
    out[i] = ids[i] < 0 ? chosen[static_cast<size_t>(-1 - ids[i])] : ids[i];
  }
}

}  // namespace ramjet::kernels::reference

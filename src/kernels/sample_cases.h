// Test support: random steps of the sample op, and how far a result may lie from the reference.
// Header-only, so that tests and labs share it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/reference/reference.h"
#include "kernels/reference/sample.h"
#include "op/sampling.h"

namespace ramjet::kernels {

/// Operands of one step. Row i uses row i of the logits, of the counts and of the masks, and slot
/// i.
struct SampleStep {
  int64_t vocab = 0, rows = 0;
  std::vector<float> logits;
  std::vector<int32_t> params, edits, masks, counts, chosen, results, tops;

  int32_t& word(int64_t row, SampleWord w) {
    return params[static_cast<size_t>(row * kSampleWords) + static_cast<size_t>(w)];
  }
  void set(int64_t row, SampleWord w, float value) { word(row, w) = std::bit_cast<int32_t>(value); }
  int32_t result(int64_t row, SampleResult w) const {
    return results[static_cast<size_t>(row * kSampleResultWords) + static_cast<size_t>(w)];
  }
  float* row(int64_t i) { return logits.data() + i * vocab; }

  SampleStep(int64_t vocab_size, int64_t num_rows) : vocab(vocab_size), rows(num_rows) {
    const auto sized = [&](int64_t words) { return static_cast<size_t>(rows * words); };
    logits.assign(sized(vocab), 0);
    params.assign(sized(kSampleWords), 0);
    masks.assign(sized(mask_words(vocab)), -1);
    counts.assign(sized(count_words(vocab)), 0);
    chosen.assign(sized(1), 7);
    results.assign(sized(kSampleResultWords), -77);
    tops.assign(sized(2 * kMaxTopLogprobs), -77);
    for (int64_t i = 0; i < rows; ++i) {
      word(i, SampleWord::kLogitsRow) = word(i, SampleWord::kSlot) = static_cast<int32_t>(i);
      word(i, SampleWord::kCounts) = word(i, SampleWord::kMask) = -1;
      word(i, SampleWord::kLogprobs) = -1;
      set(i, SampleWord::kTemperature, 1), set(i, SampleWord::kTopP, 1);
      set(i, SampleWord::kRepetition, 1);
    }
  }

  /// `nudge` changes the random numbers: to see whether a choice lies at a boundary.
  void run_reference(double nudge = 0) {
    const auto view = [](auto& v, std::vector<int64_t> dims) {
      const bool real = std::is_same_v<decltype(v.data()), float*>;
      return TensorView{v.data(), real ? DType::kF32 : DType::kI32, Shape(dims)};
    };
    const int64_t num_edits = static_cast<int64_t>(edits.size()) / kEditWords;
    const std::vector<TensorView> in = {view(logits, {rows, vocab}),
                                        view(params, {rows, kSampleWords}),
                                        view(edits, {num_edits, kEditWords}),
                                        view(masks, {rows, mask_words(vocab)}),
                                        view(counts, {rows, count_words(vocab)}),
                                        view(chosen, {rows})};
    const std::vector<TensorView> out = {view(results, {rows, kSampleResultWords}),
                                         view(tops, {rows, 2 * kMaxTopLogprobs})};
    KernelCall call;
    call.inputs = in, call.outputs = out;
    reference::sample_nudged(call, nudge);
  }
};

/// Fills a row's logits: normal, rounded (many ties), all equal, peaked, nearly all excluded, with
/// NaN or infinity, ... by `kind` of kLogitKinds.
inline constexpr int kLogitKinds = 10;
inline void fill_logits(SampleStep& step, int64_t row, int kind, std::mt19937_64& rng) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float spread[] = {1, 3, 0.2f, 3, 0, 8, 2, 2, 1, 30};
  std::normal_distribution<float> normal(0, 1);
  float* x = step.row(row);
  const auto any = [&] { return static_cast<int64_t>(rng() % static_cast<uint64_t>(step.vocab)); };
  for (int64_t i = 0; i < step.vocab; ++i) {
    x[i] = normal(rng) * spread[kind];
    if (kind == 3) x[i] = std::round(x[i]);
    if (kind == 6 && rng() % 50 != 0) x[i] = -kInf;
  }
  if (kind == 7) x[any()] = rng() % 2 == 0 ? kInf : std::nanf("");
  if (kind == 5) x[any()] = 20;
  if (kind == 8 && rng() % 2 == 0) std::fill(x, x + step.vocab, -kInf);
  if (kind == 6) x[any()] = 1;
}

inline void add_controls(SampleStep& step, int64_t row, std::mt19937_64& rng) {
  const auto vocab = static_cast<uint64_t>(step.vocab);
  step.word(row, SampleWord::kEditsBegin) =
      static_cast<int32_t>(step.edits.size() / static_cast<size_t>(kEditWords));
  std::vector<int32_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(static_cast<int32_t>(rng() % vocab));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const int32_t id : ids) {
    const float bias = static_cast<float>(rng() % 100) * 0.1f - 4;
    const int32_t previous = rng() % 3 == 0 ? static_cast<int32_t>(7 + rng() % 2) : -1;
    step.edits.insert(step.edits.end(), {id, std::bit_cast<int32_t>(bias), previous});
    if (rng() % 4 == 0) {
      const int32_t none = std::bit_cast<int32_t>(-std::numeric_limits<float>::infinity());
      step.edits.insert(step.edits.end(), {id, none, rng() % 2 == 0 ? -1 : 8});
    }
  }
  step.word(row, SampleWord::kEditsEnd) =
      static_cast<int32_t>(step.edits.size() / static_cast<size_t>(kEditWords));
  if (rng() % 2 == 0) {
    step.word(row, SampleWord::kMask) = static_cast<int32_t>(row);
    const int64_t words = mask_words(step.vocab);
    for (int64_t w = 0; w < words; ++w) {
      step.masks[static_cast<size_t>(row * words + w)] = static_cast<int32_t>(rng() | rng());
    }
  }
  if (rng() % 2 == 0) {
    step.word(row, SampleWord::kCounts) = static_cast<int32_t>(row);
    const int64_t words = count_words(step.vocab);
    for (int i = 0; i < 200; ++i) {
      const uint64_t token = rng() % vocab;
      const uint32_t count = rng() % 3 == 0 ? kInPrompt : static_cast<uint32_t>(rng() % 4);
      auto& word = step.counts[static_cast<size_t>(row * words) + token / 2];
      word |= static_cast<int32_t>(count << (token % 2 * 16));
    }
    const float most[] = {0.8f, 0.9f, 1.1f, 1.2f, 1.3f, 1e-39f, 1e38f};
    step.set(row, SampleWord::kRepetition, most[rng() % 7]);
    step.set(row, SampleWord::kPresence, 0.25f * static_cast<float>(rng() % 4));
    step.set(row, SampleWord::kFrequency, 0.25f * static_cast<float>(rng() % 4) - 0.25f);
  }
}

/// Random logits and parameters of every kind; none of `controls`: no bias, masks, penalties.
inline SampleStep random_step(int64_t vocab, int64_t rows, std::mt19937_64& rng, bool controls) {
  SampleStep step(vocab, rows);
  const float temperatures[] = {0, 1, 1, 0.3f, 0.7f, 2, 20, 1e-4f};
  const float shares[] = {1, 1, 0.9f, 0.5f, 0.95f, 0.999f, 1e-6f, 0.99999f};
  for (int64_t i = 0; i < rows; ++i) {
    fill_logits(step, i, static_cast<int>(rng() % kLogitKinds), rng);
    step.set(i, SampleWord::kTemperature, temperatures[rng() % 8]);
    step.set(i, SampleWord::kTopP, shares[rng() % 8]);
    if (rng() % 4 == 0) step.set(i, SampleWord::kMinP, rng() % 4 == 0 ? 1 : 0.02f);
    const int32_t ks[] = {0, 0, 0, 1, 2, 40, 300, 700, 5000, -1};
    step.word(i, SampleWord::kTopK) = ks[rng() % 10];
    step.word(i, SampleWord::kSeedLow) = static_cast<int32_t>(rng());
    step.word(i, SampleWord::kSeedHigh) = static_cast<int32_t>(rng());
    step.word(i, SampleWord::kIndex) = static_cast<int32_t>(rng() % 4);
    step.word(i, SampleWord::kPosition) = static_cast<int32_t>(rng() % 1000);
    const int32_t wanted[] = {-1, -1, 0, 1, 5, 20};
    step.word(i, SampleWord::kLogprobs) = wanted[rng() % 6];
    if (controls && rng() % 2 == 0) add_controls(step, i, rng);
  }
  return step;
}

/// "" if the rows agree; "id" if only the choice differs; else what differs.
inline std::string row_difference(const SampleStep& want, const SampleStep& got, int64_t row) {
  const auto text = [&](const char* what, double a, double b) {
    return std::string(what) + " want " + std::to_string(a) + " got " + std::to_string(b);
  };
  const int32_t flags = want.result(row, SampleResult::kFlags);
  if (flags != got.result(row, SampleResult::kFlags)) {
    return text("flags", flags, got.result(row, SampleResult::kFlags));
  }
  const int32_t a = want.result(row, SampleResult::kId), b = got.result(row, SampleResult::kId);
  if (a != b) return "id";
  if (want.chosen != got.chosen &&
      want.chosen[static_cast<size_t>(row)] != got.chosen[static_cast<size_t>(row)]) {
    return "chosen";
  }
  const int32_t wanted = want.params[static_cast<size_t>(row * kSampleWords) +
                                     static_cast<size_t>(SampleWord::kLogprobs)];
  if (flags != 0 || wanted < 0) return "";
  const auto real = [](int32_t bits) { return static_cast<double>(std::bit_cast<float>(bits)); };
  const double p = real(want.result(row, SampleResult::kLogprob));
  const double q = real(got.result(row, SampleResult::kLogprob));
  if (!(std::fabs(p - q) <= 1e-5 + 1e-6 * std::fabs(p))) return text("logprob", p, q);
  const int32_t rank = want.result(row, SampleResult::kRank);
  if (rank != got.result(row, SampleResult::kRank)) {
    return text("rank", rank, got.result(row, SampleResult::kRank));
  }
  for (int i = 0; i < kMaxTopLogprobs && wanted > 0; ++i) {
    const auto at = static_cast<size_t>(row * 2 * kMaxTopLogprobs + i);
    if (want.tops[at] != got.tops[at]) return text("top id", want.tops[at], got.tops[at]);
    const double u = real(want.tops[at + kMaxTopLogprobs]);
    const double v = real(got.tops[at + kMaxTopLogprobs]);
    if (!(std::fabs(u - v) <= 1e-5 + 1e-6 * std::fabs(u))) return text("top logprob", u, v);
  }
  return "";
}

}  // namespace ramjet::kernels

// The sampler against a naive one that sorts, parameter by parameter, and against distributions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "runtime/sampling/philox.h"
#include "runtime/sampling/sampler.h"

namespace ramjet::runtime {
namespace {

using Row = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();

Row random_row(std::mt19937& rng, size_t size, bool ties) {
  std::normal_distribution<float> normal(0, 3);
  Row row(size);
  for (float& x : row) x = ties ? std::round(normal(rng)) : normal(rng);
  return row;
}

// Probabilities after temperature, top-k, min-p and top-p, by sorting and in double.
std::vector<double> naive_distribution(const Row& row, const SamplingParams& params) {
  const size_t n = row.size();
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  std::vector<double> p(n, 0.0);
  size_t keep = n;
  if (params.top_k > 0) keep = std::min(n, static_cast<size_t>(params.top_k));
  const double top = static_cast<double>(row[static_cast<size_t>(order[0])]);
  double total = 0;
  std::vector<double> weights;
  for (size_t i = 0; i < keep; ++i) {
    const double x = static_cast<double>(row[static_cast<size_t>(order[i])]);
    const double w = std::exp((x - top) / static_cast<double>(params.temperature));
    if (w < static_cast<double>(params.min_p)) break;
    weights.push_back(w);
    total += w;
  }
  double sum = 0;
  size_t count = 0;
  while (count < weights.size() &&
         (count == 0 || sum < static_cast<double>(params.top_p) * total)) {
    sum += weights[count++];
  }
  for (size_t i = 0; i < count; ++i) p[static_cast<size_t>(order[i])] = weights[i] / sum;
  return p;
}

int32_t sample_once(const Row& row, const SamplingParams& params, uint64_t seed,
                    std::vector<int32_t> history = {}) {
  SamplingState state(&params, {}, {}, 0);
  Sampler sampler(static_cast<int64_t>(row.size()), nullptr);
  SampleJob job;
  job.logits = row;
  job.state = &state;
  job.history = history;
  job.seed = seed;
  sampler.sample(std::span(&job, 1));
  EXPECT_FALSE(job.error) << job.error->message;
  return job.id;
}

// Draws `count` tokens and compares their counts with `expected` by Pearson's chi-square.
void expect_distribution(const Row& row, const SamplingParams& params, int count) {
  const std::vector<double> expected = naive_distribution(row, params);
  std::vector<int> counts(row.size(), 0);
  SamplingState state(&params, {}, {}, 0);
  Sampler sampler(static_cast<int64_t>(row.size()), nullptr);
  std::vector<SampleJob> jobs(static_cast<size_t>(count));
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].logits = row;
    jobs[i].state = &state;
    jobs[i].seed = i;
  }
  sampler.sample(jobs);
  for (const SampleJob& job : jobs) {
    ASSERT_FALSE(job.error);
    ASSERT_GT(expected[static_cast<size_t>(job.id)], 0) << "token " << job.id << " was excluded";
    ++counts[static_cast<size_t>(job.id)];
  }
  double chi_square = 0, rest_expected = 0, rest_count = 0;
  int cells = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double e = expected[i] * count;
    if (e < 8) {  // rare tokens share a cell
      rest_expected += e, rest_count += counts[i];
      continue;
    }
    chi_square += (counts[i] - e) * (counts[i] - e) / e;
    ++cells;
  }
  if (rest_expected > 1) {
    chi_square += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
    ++cells;
  }
  // Four standard deviations above the mean of a chi-square with cells - 1 degrees of freedom.
  const double freedom = std::max(1, cells - 1);
  EXPECT_LT(chi_square, freedom + 4 * std::sqrt(2 * freedom) + 8);
}

TEST(Philox, KnownAnswers) {
  // The reference vectors of the authors' Random123 distribution, kat_vectors, philox4x32 10.
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(VectorMath, ExpRowEqualsExp) {
  Row x, w(2000);
  for (int i = 0; i < 2000; ++i) x.push_back(-0.045f * static_cast<float>(i));
  x[7] = -kInf;
  std::vector<double> blocks;
  const double total = exp_row(x, 0, 1, w, &blocks);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (x[i] < -87) {
      EXPECT_EQ(w[i], 0);
    } else {
      EXPECT_NEAR(static_cast<double>(w[i]) / exact, 1, 3e-7) << x[i];
    }
    sum += exact;
  }
  EXPECT_EQ(w[0], 1.0f);
  EXPECT_NEAR(total / sum, 1, 1e-6);
  EXPECT_EQ(blocks.size(), 4u);
}

TEST(VectorMath, TopKEqualsSorting) {
  std::mt19937 rng(3);
  for (int round = 0; round < 200; ++round) {
    const Row row = random_row(rng, 1 + rng() % 3000, round % 2 == 0);
    const auto k = static_cast<int64_t>(1 + rng() % (row.size() + 3));
    std::vector<Candidate> got, all;
    select_top_k(row, k, &got);
    std::sort(got.begin(), got.end(), more_likely);
    for (size_t i = 0; i < row.size(); ++i) all.push_back({row[i], static_cast<int32_t>(i), 0});
    std::sort(all.begin(), all.end(), more_likely);
    ASSERT_EQ(got.size(), std::min(row.size(), static_cast<size_t>(k)));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i].id, all[i].id);
    for (size_t i = 0; i < std::min<size_t>(all.size(), 50); ++i) {
      ASSERT_EQ(rank_before(row, all[i].id), static_cast<int64_t>(i));
    }
  }
}

TEST(Sampler, GreedyIsTheArgmaxAndTiesGoToTheLowerId) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(sample_once({1, 5, 5, 2}, params, 1), 1);
  EXPECT_EQ(sample_once({-kInf, -7, -kInf}, params, 1), 1);
  std::mt19937 rng(4);
  for (int i = 0; i < 100; ++i) {
    const Row row = random_row(rng, 1 + rng() % 500, i % 2 == 0);
    EXPECT_EQ(sample_once(row, params, 1), std::max_element(row.begin(), row.end()) - row.begin());
  }
}

TEST(Sampler, NeverLeavesTheSetOfTheNaiveSampler) {
  std::mt19937 rng(5);
  for (int round = 0; round < 3000; ++round) {
    SamplingParams params;
    params.temperature = 0.3f + 0.1f * static_cast<float>(rng() % 20);
    if (rng() % 2 == 0) params.top_k = static_cast<int>(1 + rng() % 60);
    if (rng() % 2 == 0) params.top_p = 0.05f + 0.01f * static_cast<float>(rng() % 95);
    if (rng() % 3 == 0) params.min_p = 0.001f * static_cast<float>(rng() % 400);
    const Row row = random_row(rng, 1 + rng() % 400, round % 4 == 0);
    const int32_t id = sample_once(row, params, rng());
    EXPECT_GT(naive_distribution(row, params)[static_cast<size_t>(id)], 0)
        << "round " << round << " k " << params.top_k << " p " << params.top_p << " min_p "
        << params.min_p;
  }
}

TEST(Sampler, DrawsFromTheRightDistribution) {
  std::mt19937 rng(6);
  const Row row = random_row(rng, 700, false);
  const auto check = [&](float temperature, int top_k, float top_p, float min_p) {
    SCOPED_TRACE(testing::Message() << temperature << " " << top_k << " " << top_p << " " << min_p);
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    expect_distribution(row, params, 20000);
  };
  check(1, 0, 1, 0);
  check(2.5f, 0, 1, 0);
  check(1, 20, 1, 0);
  check(1.5f, 0, 0.7f, 0);
  check(1.5f, 0, 1, 0.05f);
  check(1.5f, 40, 0.6f, 0);
  check(2, 50, 0.9f, 0.02f);
  check(2, 0, 0.9f, 0.02f);
}

TEST(Sampler, ResultsDependOnSeedIndexAndPositionOnly) {
  std::mt19937 rng(8);
  ThreadPool pool(2);
  SamplingParams params;
  params.top_p = 0.95f;
  std::vector<Row> rows;
  for (int i = 0; i < 64; ++i) rows.push_back(random_row(rng, 1000, false));
  SamplingState first(&params, {}, {}, 0), second(&params, {}, {}, 1);
  const auto sample = [&](Sampler& sampler, size_t from, size_t count) {
    std::vector<SampleJob> jobs(count);
    for (size_t i = 0; i < count; ++i) {
      jobs[i].logits = rows[from + i];
      jobs[i].state = (from + i) % 2 == 0 ? &first : &second;
      jobs[i].seed = from + i;
    }
    sampler.sample(jobs);
    std::vector<int32_t> ids;
    for (const SampleJob& job : jobs) ids.push_back(job.id);
    return ids;
  };
  Sampler serial(1000, nullptr), parallel(1000, &pool);
  const std::vector<int32_t> together = sample(parallel, 0, 64);
  std::vector<int32_t> alone;
  for (size_t i = 0; i < 64; ++i) alone.push_back(sample(serial, i, 1)[0]);
  EXPECT_EQ(together, alone);
  EXPECT_NE(philox_uniform(1, 0, 5), philox_uniform(1, 1, 5)) << "index";
  EXPECT_NE(philox_uniform(1, 0, 5), philox_uniform(1, 0, 6)) << "position";
  EXPECT_NE(philox_uniform(1, 0, 5), philox_uniform(2, 0, 5)) << "seed";
}

// Applies the controls to a row and returns what is left of it.
Row edited(const SamplingParams& params, Row row, std::vector<int32_t> prompt,
           std::vector<int32_t> output, std::vector<int32_t> stops = {}) {
  SamplingState state(&params, prompt, stops, 0);
  std::vector<int32_t> history = prompt;
  for (const int32_t id : output) {
    EXPECT_TRUE(state.accept(id).ok());
    history.push_back(id);
  }
  if (state.edits_logits(static_cast<int64_t>(output.size()))) {
    EXPECT_TRUE(state.edit(history, static_cast<int64_t>(prompt.size()), row).ok());
  }
  return row;
}

TEST(Controls, RepetitionPenaltyCoversPromptAndOutput) {
  SamplingParams params;
  params.controls.repetition_penalty = 2;
  EXPECT_EQ(edited(params, {4, -4, 4, -4}, {0, 0}, {3, 3}), (Row{2, -4, 4, -8}));
}

TEST(Controls, AnAbsurdRepetitionPenaltyStaysFinite) {
  const float excluded = -std::numeric_limits<float>::infinity();
  SamplingParams params;
  for (const float penalty : {1e-45f, 1e-38f, 1e38f}) {
    params.controls.repetition_penalty = penalty;
    const Row row = edited(params, {4, -4, 0, excluded, 1}, {0, 1, 2, 3}, {0, 1, 2, 3});
    for (const size_t i : {0, 1, 2, 4}) EXPECT_TRUE(std::isfinite(row[i])) << penalty << " " << i;
    EXPECT_EQ(row[3], excluded) << penalty;
    EXPECT_EQ(row[4], 1);
  }
}

TEST(Controls, PresenceAndFrequencyCoverTheOutput) {
  SamplingParams params;
  params.controls.presence_penalty = 1;
  params.controls.frequency_penalty = 0.5f;
  EXPECT_EQ(edited(params, {4, 4, 4, 4}, {0}, {1, 3, 3}), (Row{4, 2.5f, 4, 2}));
}

TEST(Controls, BiasIsAddedBeforePenalties) {
  SamplingParams params;
  params.controls.bias = {{1, 3.0f}, {2, -kInf}};
  EXPECT_EQ(edited(params, {0, 1, 9, 0}, {}, {}), (Row{0, 4, -kInf, 0}));
  params.controls.repetition_penalty = 2;
  EXPECT_EQ(edited(params, {0, 1, 9, 0}, {1}, {}), (Row{0, 2, -kInf, 0}));
}

TEST(Controls, AllowedIdsExcludeAllOthers) {
  SamplingParams params;
  params.controls.allowed_ids = {3, 1, 3};
  EXPECT_EQ(edited(params, {1, 2, 3, 4}, {}, {}), (Row{-kInf, 2, -kInf, 4}));
}

TEST(Controls, BadWordsAreNotCompleted) {
  SamplingParams params;
  params.controls.bad_words = {{0}, {1, 2}, {1, 1, 3}};
  EXPECT_EQ(edited(params, {9, 9, 9, 9}, {}, {}), (Row{-kInf, 9, 9, 9}));
  EXPECT_EQ(edited(params, {9, 9, 9, 9}, {1}, {}), (Row{-kInf, 9, -kInf, 9}));
  EXPECT_EQ(edited(params, {9, 9, 9, 9}, {1}, {1}), (Row{-kInf, 9, -kInf, -kInf}));
}

TEST(Controls, MinTokensHoldsBackEveryStopId) {
  SamplingParams params;
  params.stop.min_tokens = 2;
  EXPECT_EQ(edited(params, {9, 9, 9}, {1}, {1}, {0, 2}), (Row{-kInf, 9, -kInf}));
  EXPECT_EQ(edited(params, {9, 9, 9}, {1}, {1, 1}, {0, 2}), (Row{9, 9, 9}));
}

class EvenTokens final : public TokenMask {
 public:
  bool fill(std::span<uint32_t> bits) override {
    std::fill(bits.begin(), bits.end(), 0x55555555u);
    return ++calls_ % 2 == 1;  // every second time: no restriction
  }
  bool accept(int32_t id) override { return id % 2 == 0; }
  bool finished() const override { return false; }
  std::unique_ptr<TokenMask> clone() const override { return std::make_unique<EvenTokens>(*this); }

 private:
  int calls_ = 0;
};

TEST(Controls, AMaskExcludesWhatItDoesNotAllow) {
  SamplingParams params;
  params.controls.mask = std::make_shared<EvenTokens>();
  Row row(70, 1.0f);
  const Row masked = edited(params, row, {}, {});
  for (size_t i = 0; i < row.size(); ++i) EXPECT_EQ(masked[i], i % 2 == 0 ? 1.0f : -kInf);
  SamplingState state(&params, {}, {}, 0);
  Row first = row, second = row;
  EXPECT_TRUE(state.edit({}, 0, first).ok());
  EXPECT_TRUE(state.edit({}, 0, second).ok());
  EXPECT_EQ(second, row) << "false means that every token may come";
  EXPECT_FALSE(state.accept(3).ok());
}

TEST(Sampler, LogprobsAreTheLogSoftmaxOfTheRawLogits) {
  std::mt19937 rng(9);
  const Row row = random_row(rng, 300, true);
  SamplingParams params;
  params.temperature = 0.5f;
  params.controls.bias = {{7, 50.0f}};  // shows in the choice, not in the logprobs
  SamplingState state(&params, {}, {}, 0);
  Sampler sampler(300, nullptr);
  SampleJob job;
  job.logits = row;
  job.state = &state;
  job.top_logprobs = 5;
  sampler.sample(std::span(&job, 1));
  ASSERT_EQ(job.id, 7);
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  const auto logprob = [&](int32_t id) {
    return static_cast<double>(row[static_cast<size_t>(id)]) - std::log(sum);
  };
  EXPECT_NEAR(job.logprobs.chosen.logprob, logprob(7), 1e-5);
  std::vector<int32_t> order(300);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  EXPECT_EQ(job.logprobs.chosen.rank, std::find(order.begin(), order.end(), 7) - order.begin() + 1);
  ASSERT_EQ(job.logprobs.top.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(job.logprobs.top[i].id, order[i]);
    EXPECT_EQ(job.logprobs.top[i].rank, static_cast<int>(i) + 1);
    EXPECT_NEAR(job.logprobs.top[i].logprob, logprob(order[i]), 1e-5);
  }
}

TEST(Sampler, BadLogitsFailTheirRowOnly) {
  SamplingParams params;
  SamplingState state(&params, {}, {}, 0);
  Sampler sampler(4, nullptr);
  const Row good = {1, 2, 3, 4}, nan = {1, std::nanf(""), 3, 4}, inf = {1, kInf, 3, 4},
            none(4, -kInf);
  std::vector<SampleJob> jobs(4);
  const Row* rows[] = {&good, &nan, &inf, &none};
  for (size_t i = 0; i < 4; ++i) {
    jobs[i].logits = *rows[i];
    jobs[i].state = &state;
  }
  sampler.sample(jobs);
  EXPECT_FALSE(jobs[0].error);
  EXPECT_EQ(jobs[1].error->code, ErrorCode::kInternal);
  EXPECT_EQ(jobs[2].error->code, ErrorCode::kInternal);
  EXPECT_EQ(jobs[3].error->code, ErrorCode::kInvalidArgument);
}

TEST(TokenCounts, CountsManyTokens) {
  TokenCounts counts;
  for (int round = 0; round < 3; ++round) {
    for (int32_t id = 0; id < 1000; ++id) counts.add(id * 7, round > 0);
  }
  ASSERT_EQ(counts.entries().size(), 1000u);
  for (const TokenCounts::Entry& entry : counts.entries()) EXPECT_EQ(entry.in_output, 2);
}

}  // namespace
}  // namespace ramjet::runtime

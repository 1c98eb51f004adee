// The sample op's reference is the sampler: the same edits, order of operations, random numbers.
#include <gtest/gtest.h>

#include "kernels/sample_cases.h"
#include "runtime/sampling/sampler.h"

namespace ramjet::runtime {
namespace {

constexpr int64_t kVocab = 777;

/// The request that a row without controls came from.
SamplingParams params_of(kernels::SampleStep& step, int64_t row) {
  const auto real = [&](SampleWord w) { return std::bit_cast<float>(step.word(row, w)); };
  SamplingParams params;
  params.temperature = real(SampleWord::kTemperature);
  params.top_k = step.word(row, SampleWord::kTopK);
  params.top_p = real(SampleWord::kTopP);
  params.min_p = real(SampleWord::kMinP);
  return params;
}

/// Gives a request the controls of the host, and the row those of the op.
void add_controls(kernels::SampleStep& step, int64_t row, std::mt19937_64& rng,
                  SamplingParams* params, std::vector<int32_t>* history) {
  const auto any = [&] { return static_cast<int32_t>(rng() % kVocab); };
  const auto edit = [&](int32_t id, float value) {
    step.edits.insert(step.edits.end(), {id, std::bit_cast<int32_t>(value), -1});
  };
  const auto count = [&](int32_t id, uint32_t what) {
    const int64_t words = count_words(kVocab);
    auto& word = step.counts[static_cast<size_t>(row * words + id / 2)];
    const int shift = id % 2 * 16;
    word = static_cast<int32_t>(what == kInPrompt ? static_cast<uint32_t>(word) | kInPrompt << shift
                                                  : static_cast<uint32_t>(word) + (what << shift));
  };
  step.word(row, SampleWord::kEditsBegin) = static_cast<int32_t>(step.edits.size() / 3);
  const int32_t first = any();
  params->controls.bias = {{first, 2.5f}, {(first + 1) % static_cast<int32_t>(kVocab), -3.25f}};
  for (const auto& [id, bias] : params->controls.bias) edit(id, bias);
  params->controls.bad_words = {{any()}};
  edit(params->controls.bad_words[0][0], -std::numeric_limits<float>::infinity());
  step.word(row, SampleWord::kEditsEnd) = static_cast<int32_t>(step.edits.size() / 3);
  params->controls.repetition_penalty = 1.3f;
  params->controls.presence_penalty = 0.5f;
  params->controls.frequency_penalty = -0.25f;
  step.set(row, SampleWord::kRepetition, 1.3f);
  step.set(row, SampleWord::kPresence, 0.5f);
  step.set(row, SampleWord::kFrequency, -0.25f);
  step.word(row, SampleWord::kCounts) = static_cast<int32_t>(row);
  for (int i = 0; i < 40; ++i) history->push_back(any());
  for (int i = 0; i < 40; ++i) count((*history)[static_cast<size_t>(i)], i < 30 ? kInPrompt : 1);
}

TEST(SampleOp, ReferenceIsTheSampler) {
  std::mt19937_64 rng(11);
  Sampler sampler(kVocab, nullptr);
  int rows = 0, differ = 0;
  for (int round = 0; round < 60; ++round) {
    kernels::SampleStep step = kernels::random_step(kVocab, 8, rng, false);
    std::vector<SamplingParams> params(8);
    std::vector<std::vector<int32_t>> history(8);
    for (int64_t row = 0; row < 8; ++row) {
      const auto at = static_cast<size_t>(row);
      params[at] = params_of(step, row);
      if (round % 2 == 0) {
        step.word(row, SampleWord::kPosition) = 10;
        add_controls(step, row, rng, &params[at], &history[at]);
      } else {
        step.word(row, SampleWord::kPosition) = 0;
      }
    }
    const kernels::SampleStep before = step;
    step.run_reference();
    for (int64_t row = 0; row < 8; ++row) {
      const auto at = static_cast<size_t>(row);
      const auto index = static_cast<uint32_t>(step.word(row, SampleWord::kIndex));
      SampleJob job;
      // The state counts the prompt when it is made and the output as it is accepted.
      const int64_t prompt = history[at].empty() ? 0 : 30;
      SamplingState counted(&params[at], std::span(history[at]).first(static_cast<size_t>(prompt)),
                            {}, index);
      for (size_t i = static_cast<size_t>(prompt); i < history[at].size(); ++i) {
        ASSERT_TRUE(counted.accept(history[at][i]).ok());
      }
      job.logits = std::span(step.logits).subspan(at * kVocab, kVocab);
      job.state = &counted;
      job.history = history[at];
      job.prompt_tokens = prompt;
      job.seed = static_cast<uint32_t>(step.word(row, SampleWord::kSeedLow)) |
                 static_cast<uint64_t>(static_cast<uint32_t>(step.word(row, SampleWord::kSeedHigh)))
                     << 32;
      job.top_logprobs = step.word(row, SampleWord::kLogprobs);
      sampler.sample(std::span(&job, 1));
      ++rows;
      const int32_t flags = step.result(row, SampleResult::kFlags);
      ASSERT_EQ(job.error.has_value(), flags != 0) << "round " << round << " row " << row;
      if (flags != 0) continue;
      if (job.id != step.result(row, SampleResult::kId)) {
        ++differ;
        continue;
      }
      if (job.top_logprobs < 0) continue;
      EXPECT_EQ(job.logprobs.chosen.rank, step.result(row, SampleResult::kRank));
      EXPECT_NEAR(job.logprobs.chosen.logprob,
                  std::bit_cast<float>(step.result(row, SampleResult::kLogprob)), 2e-5);
      for (size_t i = 0; i < job.logprobs.top.size(); ++i) {
        const size_t word = at * 2 * kMaxTopLogprobs + i;
        EXPECT_EQ(job.logprobs.top[i].id, step.tops[word]);
        EXPECT_NEAR(job.logprobs.top[i].logprob,
                    std::bit_cast<float>(step.tops[word + kMaxTopLogprobs]), 2e-5);
      }
    }
  }
  EXPECT_LE(differ, 1) << "of " << rows;  // rounding at a boundary
}

TEST(SampleOp, CountsAndKeepsItsChoice) {
  kernels::SampleStep step(kVocab, 2);
  for (int64_t row = 0; row < 2; ++row) {
    step.row(row)[row == 0 ? 6 : 7] = 9;
    step.set(row, SampleWord::kTemperature, 0);
    step.word(row, SampleWord::kCounts) = static_cast<int32_t>(row);
  }
  step.run_reference();
  EXPECT_EQ(step.chosen, (std::vector<int32_t>{6, 7}));
  const auto words = static_cast<size_t>(count_words(kVocab));
  EXPECT_EQ(step.counts[3], 1);
  EXPECT_EQ(step.counts[words + 3], 1 << 16);
  // -1 names the first slot, -2 the second; other ids are themselves.
  std::vector<int32_t> ids = {5, -2, -1, 0};
  const std::vector<TensorView> in = {{ids.data(), DType::kI32, Shape({4})},
                                      {step.chosen.data(), DType::kI32, Shape({2})}};
  kernels::KernelCall call;
  call.inputs = in, call.outputs = std::span(in).first(1);
  kernels::reference::resolve_tokens(call);
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 7, 6, 0}));
}

}  // namespace
}  // namespace ramjet::runtime

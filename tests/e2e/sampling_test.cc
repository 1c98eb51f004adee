// Each sampling parameter and stop condition, end to end on a tiny model, through the Executor.
#include <set>

#include "golden.h"

namespace ramjet::e2e {
namespace {

class Sampling : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto engine = build_and_load("tests/data/models/tiny-llama", f32_options());
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    auto made = Executor::create(*engine, {});
    ASSERT_TRUE(made.ok()) << made.error().message;
    executor_ = made->release();
    vocab_ = (*engine)->model().vocab_size;
  }
  static void TearDownTestSuite() {
    EXPECT_TRUE(executor_->check_integrity().ok());
    delete executor_;
  }

  static Request request(int max_tokens = 12) { return greedy_request(kPrompt, max_tokens); }
  static RequestOutput run(Request r) {
    auto outputs = executor_->generate(std::move(r), 60);
    EXPECT_TRUE(outputs.ok()) << (outputs.ok() ? "" : outputs.error().message);
    return outputs.ok() ? (*outputs)[0] : RequestOutput{};
  }
  static std::vector<int32_t> ids(Request r) { return run(std::move(r)).ids; }
  static std::vector<float> next_logits() { return all_logits(*executor_, kPrompt).back(); }

  static inline const std::vector<int32_t> kPrompt = {5, 87, 138, 20, 41};
  static inline Executor* executor_ = nullptr;
  static inline int vocab_ = 0;
};

TEST_F(Sampling, GreedyIsReproducibleAndTakesTheArgmax) {
  const auto first = ids(request());
  EXPECT_EQ(first.size(), 12u);
  EXPECT_EQ(ids(request()), first);
  EXPECT_EQ(first[0], top_ids(next_logits(), 1)[0]);
}

TEST_F(Sampling, SeedFixesTheDraw) {
  Request r = request(20);
  r.sampling.temperature = 1.5f;
  r.sampling.seed = 7;
  const auto first = ids(r);
  EXPECT_EQ(ids(r), first);
  std::set<std::vector<int32_t>> seen;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    r.sampling.seed = seed;
    seen.insert(ids(r));
  }
  EXPECT_GT(seen.size(), 4u);
}

TEST_F(Sampling, TopKTopPAndMinPKeepToTheirSets) {
  const auto logits = next_logits();
  const auto best = top_ids(logits, 3);
  const float top = logits[static_cast<size_t>(best[0])];
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Request r = request(1);
    r.sampling.temperature = 3;
    r.sampling.seed = seed;
    r.sampling.top_k = 3;
    EXPECT_NE(std::find(best.begin(), best.end(), ids(r)[0]), best.end());
    r.sampling.top_k = 0;
    r.sampling.top_p = 1e-6f;
    EXPECT_EQ(ids(r)[0], best[0]);
    r.sampling.top_p = 1;
    r.sampling.min_p = 0.5f;  // p >= p_max / 2: logit / T within ln 2 of the best
    EXPECT_GE(logits[static_cast<size_t>(ids(r)[0])], top - 3 * std::log(2.0f) - 1e-3f);
  }
}

TEST_F(Sampling, TemperatureSpreads) {
  std::set<int32_t> cold, hot;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Request r = request(1);
    r.sampling.seed = seed;
    r.sampling.temperature = 0.05f;
    cold.insert(ids(r)[0]);
    r.sampling.temperature = 5;
    hot.insert(ids(r)[0]);
  }
  EXPECT_LT(cold.size(), hot.size());
}

TEST_F(Sampling, BiasAllowedIdsAndBadWords) {
  Request r = request(4);
  r.sampling.controls.bias = {{33, 1000.0f}};
  EXPECT_EQ(ids(r), std::vector<int32_t>(4, 33));
  r = request(6);
  r.sampling.controls.allowed_ids = {17, 18};
  for (int32_t id : ids(r)) EXPECT_TRUE(id == 17 || id == 18) << id;
  const auto plain = ids(request(4));
  r = request(4);
  r.sampling.controls.bad_words = {{plain[0]}, {plain[1], plain[2]}};
  const auto without = ids(r);
  EXPECT_EQ(std::count(without.begin(), without.end(), plain[0]), 0);
  for (size_t i = 1; i < without.size(); ++i) {
    EXPECT_FALSE(without[i - 1] == plain[1] && without[i] == plain[2]);
  }
}

TEST_F(Sampling, PenaltiesDriveAwayRepetition) {
  Request r = request(24);
  r.sampling.controls.bias = {{33, 30.0f}};
  EXPECT_EQ(ids(r), std::vector<int32_t>(24, 33));
  r.sampling.controls.frequency_penalty = 2;
  const auto frequency = ids(r);
  EXPECT_LT(std::count(frequency.begin(), frequency.end(), 33), 24);
  Request plain = request(24);
  const auto base = ids(plain);
  plain.sampling.controls.repetition_penalty = 50;
  const auto repetition = ids(plain);
  EXPECT_EQ(std::set<int32_t>(repetition.begin(), repetition.end()).size(), repetition.size());
  EXPECT_NE(repetition, base);
  plain.sampling.controls.repetition_penalty = 1;
  plain.sampling.controls.presence_penalty = 2;
  EXPECT_EQ(ids(plain)[0], base[0]);  // nothing is present yet
}

TEST_F(Sampling, StopIdsMinTokensAndLengths) {
  const auto plain = ids(request(12));
  Request r = request(12);
  r.sampling.stop.stop_ids = {plain[3]};
  const size_t first =
      static_cast<size_t>(std::find(plain.begin(), plain.end(), plain[3]) - plain.begin());
  RequestOutput stopped = run(r);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.stop_id, plain[3]);
  EXPECT_LE(stopped.ids.size(), first + 1);
  r.sampling.stop.min_tokens = 8;
  EXPECT_GE(ids(r).size(), 8u);
  EXPECT_EQ(run(request(5)).finish, FinishReason::kLength);
  Request rest = request(-1);
  RequestOutput whole = run(rest);
  EXPECT_EQ(whole.finish, FinishReason::kLength);
  EXPECT_GT(whole.ids.size(), 50u);  // what the context leaves
}

TEST_F(Sampling, LogprobsAreTheLogSoftmaxOfTheLogits) {
  const auto logits = next_logits();
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit));
  Request r = request(1);
  r.sampling.logprobs = 4;
  const RequestOutput output = run(r);
  ASSERT_EQ(output.logprobs.size(), 1u);
  ASSERT_EQ(output.logprobs[0].top.size(), 4u);
  const auto best = top_ids(logits, 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(output.logprobs[0].top[i].id, best[i]);
    EXPECT_NEAR(output.logprobs[0].top[i].logprob,
                logits[static_cast<size_t>(best[i])] - std::log(sum), 1e-3);
  }
  EXPECT_EQ(output.logprobs[0].chosen.id, best[0]);
  EXPECT_EQ(output.logprobs[0].chosen.rank, 1);
}

TEST_F(Sampling, PromptLogprobsScoreThePrompt) {
  Request r = request(1);
  r.sampling.prompt_logprobs = 2;
  const RequestOutput output = run(r);
  ASSERT_EQ(output.prompt_logprobs.size(), kPrompt.size());
  const auto rows = all_logits(*executor_, kPrompt);
  for (size_t i = 1; i < kPrompt.size(); ++i) {
    double sum = 0;
    for (float logit : rows[i - 1]) sum += std::exp(static_cast<double>(logit));
    EXPECT_EQ(output.prompt_logprobs[i].chosen.id, kPrompt[i]);
    EXPECT_NEAR(output.prompt_logprobs[i].chosen.logprob,
                rows[i - 1][static_cast<size_t>(kPrompt[i])] - std::log(sum), 1e-3);
    EXPECT_EQ(output.prompt_logprobs[i].top.size(), 2u);
  }
}

TEST_F(Sampling, NSequencesShareThePromptAndDiffer) {
  Request r = request(10);
  r.sampling.temperature = 2;
  r.sampling.seed = 11;
  r.n = 5;
  auto outputs = executor_->generate(r, 60);
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  ASSERT_EQ(outputs->size(), 5u);
  std::set<std::vector<int32_t>> seen;
  for (const RequestOutput& output : *outputs) {
    EXPECT_EQ(output.ids.size(), 10u);
    seen.insert(output.ids);
  }
  EXPECT_GT(seen.size(), 2u);
  r.sampling.temperature = 0;
  outputs = executor_->generate(r, 60);
  ASSERT_TRUE(outputs.ok());
  for (const RequestOutput& output : *outputs) EXPECT_EQ(output.ids, ids(request(10)));
}

TEST_F(Sampling, EveryBadParameterIsNamedWithItsLimit) {
  const auto refused = [&](auto&& change, const std::string& word) {
    Request r = request();
    change(r);
    auto outputs = executor_->generate(r, 60);
    ASSERT_FALSE(outputs.ok()) << word;
    EXPECT_EQ(outputs.error().code, ErrorCode::kInvalidArgument) << word;
    EXPECT_NE(outputs.error().message.find(word), std::string::npos) << outputs.error().message;
  };
  refused([](Request& r) { r.sampling.temperature = -1; }, "temperature");
  refused([](Request& r) { r.sampling.temperature = NAN; }, "temperature");
  refused([](Request& r) { r.sampling.top_p = 0; }, "top_p");
  refused([](Request& r) { r.sampling.top_p = 1.5f; }, "top_p");
  refused([](Request& r) { r.sampling.top_k = -2; }, "top_k");
  refused([](Request& r) { r.sampling.min_p = 2; }, "min_p");
  refused([](Request& r) { r.sampling.controls.repetition_penalty = 0; }, "repetition_penalty");
  refused([](Request& r) { r.sampling.controls.presence_penalty = 3; }, "presence_penalty");
  refused([](Request& r) { r.sampling.controls.frequency_penalty = -3; }, "frequency_penalty");
  refused([](Request& r) { r.sampling.stop.max_tokens = -2; }, "max_tokens");
  refused([](Request& r) { r.sampling.stop.min_tokens = -1; }, "min_tokens");
  refused([](Request& r) { r.sampling.controls.bias = {{1 << 20, 1.0f}}; }, "bias");
  refused([](Request& r) { r.sampling.controls.allowed_ids = {-4}; }, "allowed");
  refused([](Request& r) { r.n = 0; }, "n");
  refused([](Request& r) { r.prompt_ids.clear(); }, "prompt");
  refused([](Request& r) { r.prompt_ids = {1 << 20}; }, "token");
  refused([](Request& r) { r.prompt_ids.assign(100000, 1); }, "100000");
}

}  // namespace
}  // namespace ramjet::e2e

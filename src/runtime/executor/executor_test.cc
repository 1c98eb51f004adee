#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramjet/forced_tokens.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "runtime/executor/test_executor.h"
#include "runtime/executor/test_reference.h"

namespace ramjet::runtime {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

struct Setting {
  const char* name;
  int64_t num_blocks;
  int max_batch_size;
  int max_num_tokens;
  CapacityPolicy capacity;
  BatchingMode batching;
  bool prefix_caching;
  int64_t window;
  bool ahead = false;  // the session chooses tokens itself
};

class EverySetting : public testing::TestWithParam<Setting> {};

// The heart of the runtime: whatever the batch, the cache and the preemptions, a request gives
// what it gives alone. FakeSession refuses blocks, positions and lengths that are not its own.
TEST_P(EverySetting, OutputsDependOnTheRequestAlone) {
  const Setting& setting = GetParam();
  SessionInfo info = FakeSession::small_info(setting.num_blocks);
  info.window = setting.window;
  ExecutorConfig config;
  config.max_batch_size = setting.max_batch_size;
  config.max_num_tokens = setting.max_num_tokens;
  config.capacity = setting.capacity;
  config.batching = setting.batching;
  config.prefix_caching = setting.prefix_caching;
  FakeAsyncSession* session = nullptr;
  auto core = setting.ahead ? make_ahead(info, config, &session) : make_executor(info, config);
  std::mt19937 rng(11);
  std::vector<Request> requests;
  std::vector<std::promise<std::vector<RequestOutput>>> promises(150);
  for (size_t i = 0; i < promises.size(); ++i) {
    Request request = random_request(rng);
    // The last ones want the host too, so both ways of choosing follow each other in one run.
    if (setting.ahead && i < 120) {
      auto& words = request.sampling.controls.bad_words;
      if (!words.empty()) words.pop_back();  // the one of two tokens
      request.n = 1;
    }
    requests.push_back(request);
    auto outputs = std::make_shared<std::vector<RequestOutput>>(3);
    auto submitted = core->submit(request, [&promises, i, outputs](RequestOutput&& o) {
      RequestOutput& to = (*outputs)[static_cast<size_t>(o.index)];
      to.ids.insert(to.ids.end(), o.ids.begin(), o.ids.end());
      to.finish = o.finish;
      to.error = o.error;
      if (o.last) promises[i].set_value(*outputs);
    });
    ASSERT_TRUE(submitted.ok()) << submitted.error().message;
  }
  for (size_t i = 0; i < promises.size(); ++i) {
    auto future = promises[i].get_future();
    ASSERT_EQ(future.wait_for(std::chrono::seconds(60)), std::future_status::ready) << i;
    const std::vector<RequestOutput> outputs = future.get();
    for (int index = 0; index < requests[i].n; ++index) {
      const ReferenceResult expected = reference_generate(requests[i], index, info);
      const RequestOutput& got = outputs[static_cast<size_t>(index)];
      ASSERT_FALSE(got.error) << got.error->message;
      EXPECT_EQ(got.ids, expected.ids) << "request " << i << " index " << index;
      EXPECT_EQ(got.finish, expected.finish);
    }
  }
  const Status integrity = core->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
  const ExecutorStats stats = core->stats();
  EXPECT_EQ(stats.kv_blocks_active, 0);
  EXPECT_EQ(stats.requests_running + stats.requests_waiting, 0);
  if (setting.num_blocks < 40 && setting.capacity == CapacityPolicy::kOvercommit) {
    EXPECT_GT(stats.preemptions, 0u) << "this setting is meant to preempt";
  }
  if (setting.prefix_caching) EXPECT_GT(stats.prefix_hits, 0u);
  if (setting.ahead) EXPECT_GT(session->launches(), 0);
}

constexpr auto kMax = CapacityPolicy::kMaxUtilization;
constexpr auto kOver = CapacityPolicy::kOvercommit;
constexpr auto kSure = CapacityPolicy::kGuaranteedNoEvict;
constexpr auto kFlight = BatchingMode::kInFlight;
INSTANTIATE_TEST_SUITE_P(
    Settings, EverySetting,
    testing::Values(
        Setting{"ample", 400, 16, 64, kMax, kFlight, true, 0},
        Setting{"alone", 400, 3, 64, kMax, kFlight, false, 0},
        Setting{"chunks_of_16", 400, 16, 16, kMax, kFlight, true, 0},
        Setting{"tiny_cache", 26, 16, 64, kOver, kFlight, true, 0},
        Setting{"tiny_cache_no_prefix", 26, 16, 64, kOver, kFlight, false, 0},
        Setting{"forecast", 26, 16, 64, kMax, kFlight, true, 0},
        Setting{"guaranteed", 80, 16, 64, kSure, kFlight, true, 0},
        Setting{"static", 400, 16, 64, kMax, BatchingMode::kStatic, true, 0},
        Setting{"window", 60, 16, 64, kMax, kFlight, true, 11},
        Setting{"ahead", 400, 16, 64, kMax, kFlight, true, 0, true},
        Setting{"ahead_chunks_of_16", 400, 16, 16, kMax, kFlight, true, 0, true},
        Setting{"ahead_tiny_cache", 26, 16, 64, kOver, kFlight, true, 0, true},
        Setting{"ahead_tiny_cache_no_prefix", 26, 16, 64, kOver, kFlight, false, 0, true},
        Setting{"ahead_forecast", 26, 16, 64, kMax, kFlight, true, 0, true},
        Setting{"ahead_guaranteed", 80, 16, 64, kSure, kFlight, true, 0, true},
        Setting{"ahead_static", 400, 16, 64, kMax, BatchingMode::kStatic, true, 0, true},
        Setting{"ahead_window", 60, 16, 64, kMax, kFlight, true, 11, true}),
    [](const auto& info) { return info.param.name; });

TEST(Executor, StreamsTokensInOrderAndReportsUsage) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {});
  const Request request = greedy({5, 6, 7}, 10);
  auto first = core->generate(request, 30);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->at(0).ids, reference_generate(request, 0, info).ids);
  EXPECT_EQ(first->at(0).finish, FinishReason::kLength);
  EXPECT_EQ(first->at(0).prompt_tokens, 3);
  EXPECT_EQ(first->at(0).cached_tokens, 0);
  Request longer = greedy({5, 6, 7}, 5);
  longer.prompt_ids.insert(longer.prompt_ids.end(), first->at(0).ids.begin(),
                           first->at(0).ids.end());
  auto second = core->generate(longer, 30);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->at(0).cached_tokens, 12) << "the first conversation's blocks are reused";
  EXPECT_EQ(second->at(0).ids, reference_generate(longer, 0, info).ids);
  const ExecutorStats stats = core->stats();
  EXPECT_EQ(stats.prompt_tokens, 16u);
  EXPECT_EQ(stats.generation_tokens, 15u);
}

TEST(Executor, TheModelsEosIsNotPartOfTheIdsButAStopIdIs) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {});
  Request request = greedy({1, 2}, 20);
  const std::vector<int32_t> all = reference_generate(request, 0, info).ids;
  request.sampling.stop.stop_ids = {all[4]};
  const auto stopped = core->generate(request, 30);
  ASSERT_TRUE(stopped.ok());
  const size_t at = static_cast<size_t>(std::find(all.begin(), all.end(), all[4]) - all.begin());
  EXPECT_EQ(stopped->at(0).ids, std::vector<int32_t>(all.begin(), all.begin() + at + 1));
  EXPECT_EQ(stopped->at(0).stop_id, all[4]);
  EXPECT_EQ(stopped->at(0).finish, FinishReason::kStop);

  SessionInfo other = info;
  other.eos_ids = {all[4]};
  request.sampling.stop.stop_ids = {};
  request.sampling.stop.ignore_eos = false;
  const auto ended = make_executor(other, {})->generate(request, 30);
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->at(0).ids, std::vector<int32_t>(all.begin(), all.begin() + at));
  EXPECT_EQ(ended->at(0).stop_id, all[4]);
}

TEST(Executor, TheContextBoundsPromptAndOutput) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {});
  const auto too_long = core->generate(greedy(std::vector<int32_t>(97, 1), 1), 30);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(too_long.error().message, HasSubstr("97"));
  EXPECT_THAT(too_long.error().message, HasSubstr("96"));
  const auto rest = core->generate(greedy(std::vector<int32_t>(90, 1), -1), 30);
  ASSERT_TRUE(rest.ok());
  EXPECT_EQ(rest->at(0).ids.size(), 6u) << "what the context leaves";
  const auto cut = core->generate(greedy(std::vector<int32_t>(90, 1), 50), 30);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->at(0).ids.size(), 7u) << "the last token needs no position of its own";
  EXPECT_EQ(cut->at(0).finish, FinishReason::kLength);
}

TEST(Executor, PromptLogprobsAndEcho) {
  const SessionInfo info = FakeSession::small_info(100);
  ExecutorConfig config;
  config.max_num_tokens = 16;  // several chunks
  auto core = make_executor(info, config);
  Request request = greedy(std::vector<int32_t>(), 0);
  for (int32_t i = 0; i < 50; ++i) request.prompt_ids.push_back(i);
  request.sampling.prompt_logprobs = 2;
  for (int max_tokens : {0, 3}) {
    request.sampling.stop.max_tokens = max_tokens;
    const auto result = core->generate(request, 30);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->at(0).ids.size(), static_cast<size_t>(max_tokens));
    EXPECT_EQ(result->at(0).finish, FinishReason::kLength);
    const auto& logprobs = result->at(0).prompt_logprobs;
    ASSERT_EQ(logprobs.size(), 50u);
    EXPECT_TRUE(logprobs[0].top.empty());
    for (size_t p = 1; p < 50; ++p) {
      const auto row = FakeSession::row_of(std::span(request.prompt_ids).first(p), 61);
      double sum = 0;
      for (const float x : row) sum += std::exp(static_cast<double>(x));
      EXPECT_EQ(logprobs[p].chosen.id, request.prompt_ids[p]);
      EXPECT_NEAR(
          logprobs[p].chosen.logprob,
          static_cast<double>(row[static_cast<size_t>(request.prompt_ids[p])]) - std::log(sum),
          1e-5);
      EXPECT_EQ(logprobs[p].top.size(), 2u);
    }
  }
}

TEST(Executor, LogitsArriveInOrderThroughTheSameScheduler) {
  const SessionInfo info = FakeSession::small_info(60);
  ExecutorConfig config;
  config.max_num_tokens = 20;
  auto core = make_executor(info, config);
  std::atomic<bool> stop{false};
  std::thread others([&] {  // other requests run at the same time
    std::mt19937 rng(3);
    while (!stop) {
      Request request = random_request(rng);
      request.n = 1;
      const auto got = core->generate(request, 30);
      ASSERT_TRUE(got.ok());
      EXPECT_EQ(got->at(0).ids, reference_generate(request, 0, info).ids);
    }
  });
  for (int round = 0; round < 20; ++round) {
    LogitsRequest request;
    for (int i = 0; i < 80; ++i) request.ids.push_back((i * 7 + round) % 61);
    request.first_position = round;
    int next = round;
    const Status status = core->logits(request, [&](int position, std::span<const float> row) {
      EXPECT_EQ(position, next++);
      const auto history = std::span(request.ids).first(static_cast<size_t>(position) + 1);
      EXPECT_TRUE(std::ranges::equal(row, FakeSession::row_of(history, 61)));
    });
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(next, 80);
  }
  stop = true;
  others.join();
  EXPECT_TRUE(core->check_integrity().ok());
  const Status thrown = core->logits(
      {{1, 2, 3}, 0}, [](int, std::span<const float>) { throw std::runtime_error("planted"); });
  EXPECT_THAT(thrown.error().message, HasSubstr("planted"));
  EXPECT_TRUE(core->drain(10).ok());
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(Executor, TheQueueIsBounded) {
  FakeSession::Options options;
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  options.hook = [released](int64_t, const StepBatch&) {
    released.wait();
    return ok_status();
  };
  ExecutorConfig config;
  config.max_queue = 8;
  config.max_batch_size = 2;
  auto core = make_executor(FakeSession::small_info(60), config, options);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 50; ++i) {
    const auto id = core->submit(greedy({1, i % 61}, 3), [](RequestOutput&&) {});
    if (id.ok()) {
      ++accepted;
    } else {
      ++refused;
      EXPECT_EQ(id.error().code, ErrorCode::kResourceExhausted);
      EXPECT_THAT(id.error().message, HasSubstr("8"));
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_GE(accepted, 8);
  EXPECT_LE(accepted, 8 + 2 + 2);
  EXPECT_GT(refused, 30);
  release.set_value();
  EXPECT_TRUE(core->drain(30).ok());
  EXPECT_EQ(core->submit(greedy({1}, 1), {}).error().code, ErrorCode::kUnavailable);
}

class Drain : public testing::TestWithParam<double> {};

TEST_P(Drain, CancelsWhatDoesNotEnd) {
  auto core = make_executor(FakeSession::small_info(60), {}, slow_steps(milliseconds(3)));
  std::atomic<int> cancelled{0};
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(core->submit(greedy({1, i}, -1),
                             [&](RequestOutput&& o) {
                               cancelled += o.finish == FinishReason::kCancelled ? 1 : 0;
                             })
                    .ok());
  }
  EXPECT_EQ(core->drain(-1).error().code, ErrorCode::kInvalidArgument);
  const Status drained = core->drain(GetParam());
  EXPECT_EQ(drained.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(cancelled, 4);
}
INSTANTIATE_TEST_SUITE_P(Deadlines, Drain, testing::Values(0.03, 0.0));

TEST(Executor, ManyStreamsWithCancelsAndThrowingCallbacks) {
  SessionInfo info = FakeSession::small_info(300);
  info.max_batch_size = 256;
  info.max_num_tokens = 1024;
  info.max_logit_rows = 256;
  ExecutorConfig config;
  config.max_queue = 100000;
  auto core = make_executor(info, config);
  std::atomic<int> ended{0};
  std::vector<std::thread> clients;
  for (uint32_t c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      std::mt19937 rng(c);
      for (int i = 0; i < 250; ++i) {
        const Request request = random_request(rng);
        const bool throws = rng() % 20 == 0;
        auto id = core->submit(request, [&ended, throws](RequestOutput&& o) {
          if (o.last) ++ended;
          if (throws && !o.last) throw std::runtime_error("planted");
        });
        ASSERT_TRUE(id.ok()) << id.error().message;
        if (throws) ++ended;  // its last event is not delivered after the throw
        if (rng() % 4 == 0) core->cancel(*id);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const Status drained = core->drain(100);
  EXPECT_TRUE(drained.ok()) << drained.error().message;
  EXPECT_GE(ended, 1000);
  const Status integrity = core->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
  EXPECT_EQ(core->stats().kv_blocks_active, 0);
}

TEST(Executor, DestructionEndsEveryRequest) {
  std::atomic<int> last{0};
  {
    auto core = make_executor(FakeSession::small_info(60), {});
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(
          core->submit(greedy({1, i}, -1), [&](RequestOutput&& o) { last += o.last ? 1 : 0; })
              .ok());
    }
  }
  EXPECT_EQ(last, 40);
}

// A grammar of exactly "7 8 9", and one that breaks.
class ThreeTokens final : public TokenMask {
 public:
  explicit ThreeTokens(bool broken) : broken_(broken) {}
  bool fill(std::span<uint32_t> bits) override {
    if (broken_ && at_ == 1) throw std::runtime_error("a broken grammar");
    std::fill(bits.begin(), bits.end(), 0);
    bits[0] = 1u << (7 + at_);
    return true;
  }
  bool accept(int32_t id) override { return id == 7 + at_++; }
  bool finished() const override { return at_ == 3; }
  std::unique_ptr<TokenMask> clone() const override { return std::make_unique<ThreeTokens>(*this); }

 private:
  bool broken_;
  int at_ = 0;
};

TEST(Executor, AGrammarRulesItsRequestAndABrokenOneFailsAlone) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {});
  Request good = greedy({4}, 20), bad = greedy({4}, 20), plain = greedy({4}, 20);
  good.sampling.controls.mask = std::make_shared<ThreeTokens>(false);
  good.n = 2;
  bad.sampling.controls.mask = std::make_shared<ThreeTokens>(true);
  auto broken = std::async([&] { return core->generate(bad, 30); });
  auto other = std::async([&] { return core->generate(plain, 30); });
  const auto ruled = core->generate(good, 30);
  ASSERT_TRUE(ruled.ok());
  for (const RequestOutput& output : *ruled) {
    EXPECT_EQ(output.ids, (std::vector<int32_t>{7, 8, 9}));
    EXPECT_EQ(output.finish, FinishReason::kStop);
  }
  const auto failed = broken.get();
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().message, HasSubstr("a broken grammar"));
  EXPECT_EQ(other.get()->at(0).ids, reference_generate(plain, 0, info).ids);
}

/// Cycles of five: a free token, then 11, 12, 13, 14 without a choice.
class Cycles final : public TokenMask, public ForcedTokens {
 public:
  bool fill(std::span<uint32_t> bits) override {
    std::fill(bits.begin(), bits.end(), 0);
    bits[0] = at_ == 0 ? 0x3fe : 1u << (10 + at_);
    return true;
  }
  bool accept(int32_t id) override {
    const bool ok = at_ == 0 ? id < 10 : id == 10 + at_;
    at_ = (at_ + 1) % 5;
    return ok;
  }
  bool finished() const override { return false; }
  void forced(size_t most, std::vector<int32_t>* ids) override {
    for (int i = at_; i > 0 && i < 5 && most-- > 0; ++i) ids->push_back(10 + i);
  }
  std::unique_ptr<TokenMask> clone() const override { return std::make_unique<Cycles>(*this); }

 private:
  int at_ = 0;
};

TEST(Executor, ForcedTokensAreNotSampled) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {});
  Request request = greedy({4}, 23);
  request.sampling.controls.mask = std::make_shared<Cycles>();
  request.n = 2;
  const auto made = core->generate(request, 30);
  ASSERT_TRUE(made.ok()) << made.error().message;
  for (const RequestOutput& output : *made) {
    EXPECT_EQ(output.ids, reference_generate(request, output.index, info).ids);
    EXPECT_EQ(output.finish, FinishReason::kLength);
  }
  EXPECT_EQ(core->stats().steps, 5);
  EXPECT_EQ(core->stats().generation_tokens, 46);
  request.n = 1;
  request.sampling.stop.stop_ids = {13};
  EXPECT_EQ(core->generate(request, 30)->at(0).ids, reference_generate(request, 0, info).ids);
  EXPECT_EQ(core->stats().steps, 6) << "a stop among the forced ones";
  request.sampling.stop.stop_ids.clear();
  request.sampling.logprobs = 0;
  const auto scored = core->generate(request, 30);
  EXPECT_EQ(scored->at(0).logprobs.size(), 23u) << "each token has its row then";
  EXPECT_EQ(scored->at(0).ids, made->at(0).ids);
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(Executor, BadParametersAreNamed) {
  auto core = make_executor(FakeSession::small_info(100), {});
  const auto expect = [&](const char* name, const std::function<void(Request&)>& spoil) {
    Request request = greedy({1, 2}, 4);
    spoil(request);
    const auto id = core->submit(request, {});
    ASSERT_FALSE(id.ok()) << name;
    EXPECT_EQ(id.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(id.error().message, HasSubstr(name));
  };
  using R = Request&;
  const float nan = std::nanf("");
  expect("prompt_ids", [](R r) { r.prompt_ids.clear(); });
  expect("prompt_ids", [](R r) { r.prompt_ids[1] = 61; });
  expect("prompt_ids", [](R r) { r.prompt_ids[1] = -1; });
  expect("n is 0", [](R r) { r.n = 0; });
  expect("n is 17", [](R r) { r.n = 17; });
  expect("deadline_s", [](R r) { r.deadline_s = -1; });
  expect("temperature", [](R r) { r.sampling.temperature = -0.1f; });
  expect("temperature", [&](R r) { r.sampling.temperature = nan; });
  expect("top_k", [](R r) { r.sampling.top_k = -2; });
  expect("top_p", [](R r) { r.sampling.top_p = 0; });
  expect("top_p", [](R r) { r.sampling.top_p = 1.1f; });
  expect("top_p", [&](R r) { r.sampling.top_p = nan; });
  expect("min_p", [](R r) { r.sampling.min_p = 2; });
  expect("logprobs", [](R r) { r.sampling.logprobs = 65; });
  expect("prompt_logprobs", [](R r) { r.sampling.prompt_logprobs = -2; });
  expect("repetition_penalty", [](R r) { r.sampling.controls.repetition_penalty = 0; });
  expect("presence_penalty", [](R r) { r.sampling.controls.presence_penalty = 3; });
  expect("frequency_penalty", [&](R r) { r.sampling.controls.frequency_penalty = nan; });
  expect("logit_bias", [](R r) { r.sampling.controls.bias = {{61, 1.0f}}; });
  expect("logit_bias", [&](R r) { r.sampling.controls.bias = {{1, nan}}; });
  expect("allowed_token_ids", [](R r) { r.sampling.controls.allowed_ids = {-3}; });
  expect("bad_words", [](R r) { r.sampling.controls.bad_words = {{}}; });
  expect("bad_words", [](R r) { r.sampling.controls.bad_words = {{1, 99}}; });
  expect("stop_token_ids", [](R r) { r.sampling.stop.stop_ids = {100}; });
  expect("max_tokens", [](R r) { r.sampling.stop.max_tokens = -2; });
  expect("min_tokens", [](R r) { r.sampling.stop.min_tokens = 5; });
  ExecutorConfig config;
  config.max_queue = 0;
  const auto bad = ExecutorCore::create(
      std::make_unique<FakeSession>(FakeSession::small_info(9), FakeSession::Options{}), config,
      nullptr);
  EXPECT_THAT(bad.error().message, HasSubstr("max_queue"));
}

TEST(Executor, NothingAllowedEndsThatRequestOnly) {
  auto core = make_executor(FakeSession::small_info(100), {});
  Request request = greedy({1}, 4);
  request.sampling.controls.allowed_ids = {5};
  request.sampling.controls.bad_words = {{5}};
  const auto result = core->generate(request, 30);
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(core->generate(greedy({1}, 4), 30).ok());
}

}  // namespace
}  // namespace ramjet::runtime

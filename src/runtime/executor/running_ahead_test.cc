#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "runtime/executor/test_executor.h"
#include "runtime/executor/test_reference.h"

namespace ramjet::runtime {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

/// Notes how many steps were launched by the time the third was collected.
auto count_at_third(const FakeAsyncSession& session, int64_t* launched) {
  return [&session, launched](int64_t collected) {
    if (collected == 3) *launched = session.launches();
    return ok_status();
  };
}

TEST(RunningAhead, EveryStepButTheLastIsQueuedBeforeTheTokensOfTheOneBefore) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  int64_t launched_at_third = 0;
  session->collect_hook = count_at_third(*session, &launched_at_third);
  Request request = greedy({5, 6, 7}, 10);
  request.sampling.logprobs = 3;
  const auto got = core->generate(request, 30);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->at(0).ids, reference_generate(request, 0, info).ids);
  EXPECT_EQ(got->at(0).finish, FinishReason::kLength);
  ASSERT_EQ(got->at(0).logprobs.size(), 10u);
  EXPECT_EQ(got->at(0).logprobs[4].top.size(), 3u);
  EXPECT_EQ(session->launches(), 10) << "the last token is known to be the last";
  EXPECT_EQ(launched_at_third, 4);
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(RunningAhead, AStopDropsTheStepTooMany) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  Request request = greedy({1, 2}, 20);
  const std::vector<int32_t> all = reference_generate(request, 0, info).ids;
  request.sampling.stop.stop_ids = {all[4]};
  const auto got = core->generate(request, 30);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->at(0).ids, reference_generate(request, 0, info).ids);
  EXPECT_EQ(got->at(0).stop_id, all[4]);
  EXPECT_TRUE(core->check_integrity().ok());
  EXPECT_EQ(core->stats().kv_blocks_active, 0);
}

TEST(RunningAhead, PenaltiesDoNotHoldTheLoopBack) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  int64_t launched_at_third = 0;
  session->collect_hook = count_at_third(*session, &launched_at_third);
  Request request = greedy({5, 6, 7}, 12);
  LogitControls& controls = request.sampling.controls;
  controls.repetition_penalty = 1.4f, controls.frequency_penalty = 0.7f;
  controls.presence_penalty = 0.3f, controls.bad_words = {{9}, {11}};
  controls.bias = {{20, 1.5f}};
  request.sampling.stop.stop_ids = {21, 22};
  request.sampling.stop.min_tokens = 12;
  request.sampling.logprobs = 20;
  const auto got = core->generate(request, 30);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->at(0).ids, reference_generate(request, 0, info).ids);
  Request plain = greedy({5, 6, 7}, 12);
  EXPECT_NE(got->at(0).ids, reference_generate(plain, 0, info).ids) << "nothing was penalised";
  EXPECT_EQ(session->launches(), 12);
  EXPECT_EQ(launched_at_third, 4);
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(RunningAhead, WhatTheHostChoseInBetweenIsCounted) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  Request request = greedy({5, 6, 7}, 40);
  request.sampling.controls.repetition_penalty = 1.4f;
  request.sampling.controls.frequency_penalty = 0.7f;
  Request host = greedy({8, 9}, 6);
  host.sampling.prompt_logprobs = 0;
  std::promise<RequestOutput> host_ended;
  session->collect_hook = [&](int64_t collected) {
    if (collected != 5) return ok_status();
    const auto other = core->submit(host, [&](RequestOutput&& output) {
      if (output.last) host_ended.set_value(std::move(output));
    });
    return other.ok() ? ok_status() : Status(other.error());
  };
  const auto got = core->generate(request, 30);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->at(0).ids, reference_generate(request, 0, info).ids);
  EXPECT_FALSE(host_ended.get_future().get().error);
  EXPECT_LT(session->launches(), 40) << "some tokens were chosen on the host";
  EXPECT_GT(session->launches(), 20) << "and then on the device again";
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(RunningAhead, AFailedStepEndsItsRequestsAndTheNextOnesRun) {
  const SessionInfo info = FakeSession::small_info(60);
  FakeAsyncSession* session = nullptr;
  FakeSession::Options options;
  options.hook = [](int64_t step, const StepBatch&) {
    return step == 25 ? Status(internal_error("planted at launch")) : ok_status();
  };
  auto core = make_ahead(info, {}, &session, options);
  session->collect_hook = [](int64_t collected) {
    return collected == 9 ? Status(internal_error("planted at collect")) : ok_status();
  };
  std::mt19937 rng(5);
  int failed = 0;
  for (int round = 0; round < 6; ++round) {
    std::vector<Request> requests;
    std::vector<std::future<Result<std::vector<RequestOutput>>>> results;
    for (int i = 0; i < 6; ++i) {
      Request request = random_request(rng);
      request.sampling.controls.bad_words.clear();
      request.n = 1;
      requests.push_back(request);
      results.push_back(
          std::async(std::launch::async, [&core, request] { return core->generate(request, 30); }));
    }
    for (size_t i = 0; i < results.size(); ++i) {
      const auto got = results[i].get();
      if (!got.ok()) {
        EXPECT_THAT(got.error().message, HasSubstr("planted"));
        ++failed;
        continue;
      }
      EXPECT_EQ(got->at(0).ids, reference_generate(requests[i], 0, info).ids);
    }
  }
  EXPECT_GE(failed, 2);
  EXPECT_LE(failed, 12);
  EXPECT_TRUE(core->health().ok());
  const Status integrity = core->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
}

TEST(RunningAhead, CancelsAtAnyMomentLeakNothing) {
  const SessionInfo info = FakeSession::small_info(40);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  std::mt19937 rng(7);
  std::atomic<int> ended{0};
  constexpr int kRequests = 300;
  for (int i = 0; i < kRequests; ++i) {
    Request request = random_request(rng);
    request.n = i % 9 == 0 ? 2 : 1;
    if (i % 7 != 0) request.sampling.controls.bad_words.clear();
    const int cancel_after = static_cast<int>(rng() % 4);
    auto seen = std::make_shared<int>(0);
    const auto id = core->submit(request, [&core, &ended, seen, cancel_after](RequestOutput&& o) {
      if (++*seen == cancel_after) core->cancel(o.request);
      if (o.last) ++ended;
    });
    ASSERT_TRUE(id.ok());
    if (cancel_after == 0) core->cancel(*id);
  }
  for (int wait = 0; wait < 3000 && ended < kRequests; ++wait) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(ended, kRequests);
  const Status integrity = core->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
  EXPECT_EQ(core->stats().kv_blocks_active, 0);
}

/// Ids that alternate between even and odd: each mask rests on the token before.
class Alternating final : public TokenMask {
 public:
  bool fill(std::span<uint32_t> bits) override {
    for (uint32_t& word : bits) word = odd_ ? 0xaaaaaaaa : 0x55555555;
    return true;
  }
  bool accept(int32_t id) override { return (id % 2 != 0) == std::exchange(odd_, !odd_); }
  bool finished() const override { return false; }
  std::unique_ptr<TokenMask> clone() const override { return std::make_unique<Alternating>(*this); }

 private:
  bool odd_ = false;
};

TEST(RunningAhead, AMaskRestsOnAllTokensBefore) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  Request masked = greedy({5, 6, 7}, 12);
  masked.sampling.controls.mask = std::make_shared<Alternating>();
  Request plain = greedy({1, 2, 3}, 20);
  auto beside = std::async(std::launch::async, [&] { return core->generate(plain, 30); });
  const auto got = core->generate(masked, 30);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->at(0).ids, reference_generate(masked, 0, info).ids);
  const auto other = beside.get();
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->at(0).ids, reference_generate(plain, 0, info).ids);
}

TEST(RunningAhead, AHeldRequestWaitsForItsMask) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeAsyncSession* session = nullptr;
  auto core = make_ahead(info, {}, &session);
  const auto hold = [&](std::promise<RequestOutput>& end, std::vector<int32_t>& ids) {
    const auto id = core->hold(greedy({5, 6, 7}, 6), [&end, &ids](RequestOutput&& o) {
      ids.insert(ids.end(), o.ids.begin(), o.ids.end());
      if (o.last) end.set_value(std::move(o));
    });
    EXPECT_TRUE(id.ok());
    return *id;
  };
  std::promise<RequestOutput> released, refused, cancelled;
  std::vector<int32_t> ids, none, nothing;
  const uint64_t first = hold(released, ids);
  const uint64_t second = hold(refused, none);
  const uint64_t third = hold(cancelled, nothing);
  EXPECT_EQ(core->stats().requests_waiting, 3);
  EXPECT_EQ(session->launches(), 0);
  core->cancel(third);
  EXPECT_EQ(cancelled.get_future().get().finish, FinishReason::kCancelled);
  core->release(second, Error{ErrorCode::kUnsupported, "no such grammar"});
  const RequestOutput error = refused.get_future().get();
  EXPECT_EQ(error.finish, FinishReason::kError);
  EXPECT_THAT(error.error->message, HasSubstr("no such grammar"));
  core->release(first, std::shared_ptr<const TokenMask>(std::make_shared<Alternating>()));
  EXPECT_EQ(released.get_future().get().finish, FinishReason::kLength);
  Request masked = greedy({5, 6, 7}, 6);
  masked.sampling.controls.mask = std::make_shared<Alternating>();
  EXPECT_EQ(ids, reference_generate(masked, 0, info).ids);
  EXPECT_TRUE(none.empty() && nothing.empty());
  EXPECT_TRUE(core->check_integrity().ok());
}

}  // namespace
}  // namespace ramjet::runtime

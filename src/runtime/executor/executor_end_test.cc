// How requests end before their time: cancels, deadlines, callbacks that throw, failed and stalled
// steps, lost devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "runtime/executor/test_executor.h"
#include "runtime/executor/test_reference.h"
#include "runtime/session/planted_session.h"

namespace ramjet::runtime {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(Executor, ACancelEndsARequestWithinAStep) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {}, slow_steps(milliseconds(2)));
  std::promise<RequestOutput> last;
  std::atomic<int> events{0};
  const auto id = core->submit(greedy({1}, -1), [&](RequestOutput&& o) {
    if (++events == 3) core->cancel(o.request);  // from the callback
    if (o.last) last.set_value(o);
  });
  ASSERT_TRUE(id.ok());
  auto future = last.get_future();
  ASSERT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(future.get().finish, FinishReason::kCancelled);
  EXPECT_LT(events, 90);
  core->cancel(*id);     // ended: ignored
  core->cancel(123456);  // unknown: ignored
  EXPECT_TRUE(core->check_integrity().ok());
  EXPECT_EQ(core->stats().kv_blocks_active, 0);
}

TEST(Executor, OneOfNSequencesIsCancelledAlone) {
  const SessionInfo info = FakeSession::small_info(100);
  FakeSession::Options options;
  std::atomic<int> sequences{0};  // of the last step
  options.hook = [&](int64_t, const StepBatch& batch) {
    sequences = static_cast<int>(batch.kv_len.size());
    std::this_thread::sleep_for(milliseconds(2));
    return ok_status();
  };
  auto core = make_executor(info, {}, options);
  Request request = greedy({4, 5}, 60);
  request.sampling.temperature = 1;
  request.sampling.seed = 3;
  request.n = 3;
  std::array<std::vector<int32_t>, 3> ids;
  std::array<FinishReason, 3> finish{};
  std::promise<void> all;
  std::atomic<uint64_t> known{0};
  auto id = core->submit(request, [&](RequestOutput&& o) {
    const auto at = static_cast<size_t>(o.index);
    ids[at].insert(ids[at].end(), o.ids.begin(), o.ids.end());
    if (o.finish != FinishReason::kNone) finish[at] = o.finish;
    if (o.index == 1 && ids[1].size() == 5) core->cancel(known, 1);
    if (o.last) all.set_value();
  });
  ASSERT_TRUE(id.ok());
  known = *id;
  core->cancel(*id, 9);  // no such sequence: ignored
  ASSERT_EQ(all.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(finish[1], FinishReason::kCancelled);
  EXPECT_LT(ids[1].size(), 50u);
  EXPECT_EQ(sequences, 2) << "the cancelled one was computed to the end";
  for (const int index : {0, 2}) {
    const ReferenceResult expected = reference_generate(request, index, info);
    EXPECT_EQ(ids[static_cast<size_t>(index)], expected.ids);
    EXPECT_EQ(finish[static_cast<size_t>(index)], expected.finish);
  }
  EXPECT_TRUE(core->check_integrity().ok());
  EXPECT_EQ(core->stats().kv_blocks_active, 0);
}

// Before the fork there is one sequence for all; index 0 carries it and can be cancelled too.
TEST(Executor, SequencesCancelledBeforeTheForkEndWithTheirPrompt) {
  const SessionInfo info = FakeSession::small_info(100);
  for (const bool all : {false, true}) {
    std::promise<void> release;
    FakeSession::Options options;
    options.hook = [released = release.get_future().share()](int64_t step, const StepBatch&) {
      if (step == 1) released.wait();
      return ok_status();
    };
    ExecutorConfig config;
    config.max_num_tokens = 16;  // the prompt takes several steps
    auto core = make_executor(info, config, options);
    Request request = greedy(std::vector<int32_t>(40, 7), 6);
    request.n = 3;
    std::array<RequestOutput, 3> last;
    std::promise<void> ended;
    auto id = core->submit(request, [&](RequestOutput&& o) {
      auto& to = last[static_cast<size_t>(o.index)];
      o.ids.insert(o.ids.begin(), to.ids.begin(), to.ids.end());
      to = std::move(o);
      if (to.last) ended.set_value();
    });
    ASSERT_TRUE(id.ok());
    core->cancel(*id, 0);
    core->cancel(*id, 2);
    if (all) core->cancel(*id, 1);
    release.set_value();
    ASSERT_EQ(ended.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
    for (const size_t index : {0, 2}) {
      EXPECT_EQ(last[index].finish, FinishReason::kCancelled);
      EXPECT_TRUE(last[index].ids.empty());
    }
    EXPECT_EQ(last[1].finish, all ? FinishReason::kCancelled : FinishReason::kLength);
    if (!all) EXPECT_EQ(last[1].ids, reference_generate(request, 1, info).ids);
    EXPECT_TRUE(core->check_integrity().ok());
    EXPECT_EQ(core->stats().kv_blocks_active, 0);
  }
}

TEST(Executor, AThrowingCallbackEndsItsRequestAlone) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {}, slow_steps(milliseconds(2)));
  std::atomic<int> calls{0};
  ASSERT_TRUE(core->submit(greedy({1}, 90),
                           [&](RequestOutput&&) {
                             ++calls;
                             throw 7;  // not even an exception
                           })
                  .ok());
  const Request other = greedy({5, 6}, 20);
  const auto result = core->generate(other, 30);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->at(0).ids, reference_generate(other, 0, info).ids);
  // It would take 180 ms to compute what nobody hears.
  EXPECT_TRUE(core->drain(30).ok());
  EXPECT_EQ(calls, 1);
  EXPECT_LT(core->stats().generation_tokens, 90u);
  EXPECT_TRUE(core->check_integrity().ok());
}

TEST(Executor, QueueTimeIsFromSubmitToTheFirstStep) {
  const SessionInfo info = FakeSession::small_info(100);
  ExecutorConfig config;
  config.max_batch_size = 1;
  auto core = make_executor(info, config, slow_steps(milliseconds(5)));
  std::promise<RequestOutput> waited;
  ASSERT_TRUE(core->submit(greedy({1}, 20), [](RequestOutput&&) {}).ok());
  ASSERT_TRUE(core->submit(greedy({2}, 1),
                           [&](RequestOutput&& o) {
                             if (o.last) waited.set_value(std::move(o));
                           })
                  .ok());
  EXPECT_GE(waited.get_future().get().queue_s, 0.09);  // 20 steps of 5 ms of the first
  const auto alone = core->generate(greedy({3}, 20), 30);
  ASSERT_TRUE(alone.ok());
  EXPECT_LT(alone->at(0).queue_s, 0.05);  // its own 20 steps do not count
  EXPECT_GT(alone->at(0).queue_s, 0);
}

TEST(Executor, AnIdleLoopChecksItsBooks) {
  auto core = make_executor(FakeSession::small_info(100), {});
  ASSERT_TRUE(core->generate(greedy({3}, 5), 30).ok());
  for (int i = 0; i < 300 && core->stats().integrity_checks == 0; ++i) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(core->stats().integrity_checks, 1u);
  EXPECT_EQ(core->stats().integrity_errors, 0u);
}

TEST(Executor, ADeadlineEndsARequestWithATypedError) {
  const SessionInfo info = FakeSession::small_info(100);
  auto core = make_executor(info, {}, slow_steps(milliseconds(5)));
  Request request = greedy({1}, -1);
  request.deadline_s = 0.05;
  const auto result = core->generate(request, 30);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(core->generate(greedy({1}, -1), 0.02).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(core->generate(greedy({1}, 1), -1).error().code, ErrorCode::kInvalidArgument);
}

TEST(Executor, AFailedStepEndsWhatWasInItAndTheLoopGoesOn) {
  const SessionInfo info = FakeSession::small_info(60);
  FakeSession::Options options;
  options.hook = [](int64_t step, const StepBatch&) -> Status {
    if (step % 23 == 3) return internal_error("planted");
    if (step % 29 == 5) throw std::runtime_error("planted throw");
    return ok_status();
  };
  auto core = make_executor(info, {}, options);
  std::mt19937 rng(5);
  std::atomic<int> ended{0}, failed{0};
  std::vector<Request> requests;
  for (int i = 0; i < 300; ++i) {
    const Request request = random_request(rng);
    auto ids = std::make_shared<std::map<int, std::vector<int32_t>>>();
    ASSERT_TRUE(core->submit(request,
                             [&, request, ids](RequestOutput&& o) {
                               auto& to = (*ids)[o.index];
                               to.insert(to.end(), o.ids.begin(), o.ids.end());
                               if (o.finish == FinishReason::kError) {
                                 ++failed;
                                 EXPECT_THAT(o.error->message, HasSubstr("planted"));
                               } else if (o.finish != FinishReason::kNone) {
                                 EXPECT_EQ(to, reference_generate(request, o.index, info).ids);
                               }
                               if (o.last) ++ended;
                             })
                    .ok());
  }
  const Status drained = core->drain(60);
  EXPECT_TRUE(drained.ok()) << drained.error().message;
  EXPECT_EQ(ended, 300);
  EXPECT_GT(failed, 10);
  EXPECT_LT(failed, 300);
  const Status integrity = core->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
}

TEST(Executor, AStalledStepFailsHealthUntilItEnds) {
  const SessionInfo info = FakeSession::small_info(60);
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  FakeSession::Options options;
  options.hook = [released](int64_t step, const StepBatch&) {
    if (step == 2) released.wait();
    return ok_status();
  };
  ExecutorConfig config;
  config.step_deadline_s = 0.1;
  auto core = make_executor(info, config, options);
  EXPECT_TRUE(core->health().ok());
  std::promise<void> done;
  ASSERT_TRUE(core->submit(greedy({1}, 5),
                           [&](RequestOutput&& o) {
                             if (o.last) done.set_value();
                           })
                  .ok());
  for (int i = 0; i < 200 && core->health().ok(); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  const Status sick = core->health();
  ASSERT_FALSE(sick.ok());
  EXPECT_EQ(sick.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(sick.error().message, HasSubstr("step_deadline_s"));
  EXPECT_EQ(core->check_integrity().error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(core->drain(0.05).error().code, ErrorCode::kDeadlineExceeded);
  release.set_value();
  done.get_future().wait();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_TRUE(core->health().ok());
}

TEST(Executor, RepeatedFailuresFailHealth) {
  FakeSession::Options options;
  std::atomic<bool> broken{true};
  options.hook = [&broken](int64_t, const StepBatch&) -> Status {
    if (broken) return internal_error("the device is gone");
    return ok_status();
  };
  auto core = make_executor(FakeSession::small_info(60), {}, options);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(core->generate(greedy({1}, 3), 30).ok());
  EXPECT_THAT(core->health().error().message, HasSubstr("failed"));
  broken = false;
  EXPECT_TRUE(core->generate(greedy({1}, 3), 30).ok());
  EXPECT_TRUE(core->health().ok());
}

/// What a device's loss does to two requests that run and two that wait.
void lose_device(std::unique_ptr<Session> session) {
  std::mutex mutex;
  std::vector<uint64_t> started;
  std::map<uint64_t, Error> ended;
  size_t ended_when_told = 0;
  std::promise<Error> told;
  ExecutorConfig config;
  config.max_batch_size = 2;
  std::latch submitted(1);  // on a slow machine the fault would come before the second request
  config.hooks.on_start = [&](std::span<const uint64_t> tags) {
    submitted.wait();
    const std::lock_guard lock(mutex);
    started.insert(started.end(), tags.begin(), tags.end());
  };
  config.hooks.on_lost = [&](const Error& error) {
    const std::lock_guard lock(mutex);
    ended_when_told = ended.size();
    told.set_value(error);
  };
  auto core = ExecutorCore::create(plant(std::move(session), {Plant::Kind::kFault, 6}, {}), config,
                                   nullptr);
  ASSERT_TRUE(core.ok());
  for (uint64_t tag = 11; tag <= 14; ++tag) {
    Request request = greedy({1, 2, static_cast<int32_t>(tag)}, 40);
    request.tag = tag;
    ASSERT_TRUE((*core)
                    ->submit(std::move(request),
                             [&, tag](RequestOutput&& output) {
                               if (!output.last) return;
                               const std::lock_guard lock(mutex);
                               ended[tag] = output.error.value_or(Error{});
                             })
                    .ok());
  }
  submitted.count_down();
  const Error error = told.get_future().get();
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(error.message, HasSubstr("a planted device fault"));
  EXPECT_TRUE((*core)->drain(10).ok());  // all have ended
  EXPECT_THAT(started, testing::ElementsAre(11, 12));
  EXPECT_EQ(ended_when_told, 2u) << "what waits is left to the hook";
  EXPECT_EQ(ended.size(), 4u);
  for (const auto& [tag, why] : ended) EXPECT_EQ(why.message, error.message) << tag;
  EXPECT_EQ((*core)->health().error().message, error.message);
  EXPECT_EQ((*core)->submit(greedy({1}, 2), {}).error().message, error.message);
  EXPECT_TRUE((*core)->check_integrity().ok());
}

TEST(Executor, ALostDeviceEndsWhatBegan) {
  const SessionInfo info = FakeSession::small_info(60);
  lose_device(std::make_unique<FakeSession>(info, FakeSession::Options{}));
}

TEST(Executor, ALostDeviceEndsWhatBeganAhead) {
  const SessionInfo info = FakeSession::small_info(60);
  lose_device(std::make_unique<FakeAsyncSession>(info, FakeSession::Options{}));
}

TEST(Executor, PlantsAreParsed) {
  EXPECT_EQ(Plant::parse("hang_at_step:12")->step, 12);
  EXPECT_EQ(Plant::parse("hang_at_step:12")->kind, Plant::Kind::kHang);
  EXPECT_EQ(Plant::parse("exit_at_step:1")->kind, Plant::Kind::kExit);
  EXPECT_EQ(Plant::parse("fault_at_step:3:always")->step, 3);
  for (const char* bad : {"", "fault", "fault_at_step:", "fault_at_step:0", "fault_at_step:1x"}) {
    EXPECT_FALSE(Plant::parse(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace ramjet::runtime

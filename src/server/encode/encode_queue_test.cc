#include "server/encode/encode_queue.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <semaphore>

namespace ramjet::server {
namespace {

/// A model that gives each input's first id, and waits in each step for one leave.
struct Model {
  std::counting_semaphore<> leave{0};
  std::mutex mutex;
  std::vector<std::vector<int32_t>> steps;  // first ids
  std::optional<Error> error;

  EncodeStep step() {
    return [this](EncodeKind kind, std::span<const EncoderInput> inputs) -> Result<EncodeRows> {
      {
        const std::lock_guard lock(mutex);
        steps.emplace_back();
        for (const EncoderInput& input : inputs) steps.back().push_back(input.ids[0]);
      }
      leave.acquire();
      if (error) return *error;
      EncodeRows rows;
      for (const EncoderInput& input : inputs) {
        rows.push_back({static_cast<float>(input.ids[0]), kind == EncodeKind::kScores ? 1.f : 0.f});
      }
      return rows;
    };
  }
  size_t begun() {
    const std::lock_guard lock(mutex);
    return steps.size();
  }
  void await_step(size_t count) {
    while (begun() < count) std::this_thread::yield();
  }
};

using Answer = std::future<Result<EncodeRows>>;

EncodeJob job(std::vector<int32_t> firsts, Answer& answer, EncodeKind kind = EncodeKind::kEmbed) {
  auto promise = std::make_shared<std::promise<Result<EncodeRows>>>();
  answer = promise->get_future();
  EncodeJob made;
  made.kind = kind;
  for (const int32_t id : firsts) made.inputs.push_back({{id, 0, 0}, {}});  // three tokens each
  made.done = [promise](Result<EncodeRows> rows) { promise->set_value(std::move(rows)); };
  return made;
}

EncodeQueueOptions options() {
  EncodeQueueOptions made;
  made.max_batch_size = 4;
  made.max_num_tokens = 9;  // three inputs
  made.max_queue = 3;
  made.step_deadline_s = 60;
  return made;
}

std::vector<float> firsts(Answer& answer) {
  const Result<EncodeRows> rows = answer.get();
  EXPECT_TRUE(rows.ok());
  std::vector<float> out;
  for (const auto& row : *rows) out.push_back(row[0]);
  return out;
}

TEST(EncodeQueue, RequestsShareStepsInTurn) {
  Model model;
  EncodeQueue queue(model.step(), options());
  Answer first, large, small, scored;
  ASSERT_TRUE(queue.encode(job({1}, first)).ok());
  model.await_step(1);
  ASSERT_TRUE(queue.encode(job({10, 11, 12, 13, 14}, large)).ok());
  ASSERT_TRUE(queue.encode(job({20}, small)).ok());
  ASSERT_TRUE(queue.encode(job({30}, scored, EncodeKind::kScores)).ok());
  EXPECT_EQ(queue.stats().requests_waiting, 3);
  Answer refused;
  EXPECT_EQ(queue.encode(job({40}, refused)).error().code, ErrorCode::kResourceExhausted);
  model.leave.release(10);
  EXPECT_EQ(firsts(first), (std::vector<float>{1}));
  EXPECT_EQ(firsts(large), (std::vector<float>{10, 11, 12, 13, 14}));
  EXPECT_EQ(firsts(small), (std::vector<float>{20}));
  EXPECT_EQ((*scored.get())[0], (std::vector<float>{30, 1}));
  const std::vector<std::vector<int32_t>> expected = {{1}, {10, 20, 11}, {30}, {12, 13, 14}};
  EXPECT_EQ(model.steps, expected);
  EXPECT_TRUE(queue.drain(5).ok());
  EXPECT_EQ(queue.stats().prompt_tokens, 24u);
  EXPECT_EQ(queue.stats().steps, 4u);
}

TEST(EncodeQueue, EveryJobEndsOnce) {
  Model model;
  auto queue = std::make_unique<EncodeQueue>(model.step(), options());
  Answer running, waiting, cancelled;
  ASSERT_TRUE(queue->encode(job({1}, running)).ok());
  model.await_step(1);
  ASSERT_TRUE(queue->encode(job({2}, waiting)).ok());
  const auto id = queue->encode(job({3}, cancelled));
  ASSERT_TRUE(id.ok());
  queue->cancel(*id);
  queue->cancel(*id);
  EXPECT_EQ(cancelled.get().error().code, ErrorCode::kCancelled);
  EXPECT_EQ(queue->drain(0.01).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(running.get().error().code, ErrorCode::kCancelled);
  EXPECT_EQ(waiting.get().error().code, ErrorCode::kCancelled);
  Answer late;
  EXPECT_EQ(queue->encode(job({4}, late)).error().code, ErrorCode::kUnavailable);
  model.leave.release(10);
  queue.reset();
  EXPECT_EQ(model.begun(), 1u);
}

TEST(EncodeQueue, AFailureIsTheStepsAlone) {
  Model model;
  model.error = Error{ErrorCode::kInternal, "planted"};
  EncodeQueue queue(model.step(), options());
  Answer failed;
  ASSERT_TRUE(queue.encode(job({1, 2, 3, 4}, failed)).ok());
  model.await_step(1);
  model.leave.release();
  EXPECT_EQ(failed.get().error().message, "planted");
  EXPECT_TRUE(queue.drain(5).ok()) << "the fourth input is not waited for";
  EXPECT_EQ(queue.submit({}, {}).error().code, ErrorCode::kUnsupported);
}

TEST(EncodeQueue, AStepThatHangsShowsInHealth) {
  Model model;
  EncodeQueueOptions impatient = options();
  impatient.step_deadline_s = 1e-3;
  EncodeQueue queue(model.step(), impatient);
  EXPECT_TRUE(queue.health().ok());
  Answer answer;
  ASSERT_TRUE(queue.encode(job({1}, answer)).ok());
  model.await_step(1);
  while (queue.health().ok()) std::this_thread::yield();
  EXPECT_NE(queue.health().error().message.find("step in progress"), std::string::npos);
  model.leave.release();
  EXPECT_TRUE(answer.get().ok());
  EXPECT_TRUE(queue.health().ok());
}

}  // namespace
}  // namespace ramjet::server

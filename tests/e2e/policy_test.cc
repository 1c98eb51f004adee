// Capacity policies, batching modes, priorities, deadlines, cancels and instruction sets.
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "golden.h"

namespace ramjet::e2e {
namespace {

const char* const kModel = "tests/data/models/tiny-llama";

std::shared_ptr<const Engine> shared_engine() {
  static const std::shared_ptr<const Engine> engine = [] {
    auto made = build_and_load(kModel, f32_options());
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return made.ok() ? *made : nullptr;
  }();
  return engine;
}

std::unique_ptr<Executor> make_executor(const ExecutorConfig& config) {
  auto made = Executor::create(shared_engine(), config);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? std::move(*made) : nullptr;
}

/// Collects the outputs of many requests.
class Collector {
 public:
  OutputCallback callback(size_t index) {
    return [this, index](RequestOutput&& output) {
      std::lock_guard lock(mutex_);
      if (results_.size() <= index) results_.resize(index + 1);
      RequestOutput& result = results_[index];
      result.ids.insert(result.ids.end(), output.ids.begin(), output.ids.end());
      result.cached_tokens = output.cached_tokens;
      if (!output.last) return;
      result.finish = output.finish;
      result.error = output.error;
      order_.push_back(index);
      done_.notify_all();
    };
  }
  bool wait(size_t count, double seconds = 60) {
    std::unique_lock lock(mutex_);
    return done_.wait_for(lock, std::chrono::duration<double>(seconds),
                          [&] { return order_.size() >= count; });
  }
  std::vector<size_t> order() {
    std::lock_guard lock(mutex_);
    return order_;
  }
  RequestOutput result(size_t index) {
    std::lock_guard lock(mutex_);
    return results_.at(index);
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<RequestOutput> results_;
  std::vector<size_t> order_;
};

uint64_t bytes_of_blocks(int blocks) {
  auto probe = make_executor({});
  const ExecutorStats stats = probe->stats();
  return stats.kv_bytes / static_cast<uint64_t>(stats.kv_blocks_total) *
         static_cast<uint64_t>(blocks);
}

TEST(Policy, BothCapacityPoliciesAndStaticBatchesGiveTheSameTokens) {
  const std::vector<int32_t> prompt = {5, 87, 138, 20, 41};
  auto plain = make_executor({});
  const auto expected = (*plain->generate(greedy_request(prompt, 30), 60))[0].ids;
  struct Case {
    CapacityPolicy capacity;
    BatchingMode batching;
    bool preempts;
  };
  for (const Case& c : {Case{CapacityPolicy::kOvercommit, BatchingMode::kInFlight, true},
                        Case{CapacityPolicy::kMaxUtilization, BatchingMode::kInFlight, false},
                        Case{CapacityPolicy::kGuaranteedNoEvict, BatchingMode::kInFlight, false},
                        Case{CapacityPolicy::kGuaranteedNoEvict, BatchingMode::kStatic, false}}) {
    ExecutorConfig config;
    config.capacity = c.capacity;
    config.batching = c.batching;
    config.kv_bytes = bytes_of_blocks(8);
    auto exec = make_executor(config);
    Collector collector;
    for (size_t i = 0; i < 12; ++i) {
      ASSERT_TRUE(exec->submit(greedy_request(prompt, 30), collector.callback(i)).ok());
    }
    ASSERT_TRUE(collector.wait(12));
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(collector.result(i).ids, expected);
    EXPECT_EQ(exec->stats().preemptions > 0, c.preempts);
    EXPECT_TRUE(exec->check_integrity().ok());
  }
}

TEST(Policy, HigherPriorityFinishesFirst) {
  ExecutorConfig config;
  config.max_batch_size = 1;
  auto exec = make_executor(config);
  Collector collector;
  const std::vector<int32_t> prompt = {5, 87, 138};
  ASSERT_TRUE(exec->submit(greedy_request(prompt, 60), collector.callback(0)).ok());
  for (size_t i = 1; i <= 4; ++i) {
    Request r = greedy_request(prompt, 4);
    r.priority = static_cast<int>(i);
    ASSERT_TRUE(exec->submit(r, collector.callback(i)).ok());
  }
  ASSERT_TRUE(collector.wait(5));
  std::vector<size_t> rest;
  for (size_t i : collector.order()) {
    if (i != 0) rest.push_back(i);
  }
  EXPECT_EQ(rest, (std::vector<size_t>{4, 3, 2, 1}));
}

TEST(Policy, DeadlinesEndARequestWithAnError) {
  ExecutorConfig config;
  config.max_batch_size = 1;
  auto exec = make_executor(config);
  Collector collector;
  for (size_t i = 0; i < 40; ++i) {
    Request r = greedy_request({5, 87, 138}, -1);
    if (i > 0) r.deadline_s = 0.001;
    ASSERT_TRUE(exec->submit(r, collector.callback(i)).ok());
  }
  ASSERT_TRUE(collector.wait(40));
  EXPECT_FALSE(collector.result(0).error);
  ASSERT_TRUE(collector.result(39).error);
  EXPECT_EQ(collector.result(39).error->code, ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(exec->check_integrity().ok());
}

TEST(Policy, CancelEndsARequestAndFreesItsBlocks) {
  auto exec = make_executor({});
  Collector collector;
  std::vector<uint64_t> handles;
  for (size_t i = 0; i < 20; ++i) {
    auto handle = exec->submit(greedy_request({5, 87, 138}, -1), collector.callback(i));
    ASSERT_TRUE(handle.ok());
    handles.push_back(*handle);
  }
  for (size_t i = 0; i < 20; i += 2) exec->cancel(handles[i]);
  ASSERT_TRUE(collector.wait(20));
  int cancelled = 0;
  for (size_t i = 0; i < 20; ++i) {
    cancelled += collector.result(i).finish == FinishReason::kCancelled;
    if (i % 2 == 1) EXPECT_EQ(collector.result(i).finish, FinishReason::kLength);
  }
  EXPECT_GT(cancelled, 0);
  EXPECT_TRUE(exec->check_integrity().ok());
  EXPECT_EQ(exec->stats().kv_blocks_active, 0);
}

TEST(Policy, AFullQueueIsRefusedAndADrainedExecutorToo) {
  ExecutorConfig config;
  config.max_queue = 2;
  config.max_batch_size = 1;
  auto exec = make_executor(config);
  Collector collector;
  size_t accepted = 0;
  Result<uint64_t> last = uint64_t{0};
  for (int i = 0; i < 50; ++i) {
    last = exec->submit(greedy_request({5, 87, 138}, 100), collector.callback(accepted));
    if (!last.ok()) break;
    ++accepted;
  }
  ASSERT_FALSE(last.ok());
  EXPECT_EQ(last.error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(exec->drain(60).ok());
  EXPECT_TRUE(collector.wait(accepted, 1));
  EXPECT_EQ(exec->submit(greedy_request({5}, 1), collector.callback(99)).error().code,
            ErrorCode::kUnavailable);
}

TEST(Policy, SaltsSeparatePrefixes) {
  auto exec = make_executor({});
  std::vector<int32_t> prompt(64);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(10 + i);
  Collector collector;
  Request r = greedy_request(prompt, 2);
  const auto cached = [&](size_t index, uint64_t salt) {
    r.cache_salt = salt;
    EXPECT_TRUE(exec->submit(r, collector.callback(index)).ok());
    EXPECT_TRUE(collector.wait(index + 1));
    return collector.result(index).cached_tokens;
  };
  EXPECT_EQ(cached(0, 1), 0);
  EXPECT_GT(cached(1, 1), 0);
  EXPECT_EQ(cached(2, 2), 0);
}

/// Every instruction set this machine has computes the goldens.
class InstructionSet : public testing::TestWithParam<const char*> {};

TEST_P(InstructionSet, ComputesTheGoldens) {
  for (const char* dtype : {"f32", "bf16"}) {
    BuildOptions options = f32_options();
    options.dtype = dtype;
    options.target = GetParam();
    auto engine = build_and_load(kModel, options);
    if (!engine.ok() && engine.error().code == ErrorCode::kUnsupported) {
      GTEST_SKIP() << engine.error().message;
    }
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    auto exec = Executor::create(*engine, {});
    ASSERT_TRUE(exec.ok()) << exec.error().message;
    const Golden golden = read_golden(kModel);
    for (const GoldenPrompt& prompt : golden.prompts) {
      const float tolerance = std::string(dtype) == "f32" ? 1e-3f : 0.5f;
      EXPECT_LE(largest_difference(all_logits(**exec, prompt.ids), prompt), tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, InstructionSet,
                         testing::Values("cpu-scalar", "cpu-avx2", "cpu-avx512", "cpu-amx"),
                         [](const auto& info) { return slug(info.param); });

}  // namespace
}  // namespace ramjet::e2e

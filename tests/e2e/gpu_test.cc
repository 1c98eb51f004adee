// Engines on a GPU against the same engines on the CPU, in f32, where the order of sums rarely
// turns a token. Skipped where there is no GPU.
#include <atomic>
#include <future>
#include <random>

#include "golden.h"
#include "kernels/registry.h"

namespace ramjet::e2e {
namespace {

constexpr const char* kModel = "models/demo";

std::unique_ptr<Executor> executor_on(const std::string& target, const ExecutorConfig& config) {
  BuildOptions options = f32_options();
  options.max_seq_len = 512, options.target = target;
  auto engine = build_and_load(kModel, options);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  if (!engine.ok()) return nullptr;
  auto made = Executor::create(*engine, config);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? std::move(*made) : nullptr;
}

std::vector<int32_t> random_prompt(std::mt19937& rng, size_t length) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < length; ++i) ids.push_back(static_cast<int32_t>(10 + rng() % 5000));
  return ids;
}

class GpuEngine : public testing::Test {
 protected:
  void SetUp() override {
    const auto gpu = kernels::Target::gpu();
    if (!gpu) GTEST_SKIP() << "no GPU here";
    target_ = gpu->name();
  }
  std::string target_;
};

TEST_F(GpuEngine, GreedyTokensEqualTheCpusAloneAndTogether) {
  auto gpu = executor_on(target_, {}), cpu = executor_on(host_target(), {});
  ASSERT_TRUE(gpu != nullptr && cpu != nullptr);
  EXPECT_NE(gpu->stats().device.find(target_), std::string::npos) << gpu->stats().device;
  std::mt19937 rng(3);
  std::vector<Request> requests;
  std::vector<std::vector<int32_t>> expected;
  for (const size_t length : {1, 5, 63, 64, 65, 200, 400}) {
    requests.push_back(greedy_request(random_prompt(rng, length), 40));
    auto outputs = cpu->generate(requests.back(), 120);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    expected.push_back((*outputs)[0].ids);
  }
  std::vector<std::future<Result<std::vector<RequestOutput>>>> together;
  for (const Request& request : requests) {
    together.push_back(
        std::async(std::launch::async, [&gpu, request] { return gpu->generate(request, 120); }));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    auto outputs = together[i].get();
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].ids, expected[i]) << "together, prompt " << i;
    outputs = gpu->generate(requests[i], 120);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].ids, expected[i]) << "alone, from cached blocks, prompt " << i;
  }
  EXPECT_TRUE(gpu->check_integrity().ok());
}

/// Every control that the device applies itself.
Request controlled_request(std::mt19937& rng, size_t i) {
  Request request = greedy_request(random_prompt(rng, 1 + rng() % 60), 24 + i % 9);
  SamplingParams& s = request.sampling;
  s.seed = 1000 + i;
  s.temperature = i % 4 == 0 ? 0.0f : 0.9f;
  if (i % 3 == 0) s.top_p = 0.9f;
  if (i % 5 == 0) s.top_k = 40;
  LogitControls& c = s.controls;
  if (i % 2 == 0) c.repetition_penalty = 1.3f;
  if (i % 3 != 1) c.frequency_penalty = 0.6f, c.presence_penalty = 0.4f;
  if (i % 4 == 1) c.bias = {{17, 4.0f}, {23, -3.0f}, {17, 1.0f}};
  if (i % 4 == 2) c.bad_words = {{12}, {13}, {300}};
  if (i % 7 == 3) {
    for (int32_t id = 0; id < 64; ++id) c.allowed_ids.push_back(40 + 3 * id);
  }
  s.stop.stop_ids = {50, 51, 52, 53};
  s.stop.min_tokens = 10;
  if (i % 6 == 5) s.logprobs = 20;
  return request;
}

TEST_F(GpuEngine, PenaltiesMasksAndExclusionsOnTheDeviceEqualTheHosts) {
  ExecutorConfig config;
  config.max_batch_size = 24;  // of 40 requests, so that slots change hands
  auto gpu = executor_on(target_, config);
  ASSERT_NE(gpu, nullptr);
  std::mt19937 rng(6);
  std::vector<Request> requests;
  std::vector<RequestOutput> expected;
  for (size_t i = 0; i < 40; ++i) {
    requests.push_back(controlled_request(rng, i));
    Request host = requests.back();
    host.sampling.prompt_logprobs = 0;  // wants the host, for all tokens of the request
    auto outputs = gpu->generate(host, 120);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    expected.push_back(std::move((*outputs)[0]));
  }
  std::vector<std::future<Result<std::vector<RequestOutput>>>> together;
  for (const Request& request : requests) {
    together.push_back(
        std::async(std::launch::async, [&gpu, request] { return gpu->generate(request, 120); }));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    auto outputs = together[i].get();
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    const RequestOutput& got = (*outputs)[0];
    EXPECT_EQ(got.ids, expected[i].ids) << "request " << i;
    EXPECT_EQ(got.finish, expected[i].finish) << "request " << i;
    ASSERT_EQ(got.logprobs.size(), expected[i].logprobs.size());
    for (size_t t = 0; t < got.logprobs.size() && got.ids == expected[i].ids; ++t) {
      EXPECT_NEAR(got.logprobs[t].chosen.logprob, expected[i].logprobs[t].chosen.logprob, 1e-3);
      EXPECT_EQ(got.logprobs[t].top.size(), 20u);
    }
  }
  EXPECT_TRUE(gpu->check_integrity().ok());
}

TEST_F(GpuEngine, AFewBlocksAndManyCancelsLeakNothing) {
  ExecutorConfig config;
  config.kv_bytes = 24 << 20;  // far fewer blocks than the requests want
  auto gpu = executor_on(target_, config);
  ASSERT_NE(gpu, nullptr);
  std::mt19937 rng(4);
  std::atomic<int> ended{0}, failed{0};
  constexpr int kRequests = 200;
  for (int i = 0; i < kRequests; ++i) {
    Request request = greedy_request(random_prompt(rng, 1 + rng() % 200), 60);
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.9f;
    if (i % 5 == 0) request.sampling.logprobs = 3;
    if (i % 11 == 0) request.n = 2;
    const int cancel_after = i % 3 == 0 ? static_cast<int>(rng() % 20) : 1000;
    auto seen = std::make_shared<int>(0);
    auto id = gpu->submit(request, [&, seen, cancel_after](RequestOutput&& output) {
      if (++*seen == cancel_after) gpu->cancel(output.request);
      if (output.error) ++failed;
      if (output.last) ++ended;
    });
    ASSERT_TRUE(id.ok()) << id.error().message;
  }
  const Status drained = gpu->drain(120);
  EXPECT_TRUE(drained.ok()) << drained.error().message;
  EXPECT_EQ(ended, kRequests);
  EXPECT_EQ(failed, 0);
  const Status integrity = gpu->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
  EXPECT_EQ(gpu->stats().kv_blocks_active, 0);
}

}  // namespace
}  // namespace ramjet::e2e

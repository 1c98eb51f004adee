// Engines on a GPU against the same engines on the CPU, in f32, where the order of sums rarely
// turns a token; batch-invariant engines against themselves, bit for bit; long contexts, storms of
// requests. Skipped where there is no GPU.
#include <atomic>
#include <future>
#include <random>

#include "base/file.h"
#include "invariance.h"
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

/// All at once; the results come in the order of `requests`.
std::vector<std::future<Result<std::vector<RequestOutput>>>> generate_together(
    Executor& executor, const std::vector<Request>& requests) {
  std::vector<std::future<Result<std::vector<RequestOutput>>>> together;
  for (const Request& request : requests) {
    together.push_back(std::async(
        std::launch::async, [&executor, request] { return executor.generate(request, 120); }));
  }
  return together;
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
  auto together = generate_together(*gpu, requests);
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
  auto together = generate_together(*gpu, requests);
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

/// Ten thousand short requests, a tenth of them cancelled: each ends once, no block stays.
TEST_F(GpuEngine, TenThousandRequestsLeakNothing) {
  ExecutorConfig config;
  config.max_queue = 20000;
  config.kv_bytes = 64 << 20;
  auto gpu = executor_on(target_, config);
  ASSERT_NE(gpu, nullptr);
  constexpr int kRequests = 10000;
  std::mt19937 rng(5);
  std::atomic<int> ended{0}, failed{0}, cancelled{0};
  for (int i = 0; i < kRequests; ++i) {
    Request request = greedy_request(random_prompt(rng, 1 + rng() % 24), 1 + rng() % 8);
    if (i % 4 == 0) request.prompt_ids.assign(70, 77);  // a prefix that many share
    const bool cancel = rng() % 10 == 0;
    auto id = gpu->submit(request, [&](RequestOutput&& output) {
      if (output.error) ++failed;
      if (output.finish == FinishReason::kCancelled) ++cancelled;
      if (output.last) ++ended;
    });
    ASSERT_TRUE(id.ok()) << id.error().message;
    if (cancel) gpu->cancel(*id);
  }
  const Status drained = gpu->drain(120);
  EXPECT_TRUE(drained.ok()) << drained.error().message;
  EXPECT_EQ(ended, kRequests);
  EXPECT_EQ(failed, 0);
  EXPECT_GT(cancelled, 0);
  const Status integrity = gpu->check_integrity();
  EXPECT_TRUE(integrity.ok()) << integrity.error().message;
  EXPECT_EQ(gpu->stats().kv_blocks_active, 0);
  EXPECT_GT(gpu->stats().prefix_hits, 0u);
}

struct InvariantCase {
  const char* folder;
  const char* dtype;
  const char* quantize;
  const char* kv_dtype;
  int vocab;
};

class GpuInvariant : public GpuEngine, public testing::WithParamInterface<InvariantCase> {};

TEST_P(GpuInvariant, SameBitsInEveryBatch) {
  const InvariantCase& c = GetParam();
  BuildOptions options;
  options.dtype = c.dtype, options.quantize = c.quantize, options.kv_dtype = c.kv_dtype;
  options.target = target_;
  options.max_seq_len = 160;
  options.max_num_tokens = 512;
  options.tune = std::string(c.quantize) == "fp8";  // chosen by time, and by the cost model
  std::vector<size_t> lengths = {1, 3, 17, 50, 64, 65, 100, 115, 130};
  if (c.vocab > 1000) {
    options.max_seq_len = 512;
    for (const size_t length : {9, 33, 129, 200, 300, 400, 480}) lengths.push_back(length);
  }
  Invariance(c.folder, options, lengths, c.vocab).check();
}

INSTANTIATE_TEST_SUITE_P(
    Engines, GpuInvariant,
    testing::Values(InvariantCase{"models/demo", "bf16", "none", "auto", 5000},
                    InvariantCase{"models/demo", "bf16", "fp8", "fp8", 5000},
                    InvariantCase{"models/demo", "f32", "none", "auto", 5000},
                    InvariantCase{"tests/data/models/mistral-window", "bf16", "none", "auto", 190},
                    InvariantCase{"tests/data/models/qwen3", "bf16", "none", "auto", 190}),
    [](const auto& tested) {
      return slug(tested.param.folder) + "_" + tested.param.dtype + "_" + tested.param.quantize;
    });

/// A random model of the Llama family with room for 32,768 tokens.
class GpuLongContext : public GpuEngine {
 protected:
  static constexpr int kVocab = 1024;

  static std::string folder() {
    const std::string path = testing::TempDir() + "/long-" + std::to_string(::getpid());
    EXPECT_TRUE(make_directories(path).ok());
    std::ofstream(path + "/config.json")
        << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512,
               "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 8,
               "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1024,
               "max_position_embeddings": 32768, "rope_theta": 500000.0, "rms_norm_eps": 1e-5,
               "hidden_act": "silu", "torch_dtype": "bfloat16", "tie_word_embeddings": false})";
    return path;
  }
  static std::shared_ptr<const Engine> engine(const std::string& target, bool invariant) {
    BuildOptions options;
    options.target = target;
    options.max_batch_size = 4;
    options.tune = false;
    options.batch_invariant = invariant;
    options.weights = BuildOptions::Weights::kDummyStored;
    auto made = build_and_load(folder(), options);
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return made.ok() ? *made : nullptr;
  }
  static std::unique_ptr<Executor> executor(const std::shared_ptr<const Engine>& engine,
                                            int chunk) {
    if (engine == nullptr) return nullptr;
    ExecutorConfig config;
    config.max_num_tokens = chunk;
    config.kv_bytes = 256 << 20;
    auto made = Executor::create(engine, config);
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return made.ok() ? std::move(*made) : nullptr;
  }
  /// Logits of the last positions of a prompt that fills nearly all of the context.
  static LogitRows last_logits(Executor& exec, const std::vector<int32_t>& ids) {
    LogitRows rows;
    const Status status = exec.logits(
        {ids, static_cast<int>(ids.size()) - 4},
        [&](int, std::span<const float> row) { rows.emplace_back(row.begin(), row.end()); });
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    return rows;
  }
  static std::vector<int32_t> prompt() {
    std::mt19937 rng(6);
    std::vector<int32_t> ids;
    for (int i = 0; i < 32000; ++i) ids.push_back(static_cast<int32_t>(rng() % kVocab));
    return ids;
  }
};

TEST_F(GpuLongContext, ChunksAndDecodingOf32kTokensGiveTheSameBits) {
  const auto made = engine(target_, true);
  const std::vector<int32_t> ids = prompt();
  Request request = greedy_request(ids, 48);
  request.sampling.logprobs = 2;
  Traced first;
  LogitRows rows;
  for (const int chunk : {2048, 640}) {
    auto gpu = executor(made, chunk);
    ASSERT_NE(gpu, nullptr);
    const Traced got = traced(gpu->generate(request, 60));
    ASSERT_EQ(got.ids.size(), 48u);
    const LogitRows logits = last_logits(*gpu, ids);
    if (rows.empty()) first = got, rows = logits;
    EXPECT_EQ(got, first) << "chunks of " << chunk;
    EXPECT_EQ(logits, rows) << "chunks of " << chunk;
    EXPECT_EQ(traced(gpu->generate(request, 60)), first) << "from cached prefixes";
    EXPECT_GT(gpu->stats().prefix_hits, 30000u);
    // What was decoded, as a prompt.
    Request longer = greedy_request(ids, 16);
    longer.prompt_ids.insert(longer.prompt_ids.end(), first.ids.begin(), first.ids.begin() + 32);
    EXPECT_EQ(traced(gpu->generate(longer, 60)).ids,
              std::vector<int32_t>(first.ids.begin() + 32, first.ids.end()));
    EXPECT_TRUE(gpu->check_integrity().ok());
  }
}

TEST_F(GpuLongContext, LogitsAt32kAreTheCpus) {
  const std::vector<int32_t> ids = prompt();
  auto cpu = executor(engine(host_target(), false), 2048);
  ASSERT_NE(cpu, nullptr);
  const LogitRows expected = last_logits(*cpu, ids);
  for (const bool invariant : {false, true}) {
    auto gpu = executor(engine(target_, invariant), 2048);
    ASSERT_NE(gpu, nullptr);
    const LogitRows rows = last_logits(*gpu, ids);
    ASSERT_EQ(rows.size(), expected.size());
    double difference = 0, square = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t j = 0; j < rows[i].size(); ++j) {
        difference += std::pow(rows[i][j] - expected[i][j], 2);
        square += std::pow(expected[i][j], 2);
      }
    }
    EXPECT_GT(square, 0);
    EXPECT_LT(std::sqrt(difference / square), 0.03)
        << "relative, in bf16; invariant: " << invariant;
  }
}

}  // namespace
}  // namespace ramjet::e2e

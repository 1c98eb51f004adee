// Every family's tiny checkpoint against `transformers`: logits and greedy ids, in f32 and bf16,
// with each pass off, in chunks, with a small cache, and under forced preemption. What takes
// longest runs for the first families only; `make test-deep` does it for all.
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "golden.h"

namespace ramjet::e2e {
namespace {

constexpr float kLogitTolerance = 1e-3f;
constexpr std::string_view kFirst[] = {"llama", "mistral", "qwen"};

class Family : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { golden_ = read_golden(GetParam()); }

  std::unique_ptr<Executor> executor(const BuildOptions& build, const ExecutorConfig& config) {
    Result<std::shared_ptr<const Engine>> engine = build_and_load(golden_.folder, build);
    if (!engine.ok()) {
      ADD_FAILURE() << engine.error().message;
      return nullptr;
    }
    Result<std::unique_ptr<Executor>> made = Executor::create(*engine, config);
    if (!made.ok()) {
      ADD_FAILURE() << made.error().message;
      return nullptr;
    }
    return std::move(*made);
  }

  void expect_goldens(Executor& executor) {
    for (const GoldenPrompt& prompt : golden_.prompts) {
      EXPECT_LE(largest_difference(all_logits(executor, prompt.ids), prompt), kLogitTolerance)
          << "prompt of " << prompt.ids.size();
      expect_greedy(executor, prompt);
    }
    Status integrity = executor.check_integrity();
    EXPECT_TRUE(integrity.ok()) << (integrity.ok() ? "" : integrity.error().message);
  }

  void expect_greedy(Executor& executor, const GoldenPrompt& prompt) {
    auto outputs =
        executor.generate(greedy_request(prompt.ids, static_cast<int>(prompt.greedy.size())), 60);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].ids, prompt.greedy) << "prompt of " << prompt.ids.size();
  }

  Golden golden_;
};
class FamilyInDepth : public Family {};

TEST_P(Family, F32EqualsTransformers) {
  auto exec = executor(f32_options(), {});
  ASSERT_NE(exec, nullptr);
  ASSERT_GE(golden_.prompts.size(), 3u);
  expect_goldens(*exec);
  EXPECT_GT(exec->stats().generation_tokens, 0u);
}

TEST_P(FamilyInDepth, F32WithEachPassOff) {
  BuildOptions options = f32_options();
  const std::string path = testing::TempDir() + "/passes.engine";
  Result<BuildReport> report = build_engine(golden_.folder, path, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  int switched_off = 0;
  for (const PassTime& pass : report->passes) {
    options.disabled_passes = {pass.name};
    Result<std::shared_ptr<const Engine>> engine = build_and_load(golden_.folder, options);
    if (!engine.ok()) {
      EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument) << engine.error().message;
      EXPECT_NE(engine.error().message.find(pass.name), std::string::npos);
      continue;
    }
    ++switched_off;
    auto exec = Executor::create(*engine, {});
    ASSERT_TRUE(exec.ok()) << exec.error().message;
    SCOPED_TRACE("without " + pass.name);
    const GoldenPrompt& prompt = golden_.prompts.back();
    EXPECT_LE(largest_difference(all_logits(**exec, prompt.ids), prompt), kLogitTolerance);
    expect_greedy(**exec, prompt);
  }
  EXPECT_GE(switched_off, 5);
}

TEST_P(Family, F32InChunksOf16) {
  ExecutorConfig config;
  config.max_num_tokens = 16;
  auto exec = executor(f32_options(), config);
  ASSERT_NE(exec, nullptr);
  expect_goldens(*exec);
}

TEST_P(FamilyInDepth, F32WithPrefixHitsAndWithout) {
  for (bool caching : {true, false}) {
    ExecutorConfig config;
    config.prefix_caching = caching;
    auto exec = executor(f32_options(), config);
    ASSERT_NE(exec, nullptr);
    const GoldenPrompt& prompt = golden_.prompts.back();
    for (int round = 0; round < 3; ++round) expect_greedy(*exec, prompt);
    // A block must be full to be found again; those of GPU engines hold more than some prompts.
    const bool fills_a_block = prompt.ids.size() > static_cast<size_t>(exec->stats().block_tokens);
    EXPECT_EQ(exec->stats().prefix_hits > 0, caching && fills_a_block);
  }
}

/// All prompts at once, over a cache that holds little more than the longest of them.
TEST_P(Family, F32UnderForcedPreemption) {
  Result<std::shared_ptr<const Engine>> engine = build_and_load(golden_.folder, f32_options());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  auto probe = Executor::create(*engine, {});
  ASSERT_TRUE(probe.ok()) << probe.error().message;
  const ExecutorStats stats = (*probe)->stats();
  const auto block_tokens = static_cast<size_t>(stats.block_tokens);
  const uint64_t block_bytes = stats.kv_bytes / static_cast<uint64_t>(stats.kv_blocks_total);
  probe->reset();
  size_t longest = 0;
  for (const GoldenPrompt& p : golden_.prompts) {
    longest = std::max(longest, p.ids.size() + p.greedy.size());
  }
  ExecutorConfig config;
  config.kv_bytes = block_bytes * ((longest + block_tokens - 1) / block_tokens + 2);
  config.capacity = CapacityPolicy::kOvercommit;
  auto exec = Executor::create(*engine, config);
  ASSERT_TRUE(exec.ok()) << exec.error().message;

  constexpr int kRounds = 6;
  std::mutex mutex;
  std::condition_variable done;
  size_t finished = 0;
  std::vector<std::vector<int32_t>> ids(golden_.prompts.size() * kRounds);
  for (size_t i = 0; i < ids.size(); ++i) {
    const GoldenPrompt& prompt = golden_.prompts[i % golden_.prompts.size()];
    auto submitted =
        (*exec)->submit(greedy_request(prompt.ids, static_cast<int>(prompt.greedy.size())),
                        [&, i](RequestOutput&& output) {
                          std::lock_guard lock(mutex);
                          ids[i].insert(ids[i].end(), output.ids.begin(), output.ids.end());
                          if (output.last) {
                            EXPECT_FALSE(output.error) << output.error->message;
                            ++finished;
                            done.notify_one();
                          }
                        });
    ASSERT_TRUE(submitted.ok()) << submitted.error().message;
  }
  std::unique_lock lock(mutex);
  ASSERT_TRUE(
      done.wait_for(lock, std::chrono::seconds(120), [&] { return finished == ids.size(); }));
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(ids[i], golden_.prompts[i % golden_.prompts.size()].greedy) << i;
  }
  lock.unlock();
  // Who never wants a second block never gives one up: GpuInvariant preempts there.
  if (longest > 2 * block_tokens) EXPECT_GT((*exec)->stats().preemptions, 0u);
  EXPECT_TRUE((*exec)->check_integrity().ok());
}

/// In bf16 rounding may turn a near tie: at the first mismatch each side's token must be among the
/// other's five best.
TEST_P(Family, Bf16AgreesUpToNearTies) {
  BuildOptions options = f32_options();
  options.dtype = "bf16";
  auto exec = executor(options, {});
  ASSERT_NE(exec, nullptr);
  auto reference = executor(f32_options(), {});
  ASSERT_NE(reference, nullptr);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    auto outputs =
        exec->generate(greedy_request(prompt.ids, static_cast<int>(prompt.greedy.size())), 60);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    const std::vector<int32_t>& ours = (*outputs)[0].ids;
    ASSERT_EQ(ours.size(), prompt.greedy.size());
    const auto mismatch = std::mismatch(ours.begin(), ours.end(), prompt.greedy.begin());
    if (mismatch.first == ours.end()) continue;
    std::vector<int32_t> history = prompt.ids;
    history.insert(history.end(), ours.begin(), mismatch.first);
    const auto near = [&](Executor& side, int32_t id) {
      const std::vector<int32_t> top = top_ids(all_logits(side, history).back(), 5);
      return std::find(top.begin(), top.end(), id) != top.end();
    };
    EXPECT_TRUE(near(*exec, *mismatch.second)) << "their token is not in our top 5";
    EXPECT_TRUE(near(*reference, *mismatch.first)) << "our token is not in their top 5";
  }
}

TEST_P(FamilyInDepth, Int8StaysClose) {
  BuildOptions options = f32_options();
  options.quantize = "int8";
  auto exec = executor(options, {});
  ASSERT_NE(exec, nullptr);
  auto reference = executor(f32_options(), {});
  ASSERT_NE(reference, nullptr);
  const GoldenPrompt& prompt = golden_.prompts.back();
  const auto ours = all_logits(*exec, prompt.ids);
  const auto theirs = all_logits(*reference, prompt.ids);
  double error = 0, norm = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    for (size_t j = 0; j < ours[i].size(); ++j) {
      error += std::pow(ours[i][j] - theirs[i][j], 2);
      norm += std::pow(theirs[i][j], 2);
    }
  }
  // Where experts nearly tie, rounding may choose others.
  const Json config = *read_json_file(golden_.folder + "/config.json");
  EXPECT_LT(std::sqrt(error / norm), config.contains("num_experts_per_tok") ? 0.15 : 0.08);
  EXPECT_GT(error, 0);  // it is another computation
}

/// Real shapes, cut to two layers.
TEST(FamilyConfigs, RealOnesBuildWithDummyWeights) {
  const std::filesystem::path configs = "../shared/data/configs";
  if (!std::filesystem::exists(configs)) GTEST_SKIP() << "no ../shared/data/configs";
  for (const char* name :
       {"mlc_presets/aya-23", "mlc_presets/gemma_2b", "mlc_presets/gemma2_27b",
        "mlc_presets/gemma3_1b_it", "mlc_presets/gpt2_medium", "mlc_presets/olmo2_7b",
        "mlc_presets/phi-3_5", "mlc_presets/phi-4", "mlc_presets/redpajama_3b_v1",
        "mlc_presets/stablelm-2-zephyr-1_6b", "mlc_presets/starcoder2", "phi/phi-2-config"}) {
    SCOPED_TRACE(name);
    Result<Json> config = read_json_file((configs / name).string() + ".json");
    ASSERT_TRUE(config.ok()) << config.error().message;
    (*config)[config->contains("n_layer") ? "n_layer" : "num_hidden_layers"] = 2;
    const std::string path = testing::TempDir() + "/cut-" + std::to_string(::getpid()) + ".json";
    std::ofstream(path) << dump_json(*config);
    BuildOptions options;
    options.tune = false;
    options.weights = BuildOptions::Weights::kDummySeed;
    const std::string engine = path + ".engine";
    const Result<BuildReport> report = build_engine(path, engine, options);
    EXPECT_TRUE(report.ok()) << report.error().message;
    std::filesystem::remove(engine);
    std::filesystem::remove(path);
  }
}

/// Folders of the first families, or of all others.
std::vector<std::string> folders(bool first) {
  std::vector<std::string> chosen;
  for (const std::string& folder : golden_folders()) {
    const std::string name = slug(folder);
    const bool is_first = std::any_of(
        std::begin(kFirst), std::end(kFirst),
        [&](std::string_view family) { return name.find(family) != std::string::npos; });
    if (is_first == first) chosen.push_back(folder);
  }
  return chosen;
}
std::string name_of(const testing::TestParamInfo<std::string>& info) { return slug(info.param); }

INSTANTIATE_TEST_SUITE_P(Goldens, Family, testing::ValuesIn(golden_folders()), name_of);
INSTANTIATE_TEST_SUITE_P(Goldens, FamilyInDepth, testing::ValuesIn(folders(true)), name_of);
INSTANTIATE_TEST_SUITE_P(DISABLED_Deep, FamilyInDepth, testing::ValuesIn(folders(false)), name_of);

}  // namespace
}  // namespace ramjet::e2e

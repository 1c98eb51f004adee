// LoRA adapters against PEFT's logits (tools/make_lora_goldens.py), alone, mixed in one batch,
// loaded and unloaded under load, and beside the prefix cache.
#include <condition_variable>
#include <mutex>

#include "golden.h"

namespace ramjet::e2e {
namespace {

constexpr float kTolerance = 1e-3f;
const std::string kModels = "tests/data/models/", kAdapters = "tests/data/lora/";

BuildOptions lora_options(int loras = 2, int rank = 8) {
  BuildOptions options = f32_options();
  options.max_loras = loras;
  options.max_lora_rank = rank;
  return options;
}

std::unique_ptr<Executor> make_executor(const std::string& model, const BuildOptions& options,
                                        const ExecutorConfig& config = {}) {
  auto engine = build_and_load(kModels + model, options);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  if (!engine.ok()) return nullptr;
  auto made = Executor::create(*engine, config);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? std::move(*made) : nullptr;
}

std::vector<std::vector<float>> logits_of(Executor& executor, const std::vector<int32_t>& ids,
                                          const std::string& adapter) {
  std::vector<std::vector<float>> rows;
  const Status status = executor.logits({ids, 0, adapter}, [&](int, std::span<const float> logits) {
    rows.emplace_back(logits.begin(), logits.end());
  });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  EXPECT_EQ(rows.size(), ids.size());
  return rows;
}

Request request_of(const GoldenPrompt& prompt, const std::string& adapter) {
  Request request = greedy_request(prompt.ids, static_cast<int>(prompt.greedy.size()));
  request.adapter = adapter;
  return request;
}

void expect_golden(Executor& executor, const std::string& folder, const std::string& adapter) {
  SCOPED_TRACE(folder);
  for (const GoldenPrompt& prompt : read_golden(folder).prompts) {
    const auto rows = logits_of(executor, prompt.ids, adapter);
    if (rows.size() != prompt.ids.size()) continue;
    EXPECT_LE(largest_difference(rows, prompt), kTolerance);
    auto outputs = executor.generate(request_of(prompt, adapter), 60);
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].ids, prompt.greedy);
  }
}

std::string error_of(const Status& status) { return status.ok() ? "" : status.error().message; }

/// Several families: biases, tensors that hold several projections, [in, out] matrices.
TEST(Lora, LogitsEqualPefts) {
  const std::pair<const char*, const char*> cases[] = {
      {"tiny-llama", "all"}, {"qwen2", "part"}, {"phi3", "fused"}, {"gpt2", "conv"}};
  for (const auto& [model, adapter] : cases) {
    auto executor = make_executor(model, lora_options());
    ASSERT_NE(executor, nullptr);
    const std::string folder = kAdapters + model + "/" + adapter;
    ASSERT_EQ(error_of(executor->load_adapter("a", folder)), "");
    expect_golden(*executor, folder, "a");
    for (const GoldenPrompt& prompt : read_golden(kModels + model).prompts) {  // the bare model
      EXPECT_LE(largest_difference(all_logits(*executor, prompt.ids), prompt), kTolerance);
    }
  }
}

TEST(Lora, EachFusionPassCanBeOff) {
  for (const char* pass : {"fuse_qkv", "fuse_gated", "fuse_matmul", "fuse_norm"}) {
    BuildOptions options = lora_options();
    options.disabled_passes = {pass};
    auto executor = make_executor("tiny-llama", options);
    ASSERT_NE(executor, nullptr);
    ASSERT_EQ(error_of(executor->load_adapter("a", kAdapters + "tiny-llama/all")), "");
    SCOPED_TRACE(pass);
    expect_golden(*executor, kAdapters + "tiny-llama/all", "a");
  }
}

/// Requests of two adapters and of none, all at once; each ends as it would alone.
TEST(Lora, MixedInOneBatch) {
  auto executor = make_executor("tiny-llama", lora_options());
  ASSERT_NE(executor, nullptr);
  const std::string names[] = {"all", "qv", ""};
  std::vector<GoldenPrompt> prompts;
  for (const std::string& name : names) {
    if (!name.empty()) {
      ASSERT_EQ(error_of(executor->load_adapter(name, kAdapters + "tiny-llama/" + name)), "");
    }
    const std::string folder =
        name.empty() ? kModels + "tiny-llama" : kAdapters + "tiny-llama/" + name;
    prompts.push_back(read_golden(folder).prompts[1]);
  }
  constexpr size_t kRounds = 4;
  std::mutex mutex;
  std::condition_variable done;
  size_t ended = 0;
  std::vector<std::vector<int32_t>> ids(kRounds * 3);
  for (size_t i = 0; i < ids.size(); ++i) {
    auto submitted =
        executor->submit(request_of(prompts[i % 3], names[i % 3]), [&, i](RequestOutput&& output) {
          const std::lock_guard lock(mutex);
          EXPECT_FALSE(output.error);
          ids[i].insert(ids[i].end(), output.ids.begin(), output.ids.end());
          ended += output.last ? 1 : 0;
          done.notify_all();
        });
    ASSERT_TRUE(submitted.ok()) << submitted.error().message;
  }
  std::unique_lock lock(mutex);
  ASSERT_TRUE(done.wait_for(lock, std::chrono::seconds(60), [&] { return ended == ids.size(); }));
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], prompts[i % 3].greedy) << i;
  const ExecutorStats stats = executor->stats();
  EXPECT_GT(stats.slot_steps, stats.steps * 2) << "they ran together";
}

/// The same prompt: what one adapter left in the cache is no other's, nor the bare model's.
TEST(Lora, PrefixHitsDoNotCrossAdapters) {
  auto executor = make_executor("tiny-llama", lora_options());
  ASSERT_NE(executor, nullptr);
  for (const char* name : {"all", "qv"}) {
    ASSERT_EQ(error_of(executor->load_adapter(name, kAdapters + "tiny-llama/" + name)), "");
  }
  const GoldenPrompt prompt = read_golden(kAdapters + "tiny-llama/all").prompts[1];
  std::vector<std::vector<int32_t>> first;
  for (int round = 0; round < 2; ++round) {
    size_t which = 0;
    for (const char* adapter : {"", "all", "qv"}) {
      auto outputs = executor->generate(request_of(prompt, adapter), 60);
      ASSERT_TRUE(outputs.ok()) << outputs.error().message;
      EXPECT_EQ((*outputs)[0].cached_tokens > 0, round > 0) << adapter;
      if (round == 0) first.push_back((*outputs)[0].ids);
      EXPECT_EQ((*outputs)[0].ids, first[which++]);
    }
  }
  // Another adapter under the same name and in the same slot begins with nothing.
  ASSERT_EQ(error_of(executor->unload_adapter("all")), "");
  ASSERT_EQ(error_of(executor->load_adapter("all", kAdapters + "tiny-llama/all")), "");
  auto outputs = executor->generate(request_of(prompt, "all"), 60);
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ((*outputs)[0].cached_tokens, 0);
  EXPECT_EQ((*outputs)[0].ids, prompt.greedy);
}

/// An adapter in use keeps its slot until its requests end; meanwhile nobody can name it.
TEST(Lora, UnloadedUnderLoad) {
  auto executor = make_executor("tiny-llama", lora_options(1));
  ASSERT_NE(executor, nullptr);
  const std::string all = kAdapters + "tiny-llama/all", qv = kAdapters + "tiny-llama/qv";
  const GoldenPrompt prompt = read_golden(all).prompts[0];
  ASSERT_EQ(error_of(executor->load_adapter("a", all)), "");
  Request request = request_of(prompt, "a");
  request.sampling.stop.max_tokens = 100;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int32_t> ids;
  bool last = false;
  auto id = executor->submit(request, [&](RequestOutput&& output) {
    const std::lock_guard lock(mutex);
    ids.insert(ids.end(), output.ids.begin(), output.ids.end());
    last |= output.last;
    changed.notify_all();
  });
  ASSERT_TRUE(id.ok()) << id.error().message;
  ASSERT_EQ(error_of(executor->unload_adapter("a")), "");
  EXPECT_NE(error_of(executor->unload_adapter("a")), "");
  EXPECT_FALSE(executor->submit(request, [](RequestOutput&&) {}).ok());
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return last; }));
  lock.unlock();
  ASSERT_EQ(ids.size(), 100u);
  EXPECT_TRUE(std::equal(prompt.greedy.begin(), prompt.greedy.end(), ids.begin()));
  Status loaded = internal_error("not tried");
  for (int i = 0; i < 500 && !loaded.ok(); ++i) {  // the slot is free once the loop let it go
    loaded = executor->load_adapter("b", qv);
    if (!loaded.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(error_of(loaded), "");
  expect_golden(*executor, qv, "b");
  EXPECT_TRUE(executor->check_integrity().ok());
}

TEST(Lora, RefusalsNameTheLimit) {
  auto executor = make_executor("tiny-llama", lora_options(1, 4));
  ASSERT_NE(executor, nullptr);
  const std::string all = kAdapters + "tiny-llama/all";
  const auto refused = [&](const std::string& name, const std::string& folder,
                           const std::string& why) {
    const std::string error = error_of(executor->load_adapter(name, folder));
    EXPECT_NE(error.find(why), std::string::npos) << error;
  };
  refused("a", kAdapters + "tiny-llama/qv", "--max-lora-rank 8");
  refused("a", kAdapters + "qwen2/part", "adapter of another model");
  refused("a", kAdapters + "phi3/fused", "takes no adapter");
  refused("a", kModels + "tiny-llama", "adapter_config.json");
  refused("", all, "name");
  ASSERT_EQ(error_of(executor->load_adapter("a", all)), "");
  refused("a", all, "loaded already");
  refused("b", all, "--max-loras");
  EXPECT_EQ(executor->adapters().size(), 1u);
  auto plain = make_executor("tiny-llama", f32_options());
  ASSERT_NE(plain, nullptr);
  EXPECT_NE(error_of(plain->load_adapter("a", all)).find("--max-loras"), std::string::npos);
  BuildOptions gpu = lora_options();
  gpu.target = "sm_90a";
  auto engine = build_and_load(kModels + "tiny-llama", gpu);
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.error().message.find("adapters"), std::string::npos);
}

/// Foreign folders, wrong in one way each.
TEST(Lora, HostileFolders) {
  auto executor = make_executor("tiny-llama", lora_options());
  ASSERT_NE(executor, nullptr);
  const std::filesystem::path from = kAdapters + "tiny-llama/qv";
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "lora-hostile";
  const auto read = [](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  };
  const std::string config = read(from / "adapter_config.json");
  const std::string weights = read(from / "adapter_model.safetensors");
  const auto load = [&](const std::string& json, const std::string& tensors) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "adapter_config.json", std::ios::binary) << json;
    std::ofstream(folder / "adapter_model.safetensors", std::ios::binary) << tensors;
    return error_of(executor->load_adapter("x", folder));
  };
  const auto with = [&](const std::string& field, const char* value) {
    Json json = *parse_json(config);
    json[field] = *parse_json(value);
    return dump_json(json);
  };
  const std::tuple<const char*, const char*> fields[] = {
      {"use_dora", "true"}, {"bias", "\"all\""},     {"modules_to_save", "[\"lm_head\"]"},
      {"r", "0"},           {"r", "1e300"},          {"lora_alpha", "\"x\""},
      {"r", "null"},        {"peft_type", "\"IA3\""}};
  for (const auto& [field, value] : fields) {
    EXPECT_NE(load(with(field, value), weights).find(field), std::string::npos) << field;
  }
  EXPECT_NE(load("[]", weights), "");
  EXPECT_NE(load("{", weights), "");
  EXPECT_NE(load(config, weights.substr(0, weights.size() / 2)), "");
  EXPECT_NE(load(config, ""), "");
  const auto renamed = [&](const std::string& text, const std::string& other) {
    std::string changed = weights;
    const size_t at = changed.find(text);
    EXPECT_NE(at, std::string::npos);
    return changed.replace(at, text.size(), other);
  };
  EXPECT_NE(load(config, renamed("lora_A.weight", "lora_X.weight")).find("lora_"),
            std::string::npos);
  EXPECT_NE(load(config, renamed("layers.0", "layers.7")), "");
  std::string nan = weights;
  std::fill(nan.end() - 4, nan.end(), '\xff');
  EXPECT_NE(load(config, nan).find("finite"), std::string::npos);
  EXPECT_EQ(load(config, weights), "");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ramjet::e2e

// FP8 engines: weights and activations in e4m3, caches in e4m3, and checkpoints that come in eight
// bits. Near ties may turn as in bf16: at a first mismatch of greedy ids, each side's token must be
// among the other's five best.
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine_file.h"
#include "golden.h"
#include "tensor/half.h"

namespace ramjet::e2e {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Executor> executor(const std::string& folder, const BuildOptions& options,
                                   const ExecutorConfig& config = {}) {
  auto engine = build_and_load(folder, options);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  if (!engine.ok()) return nullptr;
  auto made = Executor::create(*engine, config);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? std::move(*made) : nullptr;
}

using Rows = std::vector<std::vector<float>>;

/// Of the difference to the norm.
double distance(const Rows& ours, const Rows& theirs) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    for (size_t j = 0; j < ours[i].size(); ++j) {
      error += std::pow(ours[i][j] - theirs[i][j], 2);
      norm += std::pow(theirs[i][j], 2);
    }
  }
  return std::sqrt(error / norm);
}

std::vector<int32_t> greedy(Executor& exec, const GoldenPrompt& prompt) {
  auto outputs =
      exec.generate(greedy_request(prompt.ids, static_cast<int>(prompt.greedy.size())), 60);
  EXPECT_TRUE(outputs.ok()) << (outputs.ok() ? "" : outputs.error().message);
  return outputs.ok() ? (*outputs)[0].ids : std::vector<int32_t>();
}

void expect_near_ties(Executor& ours, Executor& theirs, const GoldenPrompt& prompt) {
  const std::vector<int32_t> ids = greedy(ours, prompt);
  ASSERT_EQ(ids.size(), prompt.greedy.size());
  const auto mismatch = std::mismatch(ids.begin(), ids.end(), prompt.greedy.begin());
  if (mismatch.first == ids.end()) return;
  std::vector<int32_t> history = prompt.ids;
  history.insert(history.end(), ids.begin(), mismatch.first);
  const auto near = [&](Executor& side, int32_t id) {
    const std::vector<int32_t> top = top_ids(all_logits(side, history).back(), 5);
    return std::find(top.begin(), top.end(), id) != top.end();
  };
  EXPECT_TRUE(near(ours, *mismatch.second)) << "their token is not in our top 5";
  EXPECT_TRUE(near(theirs, *mismatch.first)) << "our token is not in their top 5";
}

class Fp8 : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = std::string("tests/data/models/") + GetParam();
    golden_ = read_golden(folder_);
  }
  void expect_close(const BuildOptions& options, double most) {
    auto exec = executor(folder_, options), reference = executor(folder_, f32_options());
    ASSERT_NE(exec, nullptr);
    ASSERT_NE(reference, nullptr);
    const auto& ids = golden_.prompts.back().ids;
    const double error = distance(all_logits(*exec, ids), all_logits(*reference, ids));
    RecordProperty("relative_error", std::to_string(error));
    EXPECT_LT(error, most);
    EXPECT_GT(error, 0) << "it is another computation";
    for (const GoldenPrompt& prompt : golden_.prompts) expect_near_ties(*exec, *reference, prompt);
    EXPECT_TRUE(exec->check_integrity().ok());
  }
  std::string folder_;
  Golden golden_;
};

TEST_P(Fp8, WeightsAndActivations) {
  for (const char* dtype : {"f32", "bf16"}) {
    BuildOptions options = f32_options();
    options.dtype = dtype, options.quantize = "fp8";
    expect_close(options, 0.12);
  }
}

TEST_P(Fp8, Cache) {
  BuildOptions options = f32_options();
  options.kv_dtype = "fp8";
  expect_close(options, 0.08);
  options.dtype = "bf16", options.quantize = "fp8";
  expect_close(options, 0.14);
}

/// A token's scale is its own, so that neither chunks nor neighbours change a result.
TEST_P(Fp8, ResultsDoNotDependOnTheBatch) {
  BuildOptions options = f32_options();
  options.dtype = "bf16", options.quantize = "fp8", options.kv_dtype = "fp8";
  ExecutorConfig chunked;
  chunked.max_num_tokens = 16;
  auto whole = executor(folder_, options), chunks = executor(folder_, options, chunked);
  ASSERT_NE(whole, nullptr);
  ASSERT_NE(chunks, nullptr);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const std::vector<int32_t> ids = greedy(*whole, prompt);
    EXPECT_EQ(greedy(*chunks, prompt), ids);
    EXPECT_EQ(greedy(*whole, prompt), ids) << "after a prefix hit";
  }
}

/// With the fusions off, quantization is an op of its own everywhere.
TEST_P(Fp8, UnfusedQuantization) {
  BuildOptions options = f32_options();
  options.quantize = "fp8";
  options.disabled_passes = {"fuse_quantize", "fuse_gated", "fuse_qkv"};
  expect_close(options, 0.12);
}

INSTANTIATE_TEST_SUITE_P(Families, Fp8, testing::Values("llama", "qwen3"),
                         [](const auto& info) { return std::string(info.param); });

// Checkpoints in eight bits ------------------------------------------------------------------

enum class Form { kTensor, kRow, kBlock, kE5m2 };
constexpr int64_t kBlock = 16;

/// A safetensors file in the making.
struct Safetensors {
  OrderedJson header = OrderedJson::object();
  std::string data;

  void add(const std::string& name, const char* dtype, std::vector<int64_t> shape,
           std::string_view bytes) {
    header[name] = {{"dtype", dtype},
                    {"shape", shape},
                    {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  }
  void add_floats(const std::string& name, std::vector<int64_t> shape,
                  const std::vector<float>& v) {
    add(name, "F32", std::move(shape), {reinterpret_cast<const char*>(v.data()), v.size() * 4});
  }
  std::string file() const {
    const std::string text = header.dump();
    const uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text + data;
  }
};

uint8_t to_e5m2(float value) {  // truncates an f16: exactness does not matter here
  return static_cast<uint8_t>(f32_to_f16(value) >> 8);
}

/// One matrix in eight bits with its scales, and in floats as those bits say.
void add_matrix(const std::string& name, const TensorView& w, Form form, Safetensors& out,
                Safetensors& widened) {
  const int64_t rows = w.shape[0], cols = w.shape[1];
  const bool e5m2 = form == Form::kE5m2;
  const int64_t block_rows = form == Form::kTensor ? rows : form == Form::kBlock ? kBlock : 1;
  const int64_t block_cols = form == Form::kBlock ? kBlock : cols;
  const int64_t down = (rows + block_rows - 1) / block_rows;
  const int64_t across = (cols + block_cols - 1) / block_cols;
  std::vector<float> scales(static_cast<size_t>(down * across)), floats;
  const auto scale = [&](int64_t r, int64_t c) -> float& {
    return scales[static_cast<size_t>(r / block_rows * across + c / block_cols)];
  };
  const auto value = [&](int64_t r, int64_t c) { return w.as<float>()[r * cols + c]; };
  for (int64_t i = 0; i < rows * cols; ++i) {
    float& s = scale(i / cols, i % cols);
    s = std::max(s, std::fabs(value(i / cols, i % cols)) / (e5m2 ? 57344.0f : 448.0f));
  }
  std::string bytes;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float s = scale(i / cols, i % cols), x = value(i / cols, i % cols) / s;
    const uint8_t bits = e5m2 ? to_e5m2(x) : f32_to_e4m3(x);
    bytes += static_cast<char>(bits);
    floats.push_back((e5m2 ? e5m2_to_f32(bits) : e4m3_to_f32(bits)) * s);
  }
  out.add(name, e5m2 ? "F8_E5M2" : "F8_E4M3", {rows, cols}, bytes);
  widened.add_floats(name, {rows, cols}, floats);
  switch (form) {
    case Form::kTensor:
      out.add_floats(name + "_scale", {}, scales);
      out.add_floats(name.substr(0, name.size() - 6) + "input_scale", {}, {0.5f});
      break;
    case Form::kBlock: out.add_floats(name + "_scale_inv", {down, across}, scales); break;
    default: out.add_floats(name + "_scale", {rows, 1}, scales);
  }
}

struct Folders {
  std::string fp8, widened;
};

/// Rewrites a checkpoint of floats: its projections in eight bits, and in floats of equal value.
Folders rewrite(const std::string& from, Form form) {
  const std::string root = testing::TempDir() + "/fp8-" + std::to_string(::getpid()) + "-" +
                           std::to_string(static_cast<int>(form));
  const Folders folders{root + "/fp8", root + "/widened"};
  auto checkpoint = checkpoint::open_checkpoint(from);
  EXPECT_TRUE(checkpoint.ok());
  Safetensors fp8, widened;
  for (const std::string& name : (*checkpoint)->tensor_names()) {
    const TensorView view = *(*checkpoint)->tensor(name);
    EXPECT_EQ(view.dtype, DType::kF32);
    if (name.ends_with("_proj.weight")) {
      add_matrix(name, view, form, fp8, widened);
      continue;
    }
    const std::vector<float> values(view.as<float>(), view.as<float>() + view.elements());
    std::vector<int64_t> shape;
    for (int i = 0; i < view.shape.rank(); ++i) shape.push_back(view.shape[i]);
    for (Safetensors* file : {&fp8, &widened}) file->add_floats(name, shape, values);
  }
  Json config = (*checkpoint)->config();
  for (const auto& [folder, file] : {std::pair(folders.widened, &widened), {folders.fp8, &fp8}}) {
    fs::create_directories(folder);
    if (file == &fp8) {
      config["quantization_config"] = {{"quant_method", "fp8"}};
      if (form == Form::kBlock) {
        config["quantization_config"]["weight_block_size"] = {kBlock, kBlock};
      }
    }
    EXPECT_TRUE(write_file_atomically(folder + "/config.json", config.dump()).ok());
    EXPECT_TRUE(write_file_atomically(folder + "/model.safetensors", file->file()).ok());
  }
  return folders;
}

engine::Manifest manifest_of(const std::string& folder, const BuildOptions& options) {
  const std::string path = testing::TempDir() + "/manifest-" + std::to_string(::getpid());
  Result<BuildReport> report = build_engine(folder, path, options);
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
  auto file = engine::EngineFile::open(path);
  EXPECT_TRUE(file.ok());
  engine::Manifest manifest = file->manifest();
  fs::remove(path);
  return manifest;
}

class Fp8Checkpoint : public testing::TestWithParam<Form> {};

TEST_P(Fp8Checkpoint, AgreesWithItsFloats) {
  const std::string source = "tests/data/models/llama";
  const Folders folders = rewrite(source, GetParam());
  const std::vector<int32_t> ids = read_golden(source).prompts.back().ids;
  auto fp8 = executor(folders.fp8, f32_options());
  auto widened = executor(folders.widened, f32_options());
  BuildOptions plain = f32_options();
  plain.quantize = "none";
  auto unquantized = executor(folders.fp8, plain);
  ASSERT_TRUE(fp8 != nullptr && widened != nullptr && unquantized != nullptr);
  const Rows floats = all_logits(*widened, ids);
  EXPECT_EQ(all_logits(*unquantized, ids), floats) << "the floats that its bits stand for";
  // What is left is the rounding of activations, and of weights that are quantized again.
  const bool again = GetParam() == Form::kBlock || GetParam() == Form::kE5m2;
  EXPECT_LT(distance(all_logits(*fp8, ids), floats), again ? 0.10 : 0.08);

  const engine::Manifest manifest = manifest_of(folders.fp8, f32_options());
  EXPECT_EQ(manifest.quantize, "fp8");
  EXPECT_EQ(manifest_of(folders.widened, f32_options()).quantize, "none");
  int eight_bits = 0;
  for (const engine::WeightEntry& weight : manifest.weights) {
    eight_bits += weight.type.dtype == DType::kF8E4M3 ? 1 : 0;
    if (weight.name.starts_with("lm_head")) EXPECT_EQ(weight.type.dtype, DType::kF32);
  }
  EXPECT_EQ(eight_bits, 4 * manifest.model.num_layers) << "qkv, o, gate_up and down of each";
  fs::remove_all(fs::path(folders.fp8).parent_path());
}

INSTANTIATE_TEST_SUITE_P(Forms, Fp8Checkpoint,
                         testing::Values(Form::kTensor, Form::kRow, Form::kBlock, Form::kE5m2),
                         [](const auto& info) {
                           constexpr const char* kNames[] = {"tensor", "row", "block", "e5m2"};
                           return kNames[static_cast<int>(info.param)];
                         });

TEST(Fp8Cache, TakesTheCheckpointsScales) {
  const std::string source = "tests/data/models/llama";
  const std::string folder = testing::TempDir() + "/fp8-kv-" + std::to_string(::getpid());
  fs::create_directories(folder);
  auto checkpoint = checkpoint::open_checkpoint(source);
  ASSERT_TRUE(checkpoint.ok());
  Safetensors file;
  for (const std::string& name : (*checkpoint)->tensor_names()) {
    const TensorView view = *(*checkpoint)->tensor(name);
    std::vector<int64_t> shape;
    for (int i = 0; i < view.shape.rank(); ++i) shape.push_back(view.shape[i]);
    file.add_floats(name, shape, {view.as<float>(), view.as<float>() + view.elements()});
  }
  file.add_floats("model.layers.0.self_attn.k_proj.k_scale", {}, {0.5f});
  file.add_floats("model.layers.1.self_attn.v_scale", {1}, {0.25f});
  ASSERT_TRUE(write_file_atomically(folder + "/config.json", (*checkpoint)->config().dump()).ok());
  ASSERT_TRUE(write_file_atomically(folder + "/model.safetensors", file.file()).ok());
  BuildOptions options = f32_options();
  options.kv_dtype = "fp8";
  const engine::Manifest manifest = manifest_of(folder, options);
  ASSERT_EQ(manifest.kv_groups.size(), 1u);
  EXPECT_EQ(manifest.kv_groups[0].dtype, DType::kF8E4M3);
  std::string text;
  for (const auto& record : manifest.programs[0].records) text += record.attrs + "\n";
  EXPECT_NE(text.find("kv_dtype=f8e4m3"), std::string::npos) << text;
  EXPECT_NE(text.find("k_scale=0.5"), std::string::npos) << text;
  EXPECT_NE(text.find("v_scale=0.25"), std::string::npos) << text;
  auto exec = executor(folder, options), reference = executor(source, f32_options());
  ASSERT_TRUE(exec != nullptr && reference != nullptr);
  const auto ids = read_golden(source).prompts.back().ids;
  EXPECT_LT(distance(all_logits(*exec, ids), all_logits(*reference, ids)), 0.08);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace ramjet::e2e

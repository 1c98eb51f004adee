// Experts that are copies of a dense MLP, with weights that sum to one, are that MLP.
#include <cstring>

#include "base/file.h"
#include "golden.h"

namespace ramjet::e2e {
namespace {

/// Tensors of a safetensors file: (header entry without offsets, bytes).
struct Stored {
  Json entry;
  std::string bytes;
};

std::map<std::string, Stored> read_safetensors(const std::string& path) {
  const Result<std::string> file = read_file(path);
  EXPECT_TRUE(file.ok()) << path;
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file->data(), sizeof header_bytes);
  const Json header = *parse_json(std::string_view(*file).substr(8, header_bytes));
  std::map<std::string, Stored> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const uint64_t from = entry["data_offsets"][0], to = entry["data_offsets"][1];
    tensors[name] = {entry, file->substr(8 + header_bytes + from, to - from)};
  }
  return tensors;
}

void write_safetensors(const std::string& path, const std::map<std::string, Stored>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = tensor.entry;
    header[name]["data_offsets"] = {data.size(), data.size() + tensor.bytes.size()};
    data += tensor.bytes;
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t bytes = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  out << text << data;
}

/// A Mixtral whose experts are the dense model's MLPs; its routers are some of the MLPs' numbers.
void write_mixtral_of(const std::string& dense, const std::string& folder, int experts) {
  std::filesystem::create_directories(folder);
  Json config = *read_json_file(dense + "/config.json");
  config["architectures"] = {"MixtralForCausalLM"};
  config["num_local_experts"] = experts;
  config["num_experts_per_tok"] = 2;
  std::ofstream(folder + "/config.json") << dump_json(config);
  std::map<std::string, Stored> tensors;
  for (auto& [name, tensor] : read_safetensors(dense + "/model.safetensors")) {
    const size_t mlp = name.find(".mlp.");
    if (mlp == std::string::npos) {
      tensors[name] = tensor;
      continue;
    }
    const std::string block = name.substr(0, mlp) + ".block_sparse_moe.";
    const std::string part = name.substr(mlp + 5, name.find('.', mlp + 5) - mlp - 5);
    const char* const own = part == "gate_proj" ? "w1" : part == "up_proj" ? "w3" : "w2";
    for (int i = 0; i < experts; ++i) {
      tensors[block + "experts." + std::to_string(i) + "." + own + ".weight"] = tensor;
    }
    if (part != "gate_proj") continue;
    Stored router = tensor;  // its first rows
    const int64_t rows = router.entry["shape"][0];
    router.entry["shape"][0] = experts;
    router.bytes.resize(router.bytes.size() / static_cast<size_t>(rows) *
                        static_cast<size_t>(experts));
    tensors[block + "gate.weight"] = router;
  }
  write_safetensors(folder + "/model.safetensors", tensors);
}

TEST(Experts, CopiesOfADenseMlpAreTheDenseModel) {
  const std::string dense = "tests/data/models/mistral-bf16";
  const std::string folder = testing::TempDir() + "/mixtral-of-mistral";
  write_mixtral_of(dense, folder, 4);
  const Golden golden = read_golden(dense);
  for (const char* quantize : {"none", "int8"}) {
    BuildOptions options = f32_options();
    options.quantize = quantize;
    std::vector<std::vector<std::vector<float>>> rows;
    for (const std::string& model : {dense, folder}) {
      auto engine = build_and_load(model, options);
      ASSERT_TRUE(engine.ok()) << engine.error().message;
      auto executor = Executor::create(*engine, {});
      ASSERT_TRUE(executor.ok()) << executor.error().message;
      rows.push_back(all_logits(**executor, golden.prompts[2].ids));
    }
    ASSERT_EQ(rows[0].size(), rows[1].size());
    float worst = 0;
    for (size_t i = 0; i < rows[0].size(); ++i) {
      for (size_t k = 0; k < rows[0][i].size(); ++k) {
        worst = std::max(worst, std::fabs(rows[0][i][k] - rows[1][i][k]));
      }
    }
    EXPECT_LE(worst, 1e-4f) << quantize;
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ramjet::e2e

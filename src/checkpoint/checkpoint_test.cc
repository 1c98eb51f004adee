#include "checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/near_names.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_fuzz.h"

namespace ramjet::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kTiny = "tests/data/models/tiny-llama";

std::string fresh_folder(const std::string& name) {
  const std::string path = testing::TempDir() + "/checkpoint_" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}
void put(const std::string& path, std::string_view text) {
  ASSERT_TRUE(write_file_atomically(path, text).ok());
}
std::string safetensors(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), sizeof(length));
  return out.append(header).append(data);
}
std::string message(const Result<SafetensorsHeader>& header) {
  return header.ok() ? "ok" : header.error().message;
}

TEST(Safetensors, ReadsTensorsOfEveryType) {
  const std::string path = fresh_folder("types") + "/a.safetensors";
  put(path, safetensors(R"({"__metadata__":{"format":"pt"},
      "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
      "b":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[8,11]},
      "c":{"dtype":"BF16","shape":[1,2],"data_offsets":[11,15]},
      "d":{"dtype":"BOOL","shape":[],"data_offsets":[15,16]},
      "e":{"dtype":"I64","shape":[0,9],"data_offsets":[16,16]},
      "f":{"dtype":"F64","shape":[1],"data_offsets":[16,24]},
      "g":{"dtype":"F4","shape":[2],"data_offsets":[24,25]}})",
                        std::string("\0\0\x80\x3f\0\0\0\x40", 8) +
                            std::string("abc\x80\x3f\x00\x40", 7) + std::string(10, '\1')));
  auto file = Safetensors::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const TensorView a = *file->tensor("a");
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_THAT(a.span<float>(), ElementsAre(1.0f, 2.0f));
  EXPECT_EQ(file->tensor("b")->dtype, DType::kF8E4M3);
  const TensorView c = *file->tensor("c");  // misaligned in the file
  EXPECT_EQ(reinterpret_cast<uintptr_t>(c.data) % 2, 0u);
  EXPECT_THAT(c.span<uint16_t>(), ElementsAre(0x3f80, testing::_));
  EXPECT_EQ(file->tensor("c")->data, c.data);
  EXPECT_EQ(file->tensor("d")->shape.rank(), 0);
  EXPECT_EQ(file->tensor("e")->elements(), 0);
  EXPECT_EQ(file->tensor("f").error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(file->tensor("g").error().message, HasSubstr("'g' is F4"));
  EXPECT_EQ(file->tensor("h").error().code, ErrorCode::kNotFound);
}

TEST(Safetensors, LyingHeadersAreNamed) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return safetensors(fmt::format(R"({{"w":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype,
                                   shape, offsets),
                       "12345678");
  };
  const char* f32 = "\"F32\"";
  const std::pair<std::string, const char*> cases[] = {
      {"", "0 bytes"},
      {"1234567", "truncated download?"},
      {safetensors("", ""), "header: "},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "limit is 100000000"},
      {std::string("\x10\0\0\0\0\0\0\0{}", 10), "wants 16 bytes, file has 2"},
      {safetensors("[]", ""), "not a JSON object"},
      {safetensors("{\"a\":" + std::string(100, '[') + "}", ""), "deeper"},
      {safetensors("{\"a\":1}", ""), "tensor 'a' its entry is not an object"},
      {safetensors("{}", "x"), "1 bytes after the last tensor"},
      {entry(f32, "[2]", "[0,16]"), "tensor 'w' wants 16 bytes at offset 0, file has 8"},
      {entry(f32, "[3]", "[0,8]"), "has 12 bytes, data_offsets hold 8"},
      {entry(f32, "[1]", "[4,8]"), "4 bytes before tensor 'w'"},
      {entry(f32, "[2]", "[8,0]"), "end at 0 before"},
      {entry(f32, "[-2]", "[0,8]"), "shape is -2"},
      {entry(f32, "[2.5]", "[0,8]"), "shape is 2.5"},
      {entry(f32, "7", "[0,8]"), "shape is not a list"},
      {entry(f32, "[2]", "[0]"), "not a pair"},
      {entry(f32, "[2]", "[0,1e30]"), "not a natural number"},
      {entry(f32, "[4294967296,4294967296,4294967296]", "[0,8]"), "overflows"},
      {entry("7", "[2]", "[0,8]"), "dtype is not a string"},
      {safetensors(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},
                       "b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})",
                   "12345678"),
       "tensor 'b' overlaps another at offset 3"},
  };
  for (const auto& [bytes, expected] : cases) {
    const auto header = parse_safetensors(bytes);
    EXPECT_THAT(message(header), HasSubstr(expected));
    if (!header.ok()) EXPECT_EQ(header.error().code, ErrorCode::kCorrupt);
  }
}

TEST(Safetensors, MutatedBytesNeverCrash) {
  const std::string bytes = *read_file(std::string(kTiny) + "/model-00001-of-00002.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  std::mt19937 random(3);
  const std::string head = bytes.substr(0, 8 + length);
  for (int i = 0; i < 5000; ++i) {
    std::string mutated = head;
    for (uint32_t flips = 1 + random() % 3; flips > 0; --flips) {
      mutated[random() % mutated.size()] = static_cast<char>(random());
    }
    mutated.resize(random() % 4 == 0 ? random() % mutated.size() : bytes.size());
    fuzz_safetensors(mutated);
  }
  for (const auto& entry : fs::directory_iterator("tests/fuzz/safetensors")) {
    fuzz_safetensors(*read_file(entry.path().string()));
  }
}

TEST(NearNames, BestFirstAndOnlyNear) {
  const std::vector<std::string_view> names = {"model.norm.weight", "model.layers.0.mlp.up.weight",
                                               "model.layers.1.mlp.up.weight", "lm_head.weight"};
  EXPECT_THAT(near_names("model.layers.0.mlp.up.bias", names, 1),
              ElementsAre("model.layers.0.mlp.up.weight"));
  EXPECT_EQ(near_names_text("completely.different", names), "");
}

TEST(Checkpoint, OpensAShardedFolder) {
  auto checkpoint = open_checkpoint(kTiny);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const Checkpoint& c = **checkpoint;
  EXPECT_EQ(c.config()["hidden_size"], 64);
  EXPECT_EQ(c.tensor_names().size(), 20u);
  const TensorView table = *c.tensor("model.embed_tokens.weight");
  EXPECT_EQ(table.dtype, DType::kBf16);
  EXPECT_EQ(table.shape, (Shape{384, 64}));
  EXPECT_TRUE(c.has_tensor("model.norm.weight"));
  EXPECT_FALSE(c.has_tensor("lm_head.weight"));
  const auto missing = c.tensor("model.layers.0.mlp.up_proj.bias");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message,
              HasSubstr("near names: 'model.layers.0.mlp.up_proj.weight'"));
  EXPECT_EQ(parse_json(c.assets().at("special_tokens"))->at("eos_token"), "<|end|>");
  EXPECT_EQ(c.assets().at("chat_template"),
            *read_file(std::string(kTiny) + "/chat_template.jinja"));
  EXPECT_THAT(c.assets().at("tokenizer"), HasSubstr("added_tokens"));
  EXPECT_THAT(c.assets().at("generation_config"), HasSubstr("temperature"));
}

TEST(Checkpoint, FingerprintFollowsContent) {
  const std::string folder = fresh_folder("fingerprint");
  fs::copy(kTiny, folder);
  const Hash128 first = (*open_checkpoint(folder))->fingerprint();
  EXPECT_EQ((*open_checkpoint(folder))->fingerprint(), first);
  put(folder + "/config.json", R"({"hidden_size": 32})");
  const Hash128 second = (*open_checkpoint(folder))->fingerprint();
  EXPECT_NE(second, first);
  put(folder + "/chat_template.jinja", "other");
  EXPECT_NE((*open_checkpoint(folder))->fingerprint(), second);
}

TEST(Checkpoint, BrokenFoldersAreNamed) {
  const std::string folder = fresh_folder("broken");
  const auto error = [&](bool weights = true) {
    auto checkpoint = open_checkpoint(folder, weights);
    return checkpoint.ok() ? std::string("ok") : checkpoint.error().message;
  };
  EXPECT_THAT(open_checkpoint(folder + "/none").error().message, HasSubstr("no such folder"));
  EXPECT_THAT(error(), HasSubstr("no config.json"));
  put(folder + "/config.json", "{\"a\": }");
  EXPECT_THAT(error(), HasSubstr("config.json: invalid JSON"));
  put(folder + "/config.json", "[]");
  EXPECT_THAT(error(), HasSubstr("not a JSON object"));
  put(folder + "/config.json", "{}");
  EXPECT_EQ(error(false), "ok");
  EXPECT_TRUE(open_checkpoint(folder + "/config.json", false).ok());
  EXPECT_THAT(error(), HasSubstr("neither model.safetensors nor"));
  put(folder + "/pytorch_model.bin", "x");
  EXPECT_THAT(error(), HasSubstr("convert pytorch_model.bin to safetensors"));
  const std::string index = folder + "/model.safetensors.index.json";
  put(index, "{}");
  EXPECT_THAT(error(), HasSubstr("no weight_map"));
  put(index, R"({"weight_map": {"w": "../secret"}})");
  EXPECT_THAT(error(), HasSubstr("in no file of this folder"));
  put(index, R"({"weight_map": {"w": "m1.safetensors", "v": "m1.safetensors"}})");
  EXPECT_THAT(error(), HasSubstr("missing shard m1.safetensors, which should hold 2 tensors"));
  put(folder + "/m1.safetensors",
      safetensors(R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(error(), HasSubstr("m1.safetensors: no tensor 'w'"));
  put(folder + "/model.safetensors", "short");
  EXPECT_THAT(error(), HasSubstr("model.safetensors: 5 bytes"));
}

TEST(Checkpoint, ChatTemplatesOfEverySpelling) {
  const std::string folder = fresh_folder("templates");
  const auto assets = [&] { return (*open_checkpoint(folder, false))->assets(); };
  put(folder + "/config.json", "{}");
  EXPECT_TRUE(assets().empty());
  put(folder + "/tokenizer_config.json",
      R"({"chat_template": "A", "bos_token": {"content": "<s>"}, "pad_token": null,
          "add_bos_token": false})");
  EXPECT_EQ(assets()["chat_template"], "A");
  EXPECT_EQ(assets()["special_tokens"], R"({"add_bos_token":false,"bos_token":"<s>"})");
  put(folder + "/tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "T"},
                            {"name": "default", "template": "D"}]})");
  EXPECT_EQ(assets()["chat_template"], "D");
  EXPECT_EQ(assets()["chat_template.tool_use"], "T");
  put(folder + "/chat_template.json", R"({"chat_template": "J"})");
  EXPECT_EQ(assets()["chat_template"], "J");
  put(folder + "/chat_template.jinja", "{{ x }}");
  EXPECT_EQ(assets()["chat_template"], "{{ x }}");
  put(folder + "/tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_THAT(open_checkpoint(folder, false).error().message, HasSubstr("tokenizer_config.json"));
}

}  // namespace
}  // namespace ramjet::checkpoint

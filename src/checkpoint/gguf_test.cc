#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/gguf/testing/gguf_writer.h"
#include "base/hash.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/ggml_blocks.h"
#include "checkpoint/gguf_names.h"

namespace ramjet::checkpoint {
namespace {

namespace fs = std::filesystem;
using gguf::Encoding;
using gguf::GgufWriter;
using testing::ElementsAre;
using testing::HasSubstr;

std::string put(const std::string& name, const std::string& bytes) {
  const std::string path = testing::TempDir() + "/" + name;
  CHECK(write_file_atomically(path, bytes).ok());
  return path;
}
std::string message(const Result<std::unique_ptr<Checkpoint>>& checkpoint) {
  return checkpoint.ok() ? "ok" : checkpoint.error().message;
}

/// A llama of one layer with 2 heads of 4, 1 key head and 8 wide; every weight 0.
GgufWriter small(std::string_view architecture = "llama") {
  GgufWriter writer;
  const std::string prefix(architecture);
  writer.text("general.architecture", architecture).u32(prefix + ".block_count", 1);
  writer.u32(prefix + ".embedding_length", 8).u32(prefix + ".feed_forward_length", 16);
  writer.u32(prefix + ".attention.head_count", 2).u32(prefix + ".attention.head_count_kv", 1);
  writer.u32(prefix + ".context_length", 64);
  writer.f32(prefix + ".attention.layer_norm_rms_epsilon", 1e-5f);
  writer.floats("token_embd.weight", {5, 8}, std::vector<float>(40));
  return writer;
}

std::vector<float> counted(size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(i);
  return out;
}

/// Pseudo-random blocks whose f16 scales lie below 2. splitmix64.
std::string random_blocks(Encoding encoding, int64_t count, const std::vector<int>& halves) {
  const auto* type = gguf::find_tensor_type(static_cast<uint32_t>(encoding));
  std::string out(static_cast<size_t>(count * type->block_bytes), '\0');
  uint64_t state = static_cast<uint64_t>(encoding);
  for (char& byte : out) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    byte = static_cast<char>(z ^ (z >> 31));
  }
  for (int64_t block = 0; block < count; ++block) {
    for (const int half : halves) {
      out[static_cast<size_t>(block * type->block_bytes + half + 1)] &= '\xbf';
    }
  }
  return out;
}

// The hashes are of what the `gguf` package makes of the same bytes:
// tests/python/gguf_differential.py --hashes prints them.
TEST(GgmlBlocks, DequantizeToTheBitsOfTheReference) {
  struct Case {
    Encoding encoding;
    std::vector<int> halves;
    uint64_t hash;
  };
  const Case cases[] = {
      {Encoding::kQ4_0, {0}, 0x28762150da2ca2f0},
      {Encoding::kQ4_1, {0, 2}, 0x120afdf273f86eff},
      {Encoding::kQ5_0, {0}, 0x8865c9c816e9e3d4},
      {Encoding::kQ5_1, {0, 2}, 0xc39e728373d7f877},
      {Encoding::kQ8_0, {0}, 0x777206b2dcbc7a89},
      {Encoding::kQ4_K, {0, 2}, 0xc78fc89697f3b61b},
      {Encoding::kQ5_K, {0, 2}, 0x21af87c59a8dcee0},
      {Encoding::kQ6_K, {208}, 0xde8223116d59e86a},
      {Encoding::kQ2_K, {80, 82}, 0x898ffd88b0b95d1e},
      {Encoding::kQ3_K, {108}, 0x2d911915b40cc0f2},
      {Encoding::kIq4Nl, {0}, 0x44ec07043ba23e2a},
      {Encoding::kIq4Xs, {0}, 0x43b60d70969d5cc1},
      {Encoding::kMxfp4, {}, 0x21ead1d027802316},
  };
  constexpr int64_t kBlocks = 1000;
  for (const Case& c : cases) {
    const auto* type = gguf::find_tensor_type(static_cast<uint32_t>(c.encoding));
    const std::string blocks = random_blocks(c.encoding, kBlocks, c.halves);
    std::vector<float> out(static_cast<size_t>(kBlocks * type->block_elements));
    ASSERT_TRUE(is_dequantizable(c.encoding));
    dequantize(c.encoding, reinterpret_cast<const std::byte*>(blocks.data()),
               static_cast<int64_t>(out.size()), out.data());
    EXPECT_EQ(hash64(std::as_bytes(std::span(out))), c.hash)
        << type->name << " " << std::hex << hash64(std::as_bytes(std::span(out)));
  }
  EXPECT_FALSE(is_dequantizable(Encoding{16}));
}

TEST(GgufCheckpoint, RestoresRowsNamesAndTypes) {
  GgufWriter writer = small();
  writer.floats("blk.0.attn_q.weight", {8, 8}, counted(64));
  writer.floats("blk.0.attn_k.weight", {4, 8}, counted(32));
  writer.floats("blk.0.attn_v.weight", {4, 8}, counted(32));
  writer.floats("blk.0.attn_q.bias", {8}, counted(8));
  writer.tensor("blk.0.ffn_norm.weight", Encoding::kF16, {2}, std::string("\0\x3c\0\x40", 4));
  writer.floats("rope_freqs.weight", {2}, {1, 1});
  const auto model = open_checkpoint(put("restore.gguf", writer.bytes()));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const Checkpoint& checkpoint = **model;
  EXPECT_THAT(
      checkpoint.tensor_names(),
      ElementsAre("model.embed_tokens.weight", "model.layers.0.post_attention_layernorm.weight",
                  "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.q_proj.bias",
                  "model.layers.0.self_attn.q_proj.weight",
                  "model.layers.0.self_attn.v_proj.weight"));
  // Two heads of four rows: pairs (0, 1), (2, 3) become (0, 2), (1, 3).
  const auto rows = [&](std::string_view name) {
    std::vector<int> out;
    const auto view = checkpoint.tensor(name);
    const int64_t cols = view->shape.rank() == 1 ? 1 : view->shape[1];
    for (int64_t r = 0; r < view->shape[0]; ++r) {
      out.push_back(static_cast<int>(view->as<float>()[r * cols]) / static_cast<int>(cols));
    }
    return out;
  };
  EXPECT_THAT(rows("model.layers.0.self_attn.q_proj.weight"), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(rows("model.layers.0.self_attn.q_proj.bias"), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(rows("model.layers.0.self_attn.k_proj.weight"), ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(rows("model.layers.0.self_attn.v_proj.weight"), ElementsAre(0, 1, 2, 3));
  const auto norm = checkpoint.tensor("model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(norm->dtype, DType::kF16);
  EXPECT_EQ(norm->as<uint16_t>()[1], 0x4000);
  EXPECT_THAT(checkpoint.tensor("model.embed_token.weight").error().message,
              HasSubstr("near names: 'model.embed_tokens.weight'"));
}

TEST(GgufCheckpoint, ConvertedTensorsGoWithTheirHolder) {
  GgufWriter writer = small();
  writer.tensor("blk.0.ffn_up.weight", Encoding::kQ8_0, {2, 32},
                random_blocks(Encoding::kQ8_0, 2, {0}));
  const auto model = open_checkpoint(put("hold.gguf", writer.bytes()));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  const auto described = (*model)->described(name);
  EXPECT_EQ(described->data, nullptr);
  EXPECT_EQ(described->dtype, DType::kF32);
  EXPECT_EQ(described->shape, Shape({2, 32}));
  auto held = (*model)->hold(name);
  const std::weak_ptr<const void> watch = held->holder;
  EXPECT_EQ((*model)->hold(name)->view.data, held->view.data);
  held->holder.reset();
  EXPECT_TRUE(watch.expired());
  const TensorView view = *(*model)->tensor(name);  // lives as long as the checkpoint
  EXPECT_EQ((*model)->hold(name)->view.data, view.data);
  EXPECT_EQ((*model)->hold("model.embed_tokens.weight")->holder, nullptr);
}

TEST(GgufCheckpoint, ExpertsOfAStackAreTensorsOfTheirOwn) {
  const auto mixture = [](uint32_t experts) {
    GgufWriter writer = small();
    writer.u32("llama.expert_count", experts).u32("llama.expert_used_count", 2);
    writer.floats("blk.0.ffn_gate_inp.weight", {3, 8}, counted(24));
    writer.floats("blk.0.ffn_down_exps.weight", {3, 8, 2}, counted(48));
    return open_checkpoint(put("experts.gguf", writer.bytes()));
  };
  const auto model = mixture(3);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->config()["architectures"][0], "MixtralForCausalLM");
  EXPECT_EQ((*model)->config()["num_local_experts"], 3);
  EXPECT_TRUE((*model)->has_tensor("model.layers.0.block_sparse_moe.gate.weight"));
  const auto second = (*model)->tensor("model.layers.0.block_sparse_moe.experts.1.w2.weight");
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->shape, Shape({8, 2}));
  EXPECT_EQ(second->as<float>()[0], 16);
  EXPECT_THAT(message(mixture(4)), HasSubstr("'blk.0.ffn_down_exps.weight' is no stack of 4"));
}

TEST(GgufCheckpoint, ConfigIsHuggingFaces) {
  GgufWriter writer = small();
  writer.f32("llama.rope.freq_base", 500000).u32("general.file_type", 1);
  writer.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  writer.floats("rope_freqs.weight", {2}, {1, 8});
  writer.floats("output.weight", {5, 8}, std::vector<float>(40));
  const auto model = open_checkpoint(put("config.gguf", writer.bytes()));
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->config(), *parse_json(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 5,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float16",
    "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 16, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-05,
    "attention_bias": false, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "longrope",
    "attention_factor": 1.0, "short_factor": [1.0, 8.0], "long_factor": [1.0, 8.0]}})"));
  writer = small("gemma2");
  writer.u32("gemma2.attention.key_length", 6).u32("gemma2.attention.value_length", 6);
  writer.text("gemma2.rope.scaling.type", "linear").f32("gemma2.rope.scaling.factor", 8);
  writer.floats("blk.0.attn_norm.weight", {2}, {1.5f, 0.25f});
  const auto gemma = open_checkpoint(put("gemma.gguf", writer.bytes()));
  ASSERT_TRUE(gemma.ok()) << gemma.error().message;
  const Json& config = (*gemma)->config();
  EXPECT_EQ(config["head_dim"], 6);
  EXPECT_EQ(config["layer_types"], Json::array({"sliding_attention"}));
  EXPECT_EQ(config["rope_scaling"], *parse_json(R"({"rope_type": "linear", "factor": 8.0})"));
  EXPECT_EQ(config["final_logit_softcapping"], 30.0);
  const auto norm = (*gemma)->tensor("model.layers.0.input_layernorm.weight");
  EXPECT_THAT(norm->span<float>(), ElementsAre(0.5f, -0.75f));
}

TEST(GgufCheckpoint, AssetsOfTheMetadata) {
  GgufWriter writer = small();
  writer.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "<|im_end|>"});
  writer.i32s("tokenizer.ggml.token_type", {2, 3, 3, 1, 3});
  writer.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  writer.flag("tokenizer.ggml.add_bos_token", true);
  writer.text("tokenizer.chat_template", "A").text("tokenizer.chat_template.tool_use", "B");
  const auto model = open_checkpoint(put("assets.gguf", writer.bytes()));
  ASSERT_TRUE(model.ok()) << model.error().message;
  auto assets = (*model)->assets();
  EXPECT_EQ(assets["chat_template"], "A");
  EXPECT_EQ(assets["chat_template.tool_use"], "B");
  EXPECT_EQ(assets["special_tokens"],
            R"({"add_bos_token":true,"bos_token":"<s>","eos_token":"</s>"})");
  EXPECT_EQ(assets["generation_config"], R"({"bos_token_id":1,"eos_token_id":[2,4]})");
  writer = small();
  writer.texts("tokenizer.ggml.tokens", {"a"}).u32("tokenizer.ggml.bos_token_id", 9);
  EXPECT_THAT(message(open_checkpoint(put("assets.gguf", writer.bytes()))),
              HasSubstr("'tokenizer.ggml.bos_token_id' is 9, there are 1 tokens"));
}

TEST(GgufCheckpoint, SplitFilesAreOneModel) {
  GgufWriter first = small(), second;
  first.u32("split.count", 2).u32("split.tensors.count", 2);
  second.floats("output_norm.weight", {8}, counted(8)).u32("split.no", 1);
  const std::string path = put("s-00001-of-00002.gguf", first.bytes());
  const std::string other = testing::TempDir() + "/s-00002-of-00002.gguf";
  fs::remove(other);
  EXPECT_THAT(message(open_checkpoint(path)), HasSubstr("s-00002-of-00002.gguf: missing"));
  put("s-00002-of-00002.gguf", second.bytes());
  const auto model = open_checkpoint(other);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_TRUE((*model)->has_tensor("model.norm.weight"));
  const Hash128 before = (*model)->fingerprint();
  second.floats("blk.0.ffn_norm.weight", {8}, counted(8));
  put("s-00002-of-00002.gguf", second.bytes());
  EXPECT_THAT(message(open_checkpoint(path)), HasSubstr("hold 3 tensors, the first promises 2"));
  second = GgufWriter();
  second.floats("output_norm.weight", {8}, std::vector<float>(8)).u32("split.no", 2);
  put("s-00002-of-00002.gguf", second.bytes());
  EXPECT_NE((*open_checkpoint(path))->fingerprint(), before);
  EXPECT_THAT(message(open_checkpoint(put("lone.gguf", first.bytes()))),
              HasSubstr("part of a model split in 2"));
}

TEST(GgufCheckpoint, ErrorsNameTheThing) {
  const auto open = [](const GgufWriter& writer) {
    return message(open_checkpoint(put("bad.gguf", writer.bytes())));
  };
  EXPECT_THAT(open(small("mamba")), HasSubstr("architecture 'mamba' has no mapping from GGUF; "
                                              "known are llama, qwen2"));
  EXPECT_THAT(open(small("gemma").u32("gemma.expert_count", 8)),
              HasSubstr("a 'gemma' of 8 experts has no mapping"));
  GgufWriter empty;
  EXPECT_THAT(open(empty.text("general.architecture", "llama")), HasSubstr("holds no tensors"));
  empty.floats("a", {1}, {1});
  EXPECT_THAT(open(empty), HasSubstr("metadata 'llama.vocab_size' is missing"));
  EXPECT_THAT(open(small().floats("blk.0.attn_q.weight", {6, 8}, counted(48))),
              HasSubstr("'blk.0.attn_q.weight' has 6 rows, which are no pairs of 2 heads"));
  EXPECT_THAT(open(small().text("llama.rope.scaling.type", "ntk")),
              HasSubstr("'llama.rope.scaling.type' is 'ntk'"));
  GgufWriter writer = small();
  writer.tensor("blk.0.ffn_up.weight", Encoding{16}, {1, 256}, std::string(66, 'x'));
  const auto model = open_checkpoint(put("bad.gguf", writer.bytes()));
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_THAT((*model)->tensor("model.layers.0.mlp.up_proj.weight").error().message,
              HasSubstr("tensor 'blk.0.ffn_up.weight' is IQ2_XXS, which this build does not read"));
  const std::string whole = small().bytes();
  EXPECT_THAT(message(open_checkpoint(put("cut.gguf", whole.substr(0, whole.size() - 9)))),
              HasSubstr("cut.gguf: tensor 'token_embd.weight' wants 160 bytes"));
}

TEST(GgufNames, EachArchitectureHasItsOwn) {
  const auto name = [](std::string_view architecture, std::string_view stored) {
    const auto hf = hf_tensor_name(*find_gguf_architecture(architecture), stored);
    return hf ? hf->name : "";
  };
  EXPECT_EQ(name("gpt2", "blk.11.attn_qkv.bias"), "transformer.h.11.attn.c_attn.bias");
  EXPECT_EQ(name("gemma3", "blk.2.ffn_norm.weight"),
            "model.layers.2.pre_feedforward_layernorm.weight");
  EXPECT_EQ(name("glm4", "blk.2.post_ffw_norm.weight"), "model.layers.2.post_mlp_layernorm.weight");
  EXPECT_EQ(name("phi3", "blk.0.ffn_up.weight"), "model.layers.0.mlp.gate_up_proj.weight");
  EXPECT_EQ(name("olmo2", "blk.0.post_ffw_norm.weight"),
            "model.layers.0.post_feedforward_layernorm.weight");
  EXPECT_EQ(name("llama", "blk.x.attn_q.weight"), "");
  EXPECT_EQ(name("llama", "rope_freqs.weight"), "");
}

}  // namespace
}  // namespace ramjet::checkpoint

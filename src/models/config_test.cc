// Configurations: ropes, bad values, the registry, and real ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "base/file.h"
#include "models/config_fuzz.h"
#include "models/testing/small_config.h"

namespace ramjet::models {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Rope, OldAndNewSpelling) {
  RopeSpec spec = rope_of(llama(R"({"rope_theta": 500000.0, "rope_scaling": {
      "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 64}})"));
  EXPECT_EQ(spec.kind, RopeKind::kLlama3);
  EXPECT_EQ(spec.theta, 500000);
  EXPECT_EQ(spec.factor, 8);
  EXPECT_EQ(spec.high_freq_factor, 4);
  EXPECT_EQ(spec.original_max_position, 64);
  EXPECT_EQ(spec.rotary_dim, 16);
  spec = rope_of(llama(R"({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6,
                           "factor": 2.5}})"));
  EXPECT_EQ(spec.kind, RopeKind::kLinear);
  EXPECT_EQ(spec.theta, 1e6);
  EXPECT_EQ(spec.factor, 2.5);
  EXPECT_EQ(
      rope_of(llama(R"({"rope_scaling": {"type": "dynamic", "factor": 2}})")).original_max_position,
      256);
  EXPECT_EQ(rope_of(llama()).theta, 10000);
  EXPECT_EQ(rope_of(llama(R"({"partial_rotary_factor": 0.5})")).rotary_dim, 8);
}

TEST(Rope, YarnAndLongrope) {
  RopeSpec spec = rope_of(llama(R"({"rope_scaling": {"type": "yarn", "factor": 4.0,
                                    "original_max_position_embeddings": 32}})"));
  EXPECT_EQ(spec.kind, RopeKind::kYarn);
  EXPECT_DOUBLE_EQ(spec.attention_factor, 0.1 * std::log(4.0) + 1);
  EXPECT_EQ(spec.beta_fast, 32);
  spec = rope_of(llama(R"({"rope_scaling": {"rope_type": "yarn", "factor": 40, "mscale": 0.707,
      "mscale_all_dim": 1.0, "beta_fast": 16, "truncate": false}})"));
  EXPECT_DOUBLE_EQ(spec.attention_factor,
                   (0.0707 * std::log(40.0) + 1) / (0.1 * std::log(40.0) + 1));
  EXPECT_EQ(spec.beta_fast, 16);
  EXPECT_FALSE(spec.truncate);
  EXPECT_EQ(spec.original_max_position, 256);
  spec = rope_of(llama(R"({"original_max_position_embeddings": 64, "rope_scaling": {"type": "su",
      "short_factor": [1,1,1,1,1,1,1,1], "long_factor": [1,2,3,4,5,6,7,8]}})"));
  EXPECT_EQ(spec.kind, RopeKind::kLongrope);
  EXPECT_EQ(spec.factor, 4);
  EXPECT_DOUBLE_EQ(spec.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(64.0)));
  EXPECT_EQ(spec.long_factors.at(7), 8);
}

TEST(Rope, ScalingStretchesTheContext) {
  const auto positions = [](const char* rope) {
    Json config = llama();
    config["rope_scaling"] = *parse_json(rope);
    return build(config)->info.max_seq_len;
  };
  EXPECT_EQ(positions(R"({"type": "linear", "factor": 2})"), 512);
  EXPECT_EQ(positions(R"({"type": "dynamic", "factor": 4})"), 1024);
  EXPECT_EQ(positions(R"({"type": "yarn", "factor": 4, "original_max_position_embeddings": 32})"),
            128);
  EXPECT_EQ(positions(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                          "high_freq_factor": 4, "original_max_position_embeddings": 32})"),
            256);
}

TEST(Config, BadValuesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"hidden_size": null})", "hidden_size is missing"},
      {R"({"hidden_size": -64})", "hidden_size is -64, it must be a whole number 2 to 131072"},
      {R"({"hidden_size": "64"})", "hidden_size is \"64\""},
      {R"({"hidden_size": 66})", "hidden_size 66 is no multiple of num_attention_heads 4"},
      {R"({"hidden_size": 1e300})", "hidden_size is 1e+300"},
      {R"({"num_hidden_layers": 1000000})", "num_hidden_layers is 1000000"},
      {R"({"num_attention_heads": 0})", "num_attention_heads is 0"},
      {R"({"num_key_value_heads": 3})", "no multiple of num_key_value_heads 3"},
      {R"({"head_dim": 7})", "head_dim is 7, it must be even"},
      {R"({"vocab_size": 2.5})", "vocab_size is 2.5"},
      {R"({"intermediate_size": [1]})", "intermediate_size is [1]"},
      {R"({"max_position_embeddings": 0})", "max_position_embeddings is 0"},
      {R"({"rms_norm_eps": 0})", "rms_norm_eps is 0, it must be a number above 0"},
      {R"({"hidden_act": "mish"})", "hidden_act 'mish'"},
      {R"({"attention_bias": 1})", "attention_bias is 1, it must be true or false"},
      {R"({"eos_token_id": -1})", "eos_token_id is -1"},
      {R"({"eos_token_id": [2, "x"]})", "eos_token_id is [2,\"x\"]"},
      {R"({"rope_theta": 0})", "rope_theta is 0"},
      {R"({"rope_scaling": 4})", "rope_scaling is 4, it must be an object"},
      {R"({"rope_scaling": {"type": "warp"}})", "rope type 'warp'"},
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling.factor is missing"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4,
                            "high_freq_factor": 4}})",
       "rope_scaling.high_freq_factor is 4, it must be a number above 4"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}})",
       "rope_scaling.short_factor is [1], it must be a list of 8 positive numbers"},
      {R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})", "between layers"},
      {R"({"partial_rotary_factor": 0.01})", "0 rotary dimensions"},
  };
  for (const auto& [changes, expected] : cases) {
    EXPECT_THAT(message(llama(changes)), HasSubstr(expected)) << changes;
  }
  EXPECT_THAT(message(Json::array()), HasSubstr("not a JSON object"));
  EXPECT_THAT(message(Json::object()), HasSubstr("neither architectures nor model_type"));
  EXPECT_THAT(message(family("Qwen3ForCausalLM", R"({"use_sliding_window": true,
                                                  "layer_types": ["a", "b"]})")),
              HasSubstr("layer_types[0] is \"a\""));
}

TEST(Registry, KnownAndUnknown) {
  EXPECT_THAT(known_architectures(),
              testing::IsSupersetOf({"LlamaForCausalLM", "MistralForCausalLM", "Gemma2ForCausalLM",
                                     "Phi3ForCausalLM", "GPT2LMHeadModel"}));
  const auto unknown = build(family("MambaForCausalLM"));
  EXPECT_EQ(unknown.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(unknown.error().message, HasSubstr("'MambaForCausalLM' is not known; known are "));
  EXPECT_THAT(unknown.error().message, HasSubstr("LlamaForCausalLM, Mistral"));
  Json by_type = llama(R"({"architectures": null, "model_type": "llama"})");
  EXPECT_EQ(build(by_type)->info.architecture, "LlamaForCausalLM");
}

TEST(Registry, ForeignQuantizationIsRefused) {
  const auto all_but = [](std::string_view a, std::string_view b) {
    return [a, b](std::string_view name) { return !name.ends_with(a) && !name.ends_with(b); };
  };
  const auto plain = all_but("qweight", "weight_packed");
  const auto given = [&](const std::string& quantization) {
    const std::string changes = "{\"quantization_config\": " + quantization + "}";
    const Json config = llama(changes.c_str());
    return build_model(config, {}, [&](std::string_view name) {
      return plain(name) && !name.ends_with("weight_scale_2");
    });
  };
  for (const char* fp8 :
       {R"({"quant_method": "fp8", "weight_block_size": [128, 128]})",
        R"({"quant_method": "fbgemm_fp8"})", R"({"quant_method": "modelopt", "quant_algo": "FP8"})",
        R"({"quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": {"num_bits": 8, "type": "float"}}}})"}) {
    const auto model = given(fp8);
    EXPECT_TRUE(model.ok()) << fp8 << ": " << (model.ok() ? "" : model.error().message);
  }
  for (const char* other :
       {R"({"quant_method": "gptq"})", R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})",
        R"({"quant_method": 4})", R"({"quant_method": "compressed-tensors"})",
        R"({"quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": {"num_bits": 8, "type": "int"}}}})",
        R"({"quant_method": "compressed-tensors", "config_groups": {"a": 1}})"}) {
    const auto model = given(other);
    ASSERT_FALSE(model.ok()) << other;
    EXPECT_EQ(model.error().code, ErrorCode::kUnsupported) << other;
  }
  EXPECT_TRUE(build(llama(R"({"quantization_config": {"quant_method": "gptq"}})")).ok())
      << "dummy weights need only the shapes";
  const auto scaled = build_model(llama(), {}, [](std::string_view name) {
    return name == "model.layers.0.mlp.down_proj.weight_packed";
  });
  EXPECT_THAT(scaled.error().message, HasSubstr("weight_packed"));
}

TEST(GenerationConfig, ReplacesTokenIds) {
  ModelInfo info;
  info.eos_ids = {2};
  ASSERT_TRUE(apply_generation_config(R"({"eos_token_id": [7, 9], "bos_token_id": 3})", info).ok());
  EXPECT_THAT(info.eos_ids, ElementsAre(7, 9));
  EXPECT_EQ(info.bos_id, 3);
  ASSERT_TRUE(apply_generation_config(R"({"temperature": 1})", info).ok());
  EXPECT_THAT(info.eos_ids, ElementsAre(7, 9));
  EXPECT_THAT(apply_generation_config(R"({"eos_token_id": "x"})", info).error().message,
              HasSubstr("generation_config.eos_token_id"));
}

/// Parameters that the models' cards state, or that their checkpoints' indexes sum up to.
const std::map<std::string, int64_t> kKnownParameters = {
    {"meta-llama--Meta-Llama-3.1-8B_config.json", 8030261248},
    {"meta-llama--Meta-Llama-3.1-70B_config.json", 70553706496},
    {"llama2_7b.json", 6738415616},
    {"llama3_2_1b.json", 1235814400},
    {"mistral_7b.json", 7241732096},
    {"qwen2_0_5b.json", 494032768},
    {"Qwen--Qwen3-0.6B_config.json", 596049920},
    {"gemma_2b.json", 2506172416},
    {"gemma2_2b.json", 2614341888},
    {"gemma2_9b.json", 9241705984},
    {"gemma3_1b_it.json", 999885952},
    {"gpt2.json", 124439808},
    {"olmo2_7b.json", 7298617344},
    {"phi-2-config.json", 2779683840},
    {"phi-3_5.json", 3821079552},
    {"phi-4.json", 3836021760},
    {"stablelm.json", 2795443200},
    {"stablelm-2-zephyr-1_6b.json", 1644515328},
};

TEST(Configs, MainstreamModelsBuild) {
  const fs::path folder = "../shared/data/configs";
  if (!fs::exists(folder)) GTEST_SKIP() << "no ../shared/data/configs";
  const auto known = known_architectures();
  int built = 0;
  int refused = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const auto config = read_json_file(entry.path().string());
    if (!config.ok() || !config->is_object() || !config->contains("architectures")) continue;
    const std::string architecture = (*config)["architectures"][0];
    const auto model = build(*config);
    const std::string name = entry.path().filename().string();
    const bool other_fields = (*config)["model_type"] == "phi-msft";  // of the first Phi's own code
    if (other_fields || std::find(known.begin(), known.end(), architecture) == known.end()) {
      EXPECT_FALSE(model.ok()) << name;
      EXPECT_TRUE(other_fields || model.error().code == ErrorCode::kUnsupported) << name;
      ++refused;
      continue;
    }
    ASSERT_TRUE(model.ok()) << name << ": " << model.error().message;
    const Status verified = ir::verify(graph(*model));
    EXPECT_TRUE(verified.ok()) << name << ": " << verified.error().message;
    if (const auto it = kKnownParameters.find(name); it != kKnownParameters.end()) {
      EXPECT_EQ(model->info.parameters, it->second) << name;
    }
    ++built;
  }
  EXPECT_GE(built, 50);
  EXPECT_GE(refused, 40);
}

TEST(Configs, RandomOnesBuildOrNameTheField) {
  std::mt19937 random(4);
  const auto names = known_architectures();
  int built = 0;
  for (int i = 0; i < 300; ++i) {
    Json config = family(std::string(names[random() % names.size()]).c_str());
    config["num_experts"] = config["num_local_experts"] = 1 + random() % 4;
    config["num_experts_per_tok"] = 1;
    config["moe_intermediate_size"] = 16;
    config["dim"] = config["hidden_dim"] = 48;
    config["n_layers"] = config["n_heads"] = 2;
    config["text_config"] = config;
    const int64_t kv = 1 + random() % 4;
    config["num_key_value_heads"] = kv;
    config["num_attention_heads"] = kv * (1 + random() % 4);
    config["head_dim"] = 2 * (1 + random() % 64);
    config["hidden_size"] = 2 + random() % 200;
    config["num_hidden_layers"] = 1 + random() % 4;
    config["vocab_size"] = 1 + random() % 1000;
    config["tie_word_embeddings"] = random() % 2 == 0;
    config["attention_bias"] = random() % 2 == 0;
    if (random() % 4 == 0) {  // one field goes wrong
      const char* fields[] = {"hidden_size", "num_hidden_layers", "head_dim", "vocab_size",
                              "rope_scaling"};
      const Json values[] = {-1, 0, "x", 1e99, Json::array({1}), true, uint64_t{1} << 63};
      config[fields[random() % 5]] = values[random() % 7];
    }
    const auto model = build(config);
    if (!model.ok()) {
      EXPECT_THAT(model.error().message, HasSubstr("config: "));
      continue;
    }
    const Status verified = ir::verify(graph(*model));
    EXPECT_TRUE(verified.ok()) << verified.error().message << dump_json(config);
    ++built;
  }
  EXPECT_GT(built, 150);
}

TEST(Fuzz, CorpusReplays) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator("tests/fuzz/config")) {
    fuzz_config(*read_file(entry.path().string()));
    ++files;
  }
  EXPECT_GE(files, 3);
}

}  // namespace
}  // namespace ramjet::models

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "ir/network.h"
#include "models/config_fuzz.h"
#include "models/model.h"

namespace ramjet::models {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const auto kHasNone = [](std::string_view) { return false; };

Json llama(const char* changes = "{}") {
  Json config = *parse_json(R"({
      "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 320, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
      "bos_token_id": 1, "eos_token_id": 2})");
  config.merge_patch(*parse_json(changes));
  return config;
}
Json family(const char* architecture, const char* changes = "{}") {
  Json config = llama(changes);
  config["architectures"] = {architecture};
  return config;
}

Result<Model> build(const Json& config, const ModelOptions& options = {}) {
  return build_model(config, options, kHasNone);
}
std::string message(const Json& config) {
  const auto model = build(config);
  return model.ok() ? "ok" : model.error().message;
}
const ir::Graph& graph(const Model& model) { return model.network->impl().graph; }

std::map<OpKind, int> count_ops(const Model& model) {
  std::map<OpKind, int> counts;
  for (ir::NodeId id : graph(model).order()) ++counts[graph(model).node(id).op];
  return counts;
}
std::set<std::string> weight_names(const Model& model) {
  std::set<std::string> names;
  for (const ir::Value& value : graph(model).values) {
    if (value.kind == ir::Value::Kind::kWeight) names.insert(value.name);
  }
  return names;
}
template <class Desc>
std::vector<Desc> descs(const Model& model, OpKind op) {
  std::vector<Desc> out;
  for (ir::NodeId id : graph(model).order()) {
    const ir::Node& node = graph(model).node(id);
    if (node.op == op) out.push_back(std::get<Desc>(node.attrs));
  }
  return out;
}
RopeSpec rope_of(const Json& config) {
  return descs<RopeSpec>(*build(config), OpKind::kRopeTable).at(0);
}

TEST(Llama, BuildsAnHonestGraph) {
  const auto model = build(llama());
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_TRUE(ir::verify(graph(*model)).ok()) << ir::verify(graph(*model)).error().message;
  auto ops = count_ops(*model);
  EXPECT_EQ(ops[OpKind::kMatmul], 2 * 7 + 1);
  EXPECT_EQ(ops[OpKind::kNorm], 2 * 2 + 1);
  EXPECT_EQ(ops[OpKind::kRope], 4);
  EXPECT_EQ(ops[OpKind::kRopeTable], 1);
  EXPECT_EQ(ops[OpKind::kKvAppend], 2);
  EXPECT_EQ(ops[OpKind::kPagedAttention], 2);
  EXPECT_EQ(ops[OpKind::kPointwise], 2 * 4 + 1);  // silu, mul, two residuals; cast
  ASSERT_EQ(graph(*model).outputs.size(), 1u);
  const auto& logits = graph(*model).value(graph(*model).outputs[0].value);
  EXPECT_EQ(type_text(logits.type, graph(*model).symbols), "f32[logit_rows, 320]");
  EXPECT_EQ(model->info.architecture, "LlamaForCausalLM");
  EXPECT_EQ(model->info.vocab_size, 320);
  EXPECT_EQ(model->info.max_seq_len, 256);
  EXPECT_EQ(model->info.bos_id, 1);
  EXPECT_THAT(model->info.eos_ids, ElementsAre(2));
  const int64_t layer = 64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64;
  EXPECT_EQ(model->info.parameters, 2 * 320 * 64 + 64 + 2 * layer);
  ASSERT_EQ(model->kv_groups.size(), 1u);
  EXPECT_EQ(model->kv_groups[0].num_layers, 2);
  EXPECT_EQ(model->kv_groups[0].num_kv_heads, 2);
  EXPECT_EQ(model->kv_groups[0].head_dim, 16);
}

TEST(Llama, OptionsShapeTheProfiles) {
  ModelOptions options;
  options.dtype = DType::kF32;
  options.max_batch_size = 8;
  options.max_num_tokens = 128;
  options.max_seq_len = 100;
  options.block_tokens = 16;
  const auto model = build(llama(), options);
  EXPECT_EQ(model->info.max_seq_len, 100);
  EXPECT_THAT(model->network->text(), HasSubstr("i32[sequences, 7]"));
  std::map<std::string, int64_t> most;
  for (const Symbol& symbol : graph(*model).symbols) most[symbol.name] = symbol.max;
  EXPECT_EQ(most["tokens"], 128);
  EXPECT_EQ(most["sequences"], 8);
  EXPECT_EQ(most["logit_rows"], 64);
  options.max_seq_len = 1000;  // more than the model has
  EXPECT_EQ(build(llama(), options)->info.max_seq_len, 256);
  EXPECT_EQ(build(llama(R"({"rope_scaling": {"type": "dynamic", "factor": 2}})"), options)
                ->info.max_seq_len,
            1000);
  options.block_tokens = 0;
  EXPECT_EQ(build(llama(), options).error().code, ErrorCode::kInvalidArgument);
  options = {};
  options.dtype = DType::kI8;
  EXPECT_THAT(build(llama(), options).error().message, HasSubstr("dtype i8"));
}

TEST(Llama, BiasesHeadsAndTies) {
  const auto model = build(llama(
      R"({"attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true, "head_dim": 32,
          "num_key_value_heads": null, "hidden_act": "gelu_pytorch_tanh"})"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto names = weight_names(*model);
  EXPECT_FALSE(names.contains("lm_head.weight"));
  EXPECT_TRUE(names.contains("model.layers.1.self_attn.o_proj.bias"));
  EXPECT_TRUE(names.contains("model.layers.1.mlp.down_proj.bias"));
  EXPECT_EQ(model->kv_groups[0].num_kv_heads, 4);
  EXPECT_EQ(model->kv_groups[0].head_dim, 32);
  // What the checkpoint holds decides where the configuration is silent.
  const auto found = build_model(llama(), {}, [](std::string_view name) {
    return name == "model.layers.0.self_attn.q_proj.bias" || name == "model.embed_tokens.weight";
  });
  EXPECT_TRUE(weight_names(*found).contains("model.layers.0.self_attn.q_proj.bias"));
  EXPECT_FALSE(weight_names(*found).contains("model.layers.0.self_attn.k_proj.bias"));
  EXPECT_FALSE(weight_names(*found).contains("lm_head.weight"));
}

std::vector<int64_t> windows(const Json& config) {
  const auto model = build(config);
  std::vector<int64_t> out;
  for (const auto& desc : descs<AttentionDesc>(*model, OpKind::kPagedAttention)) {
    out.push_back(desc.window);
  }
  out.push_back(model->kv_groups[0].window);
  return out;
}

TEST(Mistral, SlidingWindow) {
  EXPECT_THAT(windows(family("MistralForCausalLM", R"({"sliding_window": 24})")),
              ElementsAre(24, 24, 24));
  EXPECT_THAT(windows(family("MistralForCausalLM")), ElementsAre(4096, 4096, 4096));
  Json none = family("MistralForCausalLM");
  none["sliding_window"] = nullptr;
  EXPECT_THAT(windows(none), ElementsAre(0, 0, 0));
}

TEST(Qwen, BiasesNormsAndWindows) {
  const auto qwen2 = build(family("Qwen2ForCausalLM"));
  EXPECT_TRUE(weight_names(*qwen2).contains("model.layers.0.self_attn.k_proj.bias"));
  EXPECT_FALSE(weight_names(*qwen2).contains("model.layers.0.self_attn.o_proj.bias"));
  const auto qwen3 = build(family("Qwen3ForCausalLM", R"({"head_dim": 32})"));
  ASSERT_TRUE(ir::verify(graph(*qwen3)).ok()) << ir::verify(graph(*qwen3)).error().message;
  EXPECT_TRUE(weight_names(*qwen3).contains("model.layers.1.self_attn.q_norm.weight"));
  EXPECT_FALSE(weight_names(*qwen3).contains("model.layers.0.self_attn.k_proj.bias"));
  EXPECT_EQ(count_ops(*qwen3)[OpKind::kNorm], 2 * 4 + 1);
  EXPECT_EQ(build(family("Qwen3ForCausalLM"))->kv_groups[0].head_dim, 128);
  EXPECT_THAT(windows(family("Qwen2ForCausalLM", R"({"use_sliding_window": true,
                                   "sliding_window": 32, "max_window_layers": 1})")),
              ElementsAre(0, 32, 0));
  EXPECT_THAT(windows(family("Qwen3ForCausalLM", R"({"use_sliding_window": true,
                  "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]})")),
              ElementsAre(8, 0, 0));
  EXPECT_THAT(windows(family("Qwen2ForCausalLM", R"({"sliding_window": 32})")),
              ElementsAre(0, 0, 0));
}

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
  EXPECT_THAT(known_architectures(), ElementsAre("LlamaForCausalLM", "MistralForCausalLM",
                                                 "Qwen2ForCausalLM", "Qwen3ForCausalLM"));
  const auto unknown = build(family("MambaForCausalLM"));
  EXPECT_EQ(unknown.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(unknown.error().message, HasSubstr("'MambaForCausalLM' is not known; known are "
                                                 "LlamaForCausalLM, Mistral"));
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

TEST(Checkpoints, GraphsUseExactlyTheStoredTensors) {
  int folders = 0;
  for (const auto& entry : fs::directory_iterator("tests/data/models")) {
    const auto checkpoint = checkpoint::open_checkpoint(entry.path().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const auto has = [&](std::string_view name) { return (*checkpoint)->has_tensor(name); };
    const auto model = build_model((*checkpoint)->config(), {}, has);
    ASSERT_TRUE(model.ok()) << entry.path() << ": " << model.error().message;
    ASSERT_TRUE(ir::verify(graph(*model)).ok()) << ir::verify(graph(*model)).error().message;
    const auto names = (*checkpoint)->tensor_names();
    EXPECT_EQ(weight_names(*model), std::set<std::string>(names.begin(), names.end()))
        << entry.path();
    for (const ir::Value& value : graph(*model).values) {
      if (value.kind != ir::Value::Kind::kWeight) continue;
      const Shape stored = (*checkpoint)->tensor(value.name)->shape;
      EXPECT_EQ(stored, value.type.shape({})) << value.name;
    }
    ++folders;
  }
  EXPECT_GE(folders, 1);
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
    if (std::find(known.begin(), known.end(), architecture) == known.end()) {
      EXPECT_EQ(model.error().code, ErrorCode::kUnsupported) << name;
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
  EXPECT_GE(built, 30);
  EXPECT_GE(refused, 50);
}

TEST(Configs, RandomOnesBuildOrNameTheField) {
  std::mt19937 random(4);
  const char* names[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",
                         "Qwen3ForCausalLM"};
  int built = 0;
  for (int i = 0; i < 300; ++i) {
    Json config = family(names[random() % 4]);
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

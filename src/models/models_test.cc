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
/// Rows of each stored tensor that weights are made of, and their columns.
struct Used {
  bool experts = false;
  int64_t rows = 0;
  int64_t columns = 0;
};
std::map<std::string, Used> stored_tensors(const Model& model) {
  std::map<std::string, Used> used;
  for (const ir::Value& value : graph(model).values) {
    if (value.kind != ir::Value::Kind::kWeight) continue;
    for (const std::string& source : value.recipe.sources)
      used[source].experts |= value.recipe.experts > 0;
    if (value.recipe.experts > 0) continue;  // building them shows that their tensors fit
    EXPECT_EQ(value.recipe.sources.size(), 1u);
    const Shape shape = value.type.shape({});
    Used& tensor = used[value.recipe.sources[0]];
    tensor.rows += shape[0];
    tensor.columns = shape.elements() / shape[0];
    if (value.recipe.transpose) EXPECT_EQ(shape.rank(), 2) << value.name;
  }
  return used;
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

TEST(Gemma, WindowsRopesCapsAndScales) {
  const auto gemma2 = build(family("Gemma2ForCausalLM", R"({"head_dim": 16})"));
  ASSERT_TRUE(gemma2.ok()) << gemma2.error().message;
  const auto attention = descs<AttentionDesc>(*gemma2, OpKind::kPagedAttention);
  EXPECT_EQ(attention[0].window, 4096);
  EXPECT_EQ(attention[1].window, 0);
  EXPECT_EQ(attention[0].softcap, 50);
  EXPECT_DOUBLE_EQ(attention[0].scale, 1 / 16.0);
  EXPECT_EQ(descs<EmbeddingDesc>(*gemma2, OpKind::kEmbedding)[0].scale, 8);
  for (const NormDesc& norm : descs<NormDesc>(*gemma2, OpKind::kNorm)) {
    EXPECT_EQ(norm.weight_offset, 1);
  }
  EXPECT_EQ(count_ops(*gemma2)[OpKind::kRopeTable], 1);
  // Gemma 3 as the hub has it: flat fields, a rope of its own for windows.
  const char* flat = R"({"num_hidden_layers": 6, "sliding_window": 32, "rope_theta": 1e6,
      "rope_local_base_freq": 5000, "rope_scaling": {"rope_type": "linear", "factor": 8}})";
  const auto gemma3 = build(family("Gemma3ForCausalLM", flat));
  ASSERT_TRUE(gemma3.ok()) << gemma3.error().message;
  const auto ropes = descs<RopeSpec>(*gemma3, OpKind::kRopeTable);
  ASSERT_EQ(ropes.size(), 2u);
  EXPECT_EQ(ropes[0].factor, 8);
  EXPECT_EQ(ropes[1].kind, RopeKind::kDefault);
  EXPECT_EQ(ropes[1].theta, 5000);
  EXPECT_EQ(gemma3->info.max_seq_len, 256);
  EXPECT_EQ(windows(family("Gemma3ForCausalLM", flat)),
            (std::vector<int64_t>{32, 32, 32, 32, 32, 0, 0}));
  Json multimodal = *parse_json(R"({"architectures": ["Gemma3ForConditionalGeneration"],
      "eos_token_id": [1, 106]})");
  multimodal["text_config"] = family("Gemma3ForCausalLM", flat);
  const auto text = build(multimodal);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(text->info.eos_ids, ElementsAre(1, 106));
  EXPECT_TRUE(weight_names(*text).contains("language_model.model.layers.5.mlp.up_proj.weight"));
  EXPECT_EQ(text->info.parameters, gemma3->info.parameters);
}

TEST(Families, WhatIsNotSupportedIsNamed) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"GemmaForCausalLM", R"({"use_bidirectional_attention": true})", "use_bidirectional"},
      {"GPT2LMHeadModel", R"({"scale_attn_by_inverse_layer_idx": true})", "inverse_layer_idx"},
      {"GPT2LMHeadModel", R"({"n_embd": 100})", "n_embd 100 is no multiple of n_head 12"},
      {"FalconForCausalLM", R"({"alibi": true})", "alibi is true"},
      {"StableLmForCausalLM", R"({"qk_layernorm": true})", "qk_layernorm"},
      {"PhiForCausalLM", R"({"qk_layernorm": true})", "qk_layernorm"},
      {"CohereForCausalLM", R"({"use_qk_norm": true})", "use_qk_norm"},
      {"SmolLM3ForCausalLM", R"({"no_rope_layers": [1, 2]})", "no_rope_layers has 2"},
      {"SmolLM3ForCausalLM", R"({"no_rope_layers": [1]})", "must list 2 layers"},
      {"GraniteForCausalLM", R"({"logits_scaling": 0})", "logits_scaling is 0"},
      {"Phi3ForCausalLM", R"({"partial_rotary_factor": 2})", "partial_rotary_factor is 2"},
  };
  for (const auto& [architecture, changes, expected] : cases) {
    EXPECT_THAT(message(family(architecture, changes)), HasSubstr(expected)) << architecture;
  }
}

TEST(Families, DefaultsAreThoseOfTransformers) {
  EXPECT_EQ(rope_of(family("GlmForCausalLM", R"({"head_dim": 16})")).rotary_dim, 8);
  EXPECT_TRUE(rope_of(family("Glm4ForCausalLM", R"({"head_dim": 16})")).interleaved);
  EXPECT_EQ(rope_of(family("SmolLM3ForCausalLM")).theta, 2e6);
  EXPECT_EQ(rope_of(family("GPTNeoXForCausalLM", R"({"rotary_pct": 0.5})")).rotary_dim, 8);
  EXPECT_EQ(rope_of(family("CohereForCausalLM")).theta, 500000);
  const auto gpt2 = build(*parse_json(R"({"model_type": "gpt2", "n_layer": 1})"));
  ASSERT_TRUE(gpt2.ok()) << gpt2.error().message;
  EXPECT_TRUE(weight_names(*gpt2).contains("transformer.h.0.attn.q_proj.weight"));
  EXPECT_EQ(count_ops(*gpt2)[OpKind::kRope], 0);
  EXPECT_EQ(gpt2->info.max_seq_len, 1024);
  EXPECT_THAT(gpt2->float_tensors, ElementsAre("lm_head.weight", "transformer.wte.weight"));
  auto smollm3 = build(family("SmolLM3ForCausalLM", R"({"num_hidden_layers": 4})"));
  EXPECT_EQ(count_ops(*smollm3)[OpKind::kRope], 6);
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

TEST(Checkpoints, GraphsUseExactlyTheStoredTensors) {
  int folders = 0;
  for (const auto& entry : fs::directory_iterator("tests/data/models")) {
    const auto checkpoint = checkpoint::open_checkpoint(entry.path().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const auto has = [&](std::string_view name) { return (*checkpoint)->has_tensor(name); };
    const auto model = build_model((*checkpoint)->config(), {}, has);
    ASSERT_TRUE(model.ok()) << entry.path() << ": " << model.error().message;
    ASSERT_TRUE(ir::verify(graph(*model)).ok()) << ir::verify(graph(*model)).error().message;
    const auto used = stored_tensors(*model);
    for (const std::string& name : (*checkpoint)->tensor_names()) {
      const size_t stem = name.ends_with("_scales") ? name.size() - 7 : name.size();
      EXPECT_TRUE(used.contains(name) || used.contains(name.substr(0, stem) + "_blocks"))
          << entry.path() << ": " << name;
    }
    const bool transposed = model->info.architecture == "GPT2LMHeadModel";
    for (const auto& [name, tensor] : used) {
      ASSERT_TRUE(has(name)) << entry.path() << ": " << name;
      if (tensor.experts) continue;
      const Shape stored = (*checkpoint)->tensor(name)->shape;
      const bool turned = transposed && stored.rank() == 2 && name.find(".c_") != name.npos;
      EXPECT_EQ(turned ? stored[1] : stored[0], tensor.rows) << entry.path() << ": " << name;
      const int64_t columns = stored.elements() / (turned ? stored[1] : stored[0]);
      EXPECT_EQ(columns, tensor.columns) << entry.path() << ": " << name;
    }
    ++folders;
  }
  EXPECT_GE(folders, 30);
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

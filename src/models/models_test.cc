#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "checkpoint/checkpoint.h"
#include "models/testing/small_config.h"

namespace ramjet::models {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

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

}  // namespace
}  // namespace ramjet::models

// Time to build an engine: the demo model's shape, tuned from an empty timing cache, and the shape
// of Llama-3.2-1B with weights from memory. The engine is written to the temporary folder.
#include <benchmark/benchmark.h>
#include <ramjet/functional.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "compiler/compiler.h"
#include "ir/network.h"

namespace ramjet::compiler {
namespace {

struct LlamaShape {
  int64_t layers, hidden, heads, kv_heads, head_dim, mlp, vocab, max_tokens;
};
constexpr LlamaShape kDemo = {8, 320, 5, 1, 64, 960, 6144, 2048};
constexpr LlamaShape k1B = {16, 2048, 32, 8, 64, 8192, 128256, 2048};

void define_llama(Network& net, const LlamaShape& shape) {
  net.set_profile("tokens", {1, 256, shape.max_tokens});
  net.set_profile("sequences", {1, 8, 256});
  net.set_profile("logit_rows", {0, 8, 256});
  const auto step = ir::add_step_inputs(net, 128);
  const auto weight = [&](const std::string& name, std::vector<int64_t> extents) {
    return net.weight(name, DType::kBf16, extents);
  };
  const Tensor table = weight("embed.weight", {shape.vocab, shape.hidden});
  RopeSpec rope;
  rope.rotary_dim = shape.head_dim;
  Tensor x = embedding(step.token_ids, table);
  const Tensor angles = ir::rope_table(step, rope);
  const int64_t q_width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string name = "layers." + std::to_string(i) + ".";
    AttentionDesc desc;
    desc.num_heads = shape.heads, desc.num_kv_heads = shape.kv_heads;
    desc.head_dim = desc.v_head_dim = shape.head_dim, desc.kv_layer = i;
    Tensor h = rms_norm(x, weight(name + "norm1.weight", {shape.hidden}), 1e-5);
    const auto linear = [&](Tensor in, const std::string& part, int64_t n, int64_t k) {
      return matmul(in, weight(name + part + ".weight", {n, k}), true);
    };
    const Tensor q = ir::rope(linear(h, "q", q_width, shape.hidden), angles,
                              {shape.heads, shape.head_dim, shape.head_dim, false});
    const Tensor k = ir::rope(linear(h, "k", kv_width, shape.hidden), angles,
                              {shape.kv_heads, shape.head_dim, shape.head_dim, false});
    ir::kv_append(k, linear(h, "v", kv_width, shape.hidden), step, desc);
    x = x + linear(ir::paged_attention(q, step, Tensor(), desc), "o", shape.hidden, q_width);
    h = rms_norm(x, weight(name + "norm2.weight", {shape.hidden}), 1e-5);
    const Tensor gate = linear(h, "gate", shape.mlp, shape.hidden);
    x = x + linear(silu(gate) * linear(h, "up", shape.mlp, shape.hidden), "down", shape.hidden,
                   shape.mlp);
  }
  const Tensor rows =
      rms_norm(gather_rows(x, step.logit_rows), weight("norm.weight", {shape.hidden}), 1e-5);
  net.mark_output("logits", cast(matmul(rows, table, true), DType::kF32));
}

/// Any tensor of the network out of one block of numbers.
class SharedSource final : public WeightSource {
 public:
  explicit SharedSource(const ir::Graph& graph) : graph_(graph) {
    for (const ir::Value& value : graph.values) {
      if (value.kind != ir::Value::Kind::kWeight) continue;
      numbers_.resize(
          std::max(numbers_.size(), static_cast<size_t>(value.type.shape({}).elements())), 0x3c12);
    }
  }
  Result<TensorView> view(std::string_view name) const override {
    for (const ir::Value& value : graph_.values) {
      if (value.name != name) continue;
      return TensorView{const_cast<uint16_t*>(numbers_.data()), DType::kBf16, value.type.shape({})};
    }
    return not_found("{}", name);
  }

 private:
  const ir::Graph& graph_;
  std::vector<uint16_t> numbers_;
};

void build(benchmark::State& state, const LlamaShape& shape, WeightQuant quant, bool tune) {
  Network net;
  define_llama(net, shape);
  const SharedSource source(net.impl().graph);
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::temp_directory_path() / ("ramjet_bench_" + std::to_string(::getpid()));
  ::setenv("RAMJET_CACHE", folder.c_str(), 1);
  CompileOptions options;
  options.target = kernels::Target::host();
  options.quant = quant;
  options.tune = tune;
  engine::Manifest manifest;
  manifest.kv_groups = {
      {shape.layers, shape.kv_heads, shape.head_dim, shape.head_dim, 0, DType::kBf16}};
  for (auto _ : state) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    const auto report = compile(net.impl().graph, source, manifest, {},
                                (folder / "bench.engine").string(), options);
    CHECK(report.ok(), report.ok() ? "" : report.error().message);
    double passes = 0;
    for (const PassTime& pass : report->passes) {
      if (pass.name == "tactics") state.counters["tactics_ms"] = pass.ms;
      if (pass.name != "tactics") passes += pass.ms;
    }
    state.counters["passes_ms"] = passes;
    state.counters["GB"] = static_cast<double>(report->bytes) * 1e-9;
    state.counters["seconds"] = report->seconds;
  }
  fs::remove_all(folder);
}

BENCHMARK_CAPTURE(build, demo_tuned, kDemo, WeightQuant::kNone, true)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(build, llama_1b, k1B, WeightQuant::kNone, false)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(build, llama_1b_tuned, k1B, WeightQuant::kNone, true)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(build, llama_1b_int8, k1B, WeightQuant::kInt8Channel, false)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ramjet::compiler

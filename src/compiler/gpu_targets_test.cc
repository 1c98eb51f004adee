// Graphs of models, of every type and quantization, find kernels for every GPU target, and so do
// graphs of general ops. Nothing is compiled: kernels/ tests that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "compiler/compiler.h"

namespace ramjet::compiler {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLayer = "src/compiler/passes/tests/pipeline/llama_layer.txt";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// Runs every pass; what fails is returned.
Status build(std::string_view text, int sm, WeightQuant quant) {
  ASSIGN_OR_RETURN(ir::Graph graph, ir::parse(text));
  CompileOptions options;
  options.target = kernels::Target{kernels::Isa::kScalar, sm};
  options.tune = false;
  options.quant = quant;
  PassContext context{.options = &options};
  for (const auto& pass : standard_passes()) {
    auto changed = pass->run(graph, context);
    if (!changed.ok()) return changed.error();
    RETURN_IF_ERROR(ir::verify(graph));
  }
  for (ir::NodeId id : graph.order()) {
    const std::string& tactic = graph.node(id).tactic;
    if (tactic.starts_with("cpu.") || tactic.empty()) return internal_error("'{}'", tactic);
    // Where Hopper has kernels of its own no step may run on another GPU's.
    if (!tactic.starts_with("cuda.attention_sm90")) continue;
    for (const engine::TacticChoice& choice : context.choices[id].choices) {
      if (!choice.tactic.starts_with("cuda.attention_sm90")) {
        return internal_error("up to {} tokens '{}'", choice.upto, choice.tactic);
      }
    }
  }
  return ok_status();
}

std::string message(const Status& status) { return status.ok() ? "" : status.error().message; }

TEST(GpuTargets, ALlamaLayerOfEveryType) {
  const auto file = read_file(kLayer);
  ASSERT_TRUE(file.ok()) << file.error().message << ": run from the repository's root";
  const std::string text = file->substr(0, file->find("---\n"));
  for (int sm : {80, 89, 90}) {
    for (const char* dtype : {"bf16", "f16", "f32"}) {
      SCOPED_TRACE(std::string(dtype) + " for " + std::to_string(sm));
      const std::string typed = replaced(text, "bf16", dtype);
      EXPECT_EQ(message(build(typed, sm, WeightQuant::kNone)), "");
      EXPECT_EQ(message(build(typed, sm, WeightQuant::kInt8Channel)), "");
      const std::string fp8 = message(build(typed, sm, WeightQuant::kFp8Channel));
      if (sm >= 89) {
        EXPECT_EQ(fp8, "");
      } else {
        EXPECT_THAT(fp8, HasSubstr("no kernel for"));
      }
    }
  }
}

TEST(GpuTargets, GeneralOps) {
  constexpr std::string_view kText = R"(graph "main" {
  symbol t 1..8..64
  symbol s 1..4..16
  %x = input : bf16[t, s, 24]
  %y = input : bf16[s, 1]
  %i = input : i32[s]
  %m = input : bf16[t, s]
  %k = input : bf16[40, 24]
  %n = input : bf16[t, 24, 30]
  %w = weight(sources=["w"]) : bf16[12, 12, 3]
  %a = pointwise(%x, %y) {program="2: r2=mul(r0,r1) r3=exp(r2) -> r3"} "a" : bf16[t, s, 24]
  %b = reduce(%a) {axis=1} "b" : bf16[t, 24]
  %c = softmax(%a) {axis=1} "c" : bf16[t, s, 24]
  %d = transpose(%c) {permutation=[1,0,2]} "d" : bf16[s, t, 24]
  %e = slice(%d) {axis=2 start=3 length=12} "e" : bf16[s, t, 12]
  %f = concat(%e, %d) {axis=2} "f" : bf16[s, t, 36]
  %g = matmul(%x, %k) "g" : bf16[t, s, 40]
  %h, %j = topk(%g) {k=5} "h" : bf16[t, s, 5], i32[t, s, 5]
  %l = gather_rows(%m, %i) "l" : bf16[s, s]
  %o = conv(%n, %w) {groups=2 padding=[1]} "o" : bf16[t, 12, 30]
  output "b" = %b
  output "f" = %f
  output "h" = %h
  output "j" = %j
  output "l" = %l
  output "o" = %o
})";
  for (int sm : {80, 89, 90}) EXPECT_EQ(message(build(kText, sm, WeightQuant::kNone)), "");
}

}  // namespace
}  // namespace ramjet::compiler

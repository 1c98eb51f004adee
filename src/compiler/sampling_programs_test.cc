// Which graphs get programs that choose tokens on the device, and that every GPU can run those.
#include "compiler/sampling_programs.h"

#include <gtest/gtest.h>

#include "compiler/check_programs.h"
#include "compiler/compiler.h"

namespace ramjet::compiler {
namespace {

ir::Graph graph_of(const char* logits) {
  auto graph = ir::parse(std::string(R"(graph "main" {
  symbol tokens 1..64..512
  symbol sequences 1..8..32
  symbol logit_rows 1..8..40
  %token_ids = input : i32[tokens]
  %logit_rows = input : i32[logit_rows]
  %table = weight(sources=["t"]) : f32[301, 301]
  %h = embedding(%token_ids, %table) "embed" : f32[tokens, 301]
  %rows = gather_rows(%h, %logit_rows) "rows" : f32[logit_rows, 301]
)") + logits);
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  return std::move(*graph);
}

TEST(SamplingPrograms, FollowLogitsOfTokens) {
  const ir::Graph main = graph_of("  output \"logits\" = %rows\n}\n");
  const std::vector<ir::Graph> graphs = sampling_programs(main);
  ASSERT_EQ(graphs.size(), 2u);
  for (const ir::Graph& graph : graphs) {
    const Status good = ir::verify(graph);
    EXPECT_TRUE(good.ok()) << good.error().message;
    const auto again = ir::parse(ir::print(graph));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(ir::print(*again), ir::print(graph));
    for (const int sm : {80, 89, 90}) {
      ir::Graph copy = graph;
      CompileOptions options;
      options.target.sm = sm;
      PassContext context{.options = &options};
      const auto passes = run_passes(copy, context);
      EXPECT_TRUE(passes.ok()) << passes.error().message;
    }
  }
  EXPECT_EQ(graphs[0].name, "sample");
  EXPECT_EQ(graphs[0].symbols[0], (Symbol{"rows", 1, 8, 32}));
  EXPECT_EQ(graphs[1].name, "resolve");
}

TEST(SamplingPrograms, AreNotForOtherNetworks) {
  EXPECT_TRUE(sampling_programs(graph_of("  output \"x\" = %h\n}\n")).empty());
  EXPECT_TRUE(
      sampling_programs(graph_of("  output \"x\" = %rows\n  output \"y\" = %h\n}\n")).empty());
}

}  // namespace
}  // namespace ramjet::compiler

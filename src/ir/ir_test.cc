#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/graph.h"
#include "ir/infer.h"
#include "ir/network.h"

namespace ramjet {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kExample = R"(graph "main" {
  symbol tokens 1..32..2048
  %x = input : bf16[tokens, 4096]
  %w = weight(sources=["w"]) : bf16[4096, 4096]
  %y = matmul(%x, %w) "layers.0.q" : bf16[tokens, 4096]
  %z = pointwise(%y) {program="1: r1=relu(r0) -> r1"} : bf16[tokens, 4096]
  output "y" = %z
}
)";

std::string parse_error(std::string_view text) {
  const auto graph = ir::parse(text);
  return graph.ok() ? "" : graph.error().message;
}

/// kExample with one piece replaced.
std::string changed(std::string_view from, std::string_view to) {
  std::string text(kExample);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(GraphText, RoundTrips) {
  const auto graph = ir::parse(kExample);
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(ir::print(*graph), kExample);
}

TEST(GraphText, KeepsRecipesFusedNamesAndTactics) {
  const std::string text = R"(graph "g" {
  symbol n 0..1..8
  %a = input : f32[n*2+1, 16]
  %w = weight(sources=["g", "u"], combine=interleave, quant=int8_channel, layout="x.v1") : i8[40, 16]
  %s = weight(sources=["g", "u"], combine=interleave, quant=int8_channel, part=scales) : f32[40]
  %r = weight(sources=["qkv", "v"], rows=["8+16:4/12", ""], combine=stack) : f32[20, 16]
  %o = matmul(%a, %w, %s) {quant=int8_channel accumulators=2 epilogue="2: r2=mul(r0,r1) -> r2"} "gate \"up\"" fused=["gate", "up"] tactic="t.v1" : f32[n*2+1, 20]
  %p = matmul(%a, %r) : f32[n*2+1, 20]
  output "o" = %o
  output "p" = %p
}
)";
  const auto graph = ir::parse(text);
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(ir::print(*graph), text);
  for (const char* bad : {"8", "8+", "8+0", "8+16:4", "8+16:4/", "8+16:4/12 ", "x", "8+16:0/12"}) {
    std::string changed = text;
    changed.replace(changed.find("8+16:4/12"), 9, bad);
    EXPECT_FALSE(ir::parse(changed).ok()) << bad;
  }
  for (const auto& [rows, wrong] : {std::pair{"-1+4", "rows that no tensor has"},
                                    {"8+16:4/2", "rows that no tensor has"},
                                    {"0+1099511627776:1/1099511627776", "rows that no tensor has"},
                                    {"8+16\", \"\", \"", "other rows than sources"}}) {
    std::string changed = text;
    changed.replace(changed.find("8+16:4/12"), 9, rows);
    const auto parsed = ir::parse(changed);
    ASSERT_FALSE(parsed.ok()) << rows;
    EXPECT_THAT(parsed.error().message, HasSubstr(wrong));
  }
}

constexpr std::string_view kFp8 = R"(graph "g" {
  symbol n 0..1..8
  %x = input : bf16[n, 64]
  %g = weight(sources=["g"]) : bf16[64]
  %w = weight(sources=["w"], quant=fp8_channel) : f8e4m3[40, 64]
  %s = weight(sources=["w"], quant=fp8_channel, part=scales) : f32[40]
  %a, %t = norm(%x, %g) {quant=fp8_token} "norm" : f8e4m3[n, 64], f32[n]
  %y = matmul(%a, %w, %s, %t) {quant=fp8_channel} "w" : bf16[n, 40]
  %q, %r = quantize(%y) "quantize" : f8e4m3[n, 40], f32[n]
  output "y" = %y
  output "q" = %q
  output "r" = %r
}
)";

TEST(GraphText, Fp8RoundTrips) {
  const auto graph = ir::parse(kFp8);
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(ir::print(*graph), kFp8);
}

TEST(Verify, Fp8OperandsAndTheirScales) {
  const auto error = [](std::string_view from, std::string_view to) {
    std::string text(kFp8);
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return parse_error(text.replace(at, from.size(), to));
  };
  EXPECT_THAT(error("matmul(%a", "matmul(%x"), HasSubstr("wants f8e4m3"));
  EXPECT_THAT(error("%s, %t) {quant=fp8", "%t, %s) {quant=fp8"), HasSubstr("those of a's rows"));
  EXPECT_THAT(error("%w, %s, %t", "%w, %s"), HasSubstr("3 operands given, wants 4"));
  EXPECT_THAT(error("f8e4m3[40, 64]", "i8[40, 64]"), HasSubstr("wants f8e4m3[N, K]"));
  EXPECT_THAT(error(": f8e4m3[n, 64], f32[n]", ": bf16[n, 64], f32[n]"), HasSubstr("follows as"));
  EXPECT_THAT(error("f8e4m3[n, 64], f32[n]", "f8e4m3[n, 64], bf16[n]"), HasSubstr("follows as"));
  EXPECT_THAT(error("\"w\" : bf16[n, 40]", "\"w\" : f8e4m3[n, 40]"), HasSubstr("follows as"));
}

TEST(GraphText, NamesTheLineOfAnError) {
  EXPECT_THAT(parse_error(changed("relu(r0)", "relu(r7)")), HasSubstr("line 6"));
  EXPECT_THAT(parse_error(changed("= matmul", "= matmull")), HasSubstr("unknown op 'matmull'"));
  EXPECT_THAT(parse_error(changed("%x, %w", "%x %w")), HasSubstr("wants"));
}

TEST(GraphText, RefusesHostileText) {
  for (std::string_view text :
       {"", "graph", "graph \"", "graph \"x\" {", "graph \"x\" { %",
        "graph \"x\" { %a = input : f32[", "graph \"x\" { symbol t 9..1..2 }",
        "graph \"x\" { symbol t 0..1..99999999999999999999 }",
        "graph \"x\" { %a = input : f32[1099511627776, 1099511627776] }",
        "graph \"x\" { %a = input : f32[-4] }", "graph \"x\" { %a = input : f32[1,1,1,1,1,1,1] }",
        "graph \"x\" { %a = input : f32[2] %a = input : f32[2] }",
        "graph \"x\" { %a = input : f32[2] %b, %b = topk(%a) : f32[1], i32[1] }",
        "graph \"x\" { output \"y\" = %a }", "graph \"x\" { } }",
        "graph \"x\" { %a = input : f32[4] %b = slice(%a) {start=9223372036854775807 length=2} : "
        "f32[2] }"}) {
    EXPECT_FALSE(ir::parse(text).ok()) << text;
  }
}

TEST(Verify, ChecksShapesAndDtypes) {
  EXPECT_THAT(parse_error(changed("bf16[4096, 4096]\n  %y", "bf16[4096, 4000]\n  %y")),
              HasSubstr("disagree in K: 4096 against 4000"));
  EXPECT_THAT(parse_error(changed("\"layers.0.q\" : bf16[tokens", "\"layers.0.q\" : bf16[7")),
              HasSubstr("layers.0.q"));
  EXPECT_THAT(parse_error(changed("%w = weight(sources=[\"w\"]) : bf16",
                                  "%w = weight(sources=[\"w\"]) : f32")),
              HasSubstr("differ in dtype"));
  EXPECT_THAT(parse_error(changed("sources=[\"w\"]", "")), HasSubstr("has no source"));
}

TEST(Dims, CountElementsSymbolically) {
  const Dim t = Dim::of(0), s = Dim::of(1);
  EXPECT_TRUE(ir::same_elements(std::vector<Dim>{t, 8, 64}, std::vector<Dim>{t, 512}));
  EXPECT_TRUE(ir::same_elements(std::vector<Dim>{t, s}, std::vector<Dim>{s, t}));
  EXPECT_TRUE(ir::same_elements(std::vector<Dim>{Dim::of(0, 8), 2}, std::vector<Dim>{t, 16}));
  EXPECT_FALSE(ir::same_elements(std::vector<Dim>{t, 8}, std::vector<Dim>{s, 8}));
  EXPECT_EQ(ir::missing_extent(std::vector<Dim>{t, 512}, std::vector<Dim>{8, 64}), t);
  EXPECT_EQ(ir::missing_extent(std::vector<Dim>{t, 512}, std::vector<Dim>{t, 64}), Dim(8));
  EXPECT_FALSE(ir::missing_extent(std::vector<Dim>{t, 512}, std::vector<Dim>{s}).has_value());
}

TEST(Functional, BuildsAnMlp) {
  Network net("mlp");
  net.set_profile("rows", {1, 32, 256});
  const Tensor x = net.input("x", DType::kF32, {"rows", 64});
  const std::vector<float> w(64 * 48, 0.5f), b(48, 1.0f);
  ASSERT_TRUE(net.set_weight("w", DType::kF32, {64, 48}, std::as_bytes(std::span(w))).ok());
  ASSERT_TRUE(net.set_weight("b", DType::kF32, {48}, std::as_bytes(std::span(b))).ok());
  net.mark_output("y", relu(matmul(x, net.weight("w")) + net.weight("b")) * 2.0f);
  ASSERT_TRUE(net.status().ok()) << net.status().error().message;
  ASSERT_TRUE(ir::verify(net.impl().graph).ok());
  EXPECT_EQ(net.text(), R"(graph "mlp" {
  symbol rows 1..32..256
  %x = input : f32[rows, 64]
  %w = weight(sources=["w"]) : f32[64, 48]
  %b = weight(sources=["b"]) : f32[48]
  %w_1 = matmul(%x, %w) {transpose_b=false} "w" : f32[rows, 48]
  %add = pointwise(%w_1, %b) {program="2: r2=add(r0,r1) -> r2"} "add" : f32[rows, 48]
  %relu = pointwise(%add) {program="1: r1=relu(r0) -> r1"} "relu" : f32[rows, 48]
  %mul = pointwise(%relu) {program="1: r1=const(2) r2=mul(r0,r1) -> r2"} "mul" : f32[rows, 48]
  output "y" = %mul
}
)");
}

TEST(Functional, FirstMisuseNamesOpAndShapes) {
  Network net;
  net.set_scope("layers.3");
  const Tensor a = net.input("a", DType::kF32, {"rows", 64});
  const Tensor b = net.input("b", DType::kF32, {"rows", 60});
  const Tensor c = silu(a + b) * 2.0f;
  EXPECT_FALSE(c.valid());
  net.mark_output("c", c);
  ASSERT_FALSE(net.status().ok());
  EXPECT_EQ(net.status().error().message,
            "layers.3: add: f32[rows, 64] and f32[rows, 60] do not broadcast");
}

TEST(Functional, OtherMisuse) {
  auto message = [](auto&& misuse) {
    Network net;
    misuse(net);
    return net.status().ok() ? std::string() : net.status().error().message;
  };
  EXPECT_THAT(message([](Network& n) { n.weight("w"); }), HasSubstr("set_weight"));
  EXPECT_THAT(
      message([](Network& n) { n.input("a", DType::kBf16, {4}) + n.input("b", DType::kF32, {4}); }),
      HasSubstr("differ in dtype"));
  EXPECT_THAT(message([](Network& n) { relu(n.input("a", DType::kI32, {4})); }),
              HasSubstr("wants f32"));
  EXPECT_THAT(message([](Network& n) { n.input("a", DType::kF32, {4}) + Tensor(); }),
              HasSubstr("empty tensor"));
  EXPECT_THAT(message([](Network& n) {
                reshape(n.input("a", DType::kF32, {"t", 6}), {-1, 4});
              }),
              HasSubstr("-1"));
  EXPECT_THAT(message([](Network& n) {
                n.weight("w", DType::kF32, {4});
                n.weight("w", DType::kF32, {5});
              }),
              HasSubstr("was f32[4] before"));
  EXPECT_THAT(message([](Network& n) { n.set_profile("t", {4, 2, 8}); }), HasSubstr("no range"));
  EXPECT_THAT(message([](Network& n) {
                n.input("a", DType::kF32, {4});
                n.input("a", DType::kF32, {4});
              }),
              HasSubstr("taken"));
  Network net;
  EXPECT_FALSE(net.set_weight("w", DType::kF32, {4}, {}).ok());
}

TEST(Functional, ShapesOfTheOtherOps) {
  Network net;
  const Tensor x = net.input("x", DType::kF32, {"t", 8, 6});
  const auto type = [&](Tensor t) {
    return net.status().ok()
               ? type_text(net.impl().graph.value(t.value()).type, net.impl().graph.symbols)
               : net.status().error().message;
  };
  EXPECT_EQ(type(transpose(x, {1, 0, -1})), "f32[8, t, 6]");
  EXPECT_EQ(type(slice(x, 1, 2, 3)), "f32[t, 3, 6]");
  EXPECT_EQ(type(concat({x, x, x}, 0)), "f32[t*3, 8, 6]");
  EXPECT_EQ(type(reshape(x, {"t", -1})), "f32[t, 48]");
  EXPECT_EQ(type(sum(x, -1)), "f32[t, 8]");
  EXPECT_EQ(type(max(x, 1, true)), "f32[t, 1, 6]");
  EXPECT_EQ(type(softmax(x)), "f32[t, 8, 6]");
  EXPECT_EQ(type(topk(x, 4).second), "i32[t, 8, 4]");
  EXPECT_EQ(type(cast(x, DType::kBf16)), "bf16[t, 8, 6]");
  EXPECT_EQ(type(conv(x, net.weight("k", DType::kF32, {4, 8, 3}), {1}, {1})), "f32[t, 4, 6]");
  EXPECT_EQ(type(layer_norm(x, net.weight("n", DType::kF32, {6}), Tensor(), 1e-5)), "f32[t, 8, 6]");
  EXPECT_TRUE(ir::verify(net.impl().graph).ok()) << ir::verify(net.impl().graph).error().message;
}

TEST(TransformerOps, OneAttentionLayer) {
  Network net;
  const auto step = ir::add_step_inputs(net, 16);
  const Tensor x = net.input("x", DType::kF32, {"tokens", 64});
  RopeSpec spec;
  spec.rotary_dim = 16;
  const Tensor table = ir::rope_table(step, spec);
  AttentionDesc desc;
  desc.num_heads = 4, desc.num_kv_heads = 2, desc.head_dim = desc.v_head_dim = 16;
  const Tensor k =
      ir::rope(matmul(x, net.weight("k", DType::kF32, {32, 64}), true), table, {2, 16, 16, false});
  const Tensor v = matmul(x, net.weight("v", DType::kF32, {32, 64}), true);
  ir::kv_append(k, v, step, desc);
  net.mark_output("y", ir::paged_attention(x, step, Tensor(), desc));
  ASSERT_TRUE(net.status().ok()) << net.status().error().message;
  ASSERT_TRUE(ir::verify(net.impl().graph).ok());
  const auto again = ir::parse(net.text());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(ir::print(*again), net.text());
  desc.num_kv_heads = 3;
  ir::kv_append(k, v, step, desc);
  EXPECT_THAT(net.status().error().message, HasSubstr("num_kv_heads=3"));
}

}  // namespace
}  // namespace ramjet

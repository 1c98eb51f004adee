#include <gtest/gtest.h>

#include <cmath>

#include "op/dim.h"
#include "op/fields.h"
#include "op/rope.h"

namespace ramjet {
namespace {

TEST(Dim, TextRoundTrips) {
  const std::vector<Symbol> symbols = {{"tokens", 1, 8, 64}, {"rows", 1, 1, 4}};
  for (const char* text : {"tokens", "tokens*8", "rows*3-2", "tokens+1", "17"}) {
    Result<Dim> dim = parse_dim(text, symbols);
    ASSERT_TRUE(dim.ok()) << text;
    EXPECT_EQ(dim_text(*dim, symbols), text);
  }
  const int64_t values[] = {5, 2};
  EXPECT_EQ(parse_dim("tokens*8+1", symbols)->evaluate(values), 41);
  EXPECT_FALSE(parse_dim("heads", symbols).ok());
  EXPECT_FALSE(parse_dim("tokens*", symbols).ok());
  EXPECT_EQ(type_text(*parse_type("bf16[tokens, 4]", symbols), symbols), "bf16[tokens, 4]");
  EXPECT_FALSE(parse_type("bf16[1,1,1,1,1,1,1]", symbols).ok());
}

TEST(PointwiseProgram, TextRoundTripsAndEvaluates) {
  const char* text = "2: r2=silu(r0) r3=const(0.5) r4=mul(r2,r1) r5=add(r4,r3) -> r5,r2";
  Result<PointwiseProgram> program = PointwiseProgram::parse(text);
  ASSERT_TRUE(program.ok());
  EXPECT_EQ(program->text(), text);
  const float in[] = {2.0f, 3.0f};
  float out[2];
  program->evaluate(in, out);
  const float silu = 2.0f / (1.0f + std::exp(-2.0f));
  EXPECT_FLOAT_EQ(out[0], silu * 3.0f + 0.5f);
  EXPECT_FLOAT_EQ(out[1], silu);
}

TEST(PointwiseProgram, BadTextsAreRefused) {
  for (const char* text : {"2: r2=silu(r5) -> r2", "2: r3=silu(r0) -> r3", "1: -> r4", "x",
                           "2:", "2: r2=add(r0) -> r2", "2: r2=nope(r0) -> r2", "-1: -> r0"}) {
    EXPECT_FALSE(PointwiseProgram::parse(text).ok()) << text;
  }
}

TEST(Fields, EveryOpRoundTripsThroughText) {
  QkvDesc qkv;
  qkv.attention.num_heads = 32;
  qkv.attention.scale = 0.1234567890123;
  qkv.qk_norm = true;
  qkv.norm.kind = NormKind::kLayer;
  RopeSpec rope;
  rope.kind = RopeKind::kLongrope;
  rope.long_factors = {1.5, 2.25};
  MatmulDesc matmul;
  matmul.quant = WeightQuant::kInt8Channel;
  matmul.epilogue = PointwiseProgram::single(PointwiseOp::kGeluTanh);
  const std::pair<OpKind, OpAttrs> cases[] = {
      {OpKind::kQkvRopeAppend, qkv}, {OpKind::kRopeTable, rope}, {OpKind::kMatmul, matmul}};
  for (const auto& [op, attrs] : cases) {
    Result<OpAttrs> parsed = parse_attrs(op, attrs_text(attrs));
    ASSERT_TRUE(parsed.ok()) << attrs_text(attrs);
    EXPECT_TRUE(attrs_equal(*parsed, attrs)) << attrs_text(*parsed);
    EXPECT_EQ(attrs_hash(*parsed), attrs_hash(attrs));
    EXPECT_FALSE(attrs_equal(default_attrs(op), attrs));
  }
  EXPECT_EQ(attrs_text(default_attrs(OpKind::kMatmul)), "");
  EXPECT_FALSE(parse_attrs(OpKind::kMatmul, "nope=1").ok());
  EXPECT_FALSE(parse_attrs(OpKind::kMatmul, "accumulators=x").ok());
  EXPECT_FALSE(parse_attrs(OpKind::kMatmul, "prologue=\"x").ok());
}

TEST(Rope, Llama3KeepsHighAndDividesLowFrequencies) {
  RopeSpec spec{.kind = RopeKind::kLlama3, .rotary_dim = 128, .theta = 500000, .factor = 8};
  spec.original_max_position = 8192;
  std::vector<float> scaled(64), plain(64);
  EXPECT_EQ(rope_inv_freq(spec, 1, scaled), 1.0f);
  spec.kind = RopeKind::kDefault;
  rope_inv_freq(spec, 1, plain);
  EXPECT_EQ(scaled[0], plain[0]);
  EXPECT_FLOAT_EQ(scaled[63], plain[63] / 8);
  EXPECT_LT(scaled[32], plain[32]);
}

TEST(Rope, DynamicStretchesOnlyPastTheOriginalContext) {
  RopeSpec spec{.kind = RopeKind::kDynamic, .rotary_dim = 64, .theta = 10000, .factor = 2};
  spec.original_max_position = 100;
  std::vector<float> near(32), far(32);
  rope_inv_freq(spec, 100, near);
  rope_inv_freq(spec, 200, far);
  EXPECT_FLOAT_EQ(near[31], static_cast<float>(std::pow(10000.0, -62.0 / 64)));
  EXPECT_FLOAT_EQ(far[31],
                  static_cast<float>(std::pow(10000.0 * std::pow(3.0, 64.0 / 62), -62.0 / 64)));
}

}  // namespace
}  // namespace ramjet

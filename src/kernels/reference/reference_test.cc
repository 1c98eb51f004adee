// Checks the oracle by hand-computed values and by closed forms.
#include "kernels/reference/reference.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/thread_pool.h"
#include "kernels/kernel_test_util.h"

namespace ramjet::kernels {
namespace {

constexpr DType kF32 = DType::kF32;

std::vector<float> run(OpKind op, OpAttrs attrs, std::vector<TestTensor> inputs,
                       std::vector<TestTensor> outputs, size_t which = 0) {
  OpCase test_case{op, std::move(attrs), std::move(inputs), std::move(outputs), {}, ""};
  EXPECT_TRUE(reference_tactic(op)->supports(test_case.desc()));
  return test_case.run_reference().outputs[which].values();
}

TEST(Reference, MatmulBothOrders) {
  const auto a = TestTensor::of(kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  const auto b = TestTensor::of(kF32, {2, 3}, {1, 0, 2, -1, 1, 0});
  const std::vector<float> want = {7, 1, 16, 1};
  EXPECT_EQ(run(OpKind::kMatmul, MatmulDesc{}, {a, b}, {TestTensor(kF32, {2, 2})}), want);
  const auto bt = TestTensor::of(kF32, {3, 2}, {1, -1, 0, 1, 2, 0});
  MatmulDesc desc;
  desc.transpose_b = false;
  EXPECT_EQ(run(OpKind::kMatmul, desc, {a, bt}, {TestTensor(kF32, {2, 2})}), want);
}

TEST(Reference, MatmulBroadcastsBatches) {
  const auto a = TestTensor::of(kF32, {2, 1, 2}, {1, 2, 3, 4});
  const auto b = TestTensor::of(kF32, {2, 1, 2}, {1, 1, 2, 0});
  EXPECT_EQ(run(OpKind::kMatmul, MatmulDesc{}, {a, b}, {TestTensor(kF32, {2, 1, 1})}),
            (std::vector<float>{3, 6}));
}

TEST(Reference, MatmulFusedFormWithInt8AndTwoAccumulators) {
  MatmulDesc desc;
  desc.quant = WeightQuant::kInt8Channel;
  desc.accumulators = 2;
  desc.prologue_operands = 1;
  desc.prologue = PointwiseProgram::parse("2: r2=add(r0,r1) -> r2").value();
  desc.epilogue = PointwiseProgram::parse("3: r3=mul(r0,r1) r4=add(r3,r2) -> r4,r0").value();
  const auto a = TestTensor::of(kF32, {1, 2}, {0, 1});
  const auto b = TestTensor::of(DType::kI8, {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});  // gate, up
  const auto scales = TestTensor::of(kF32, {4}, {1, 0.5, 1, 2});
  const auto one = TestTensor::of(kF32, {1}, {1});
  const auto bias = TestTensor::of(kF32, {2}, {10, 20});
  // a + 1 = (1, 2): gates 5, 5.5; ups 17, 46
  const std::vector<TestTensor> outputs = {TestTensor(kF32, {1, 2}), TestTensor(kF32, {1, 2})};
  const std::vector<TestTensor> inputs = {a, b, scales, one, bias};
  EXPECT_EQ(run(OpKind::kMatmul, desc, inputs, outputs), (std::vector<float>{95, 273}));
  EXPECT_EQ(run(OpKind::kMatmul, desc, inputs, outputs, 1), (std::vector<float>{5, 5.5}));
}

TEST(Reference, MatmulOfFp8ScalesRowsOfBoth) {
  MatmulDesc desc;
  desc.quant = WeightQuant::kFp8Channel;
  desc.epilogue = PointwiseProgram::parse("2: r2=add(r0,r1) -> r2").value();
  constexpr DType kF8 = DType::kF8E4M3;
  const auto a = TestTensor::of(kF8, {2, 3}, {1, -2, 448, 0.5, 0, -448});
  const auto b = TestTensor::of(kF8, {2, 3}, {1, 2, 0, 0.25, -1, 0.001953125});  // 2^-9: the least
  const auto scales = TestTensor::of(kF32, {2}, {10, 4});
  const auto tokens = TestTensor::of(kF32, {2}, {1, 0.5});
  const auto residual = TestTensor::of(kF32, {2, 2}, {1, 2, 3, 4});
  // Sums -3, 3.125; 0.5, -0.75.
  EXPECT_EQ(
      run(OpKind::kMatmul, desc, {a, b, scales, tokens, residual}, {TestTensor(kF32, {2, 2})}),
      (std::vector<float>{-29, 14.5, 5.5, 2.5}));
}

TEST(Reference, QuantizeScalesTokensByTheirLargest) {
  const auto x = TestTensor::of(kF32, {3, 4}, {896, -2, 0, 34, 0, 0, 0, 0, 1, -7, 3.5, 0.4375});
  const std::vector<TestTensor> outputs = {TestTensor(DType::kF8E4M3, {3, 4}),
                                           TestTensor(kF32, {3})};
  EXPECT_EQ(run(OpKind::kQuantize, {}, {x}, outputs),
            (std::vector<float>{448, -1, 0, 16, 0, 0, 0, 0, 64, -448, 224, 28}));
  EXPECT_EQ(run(OpKind::kQuantize, {}, {x}, outputs, 1), (std::vector<float>{2, 1, 1.0f / 64}));
}

TEST(Reference, PointwiseBroadcasts) {
  const PointwiseDesc desc{PointwiseProgram::parse("2: r2=mul(r0,r1) -> r2").value()};
  const auto column = TestTensor::of(kF32, {2, 1}, {1, 2});
  const auto row = TestTensor::of(kF32, {3}, {1, 2, 3});
  EXPECT_EQ(run(OpKind::kPointwise, desc, {column, row}, {TestTensor(kF32, {2, 3})}),
            (std::vector<float>{1, 2, 3, 2, 4, 6}));
}

TEST(Reference, NormsAndAddNorm) {
  NormDesc rms;
  rms.eps = 0;
  rms.weight_offset = 1;
  const auto x = TestTensor::of(kF32, {1, 2}, {3, 4});
  const auto weight = TestTensor::of(kF32, {2}, {0, 1});
  const float root = std::sqrt(12.5f);
  const auto got = run(OpKind::kNorm, rms, {x, weight}, {TestTensor(kF32, {1, 2})});
  EXPECT_FLOAT_EQ(got[0], 3 / root);
  EXPECT_FLOAT_EQ(got[1], 8 / root);
  const auto y = TestTensor::of(kF32, {1, 2}, {-2, 0});
  const std::vector<TestTensor> outputs = {TestTensor(kF32, {1, 2}), TestTensor(kF32, {1, 2})};
  EXPECT_EQ(run(OpKind::kAddNorm, rms, {x, y, weight}, outputs), (std::vector<float>{1, 4}));
  EXPECT_FLOAT_EQ(run(OpKind::kAddNorm, rms, {x, y, weight}, outputs, 1)[1], 8 / std::sqrt(8.5f));
  NormDesc layer;
  layer.kind = NormKind::kLayer;
  layer.eps = 0;
  const auto bias = TestTensor::of(kF32, {2}, {5, 6});
  EXPECT_EQ(run(OpKind::kNorm, layer, {x, weight, bias}, {TestTensor(kF32, {1, 2})}),
            (std::vector<float>{5, 7}));
}

TEST(Reference, LookupsAndCopies) {
  const auto table = TestTensor::of(kF32, {3, 2}, {0, 1, 2, 3, 4, 5});
  EmbeddingDesc scaled;
  scaled.scale = 2;
  EXPECT_EQ(run(OpKind::kEmbedding, scaled, {TestTensor::ints({2}, {2, 0}), table},
                {TestTensor(kF32, {2, 2})}),
            (std::vector<float>{8, 10, 0, 2}));
  EXPECT_EQ(run(OpKind::kGatherRows, {}, {table, TestTensor::ints({2}, {1, 1})},
                {TestTensor(kF32, {2, 2})}),
            (std::vector<float>{2, 3, 2, 3}));
  EXPECT_EQ(run(OpKind::kTranspose, TransposeDesc{{1, 0}}, {table}, {TestTensor(kF32, {2, 3})}),
            (std::vector<float>{0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(run(OpKind::kSlice, SliceDesc{1, 1, 1}, {table}, {TestTensor(kF32, {3, 1})}),
            (std::vector<float>{1, 3, 5}));
  const auto column = TestTensor::of(kF32, {3, 1}, {7, 8, 9});
  EXPECT_EQ(run(OpKind::kConcat, AxisDesc{-1}, {table, column}, {TestTensor(kF32, {3, 3})}),
            (std::vector<float>{0, 1, 7, 2, 3, 8, 4, 5, 9}));
  EXPECT_EQ(run(OpKind::kReshape, {}, {table}, {TestTensor(kF32, {6})}), table.values());
}

TEST(Reference, ReductionsSoftmaxTopk) {
  const auto x = TestTensor::of(kF32, {2, 3}, {1, 5, 3, -1, -1, 2});
  const auto reduce = [&](ReduceKind kind, int64_t axis, Shape shape) {
    return run(OpKind::kReduce, ReduceDesc{kind, axis, false}, {x}, {TestTensor(kF32, shape)});
  };
  EXPECT_EQ(reduce(ReduceKind::kSum, 1, {2}), (std::vector<float>{9, 0}));
  EXPECT_EQ(reduce(ReduceKind::kMean, -1, {2}), (std::vector<float>{3, 0}));
  EXPECT_EQ(reduce(ReduceKind::kMax, 0, {3}), (std::vector<float>{1, 5, 3}));
  EXPECT_EQ(reduce(ReduceKind::kMin, 0, {3}), (std::vector<float>{-1, -1, 2}));
  const auto soft = run(OpKind::kSoftmax, AxisDesc{-1}, {x}, {TestTensor(kF32, {2, 3})});
  EXPECT_NEAR(soft[1], 1 / (1 + std::exp(-2.0) + std::exp(-4.0)), 1e-6);
  const std::vector<TestTensor> outputs = {TestTensor(kF32, {2, 2}),
                                           TestTensor(DType::kI32, {2, 2})};
  EXPECT_EQ(run(OpKind::kTopk, TopkDesc{2}, {x}, outputs), (std::vector<float>{5, 3, 2, -1}));
  EXPECT_EQ(run(OpKind::kTopk, TopkDesc{2}, {x}, outputs, 1), (std::vector<float>{1, 2, 2, 0}));
}

TEST(Reference, Convolutions) {
  const auto x = TestTensor::of(kF32, {1, 1, 4}, {1, 2, 3, 4});
  const auto w = TestTensor::of(kF32, {1, 1, 2}, {1, -1});
  EXPECT_EQ(run(OpKind::kConv, ConvDesc{{2}, {1}, {1}, 1}, {x, w}, {TestTensor(kF32, {1, 1, 3})}),
            (std::vector<float>{-1, -1, 4}));
  const auto image = TestTensor::of(kF32, {1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto depthwise = TestTensor::of(kF32, {2, 1, 1, 2}, {1, 1, 1, 0});
  EXPECT_EQ(run(OpKind::kConv, ConvDesc{{}, {}, {}, 2}, {image, depthwise},
                {TestTensor(kF32, {1, 2, 2, 1})}),
            (std::vector<float>{3, 7, 5, 7}));
}

/// One sequence of three positions, the last two are rows of this step; blocks of 2 in order 1, 0.
struct TinyCache {
  AttentionDesc desc{.num_heads = 2, .num_kv_heads = 1, .head_dim = 2, .v_head_dim = 2};
  TestTensor starts = TestTensor::ints({2}, {0, 2});
  TestTensor lengths = TestTensor::ints({1}, {3});
  TestTensor blocks = TestTensor::ints({1, 2}, {1, 0});
  TestKv kv;
  TinyCache() {
    kv.view = {nullptr, kF32, 1, 2, 2, 64, 32, 16};
    kv.bytes.assign(64, std::byte{0});
    const float k0[] = {1, 0}, v0[] = {10, 20};  // position 0: block 1, token 0
    std::memcpy(kv.bytes.data() + 32, k0, 8);
    std::memcpy(kv.bytes.data() + 48, v0, 8);
  }
};

TEST(Reference, AppendThenAttend) {
  TinyCache tiny;
  OpCase append{OpKind::kKvAppend, tiny.desc, {}, {}, {tiny.kv}, ""};
  append.inputs = {TestTensor::of(kF32, {2, 2}, {0, 1, 1, 1}),
                   TestTensor::of(kF32, {2, 2}, {30, 40, 50, 60}), tiny.starts, tiny.lengths,
                   tiny.blocks};
  const OpCase cached = append.run_reference();
  const auto* cache = reinterpret_cast<const float*>(cached.kv[0].bytes.data());
  EXPECT_EQ(std::vector<float>(cache, cache + 16),
            (std::vector<float>{1, 1, 0, 0, 50, 60, 0, 0, 1, 0, 0, 1, 10, 20, 30, 40}));

  OpCase attend{OpKind::kPagedAttention, tiny.desc, {}, {TestTensor(kF32, {2, 4})}, cached.kv, ""};
  attend.inputs = {TestTensor::of(kF32, {2, 4}, {0, 0, 50, 0, 0, 0, -50, -50}), tiny.starts,
                   tiny.lengths, tiny.blocks};
  const std::vector<float> out = attend.run_reference().outputs[0].values();
  EXPECT_EQ((std::vector<float>{out[0], out[1], out[2], out[3]}),
            (std::vector<float>{20, 30, 10, 20}));  // mean of two; all weight on position 0
  EXPECT_FLOAT_EQ(out[4], 30);
  EXPECT_FLOAT_EQ(out[6], 20);  // positions 0 and 1 tie, 2 is far below

  std::get<AttentionDesc>(attend.attrs).window = 1;
  EXPECT_EQ(attend.run_reference().outputs[0].values()[0], 30);
  auto& desc = std::get<AttentionDesc>(attend.attrs);
  desc.window = 0, desc.sinks = true, desc.softcap = 1;
  attend.inputs.push_back(TestTensor::of(kF32, {2}, {0, -INFINITY}));
  const std::vector<float> sunk = attend.run_reference().outputs[0].values();
  EXPECT_FLOAT_EQ(sunk[0], 40.0f / 3);  // two keys and the sink share
  EXPECT_NEAR(sunk[2], (10 * std::exp(1.0) + 30) / (std::exp(1.0) + 1), 1e-4);
}

TEST(Reference, QkvRopeAppendEqualsItsParts) {
  const int64_t dim = 8, heads = 4, kv_heads = 2, rows = 5;
  AttentionDesc attention{
      .num_heads = heads, .num_kv_heads = kv_heads, .head_dim = dim, .v_head_dim = dim};
  RopeSpec spec;
  spec.rotary_dim = 6;
  const auto starts = TestTensor::ints({3}, {0, 4, 5}), lengths = TestTensor::ints({2}, {4, 7});
  const auto positions = TestTensor::ints({rows}, {0, 1, 2, 3, 6});
  const auto blocks = TestTensor::ints({2, 2}, {2, 0, 1, 3});
  OpCase table{OpKind::kRopeTable,
               spec,
               {positions, starts, lengths},
               {TestTensor(kF32, {rows, 6})},
               {},
               ""};
  const TestTensor angles = table.run_reference().outputs[0];
  EXPECT_FLOAT_EQ(angles.values()[4 * 6], std::cos(6.0f));
  EXPECT_FLOAT_EQ(angles.values()[4 * 6 + 3], std::sin(6.0f));

  TestKv kv;
  const int64_t half_block = kv_heads * 4 * dim * 4;
  kv.view = {nullptr, kF32, 1, 4, 4, half_block * 8, half_block * 2, half_block};
  kv.bytes.assign(static_cast<size_t>(half_block * 8), std::byte{0});
  const TestTensor qkv = random_tensor(kF32, {rows, (heads + 2 * kv_heads) * dim});
  OpCase fused{OpKind::kQkvRopeAppend,
               QkvDesc{attention, 6, true, false, {}},
               {qkv, angles, starts, lengths, blocks},
               {TestTensor(kF32, {rows, heads * dim})},
               {kv},
               ""};
  const OpCase got = fused.run_reference();

  const auto part = [&](int64_t first, int64_t count) {
    return TestTensor::of(kF32, {rows, count * dim},
                          run(OpKind::kSlice, SliceDesc{1, first * dim, count * dim}, {qkv},
                              {TestTensor(kF32, {rows, count * dim})}));
  };
  const auto rotated = [&](const TestTensor& x, int64_t count) {
    return TestTensor::of(kF32, {rows, count * dim},
                          run(OpKind::kRope, RopeDesc{count, dim, 6, true}, {x, angles},
                              {TestTensor(kF32, {rows, count * dim})}));
  };
  EXPECT_EQ(got.outputs[0].values(), rotated(part(0, heads), heads).values());
  OpCase append{OpKind::kKvAppend,
                attention,
                {rotated(part(heads, kv_heads), kv_heads), part(heads + kv_heads, kv_heads), starts,
                 lengths, blocks},
                {},
                {kv},
                ""};
  EXPECT_TRUE(append.run_reference().kv[0].bytes == got.kv[0].bytes);
}

}  // namespace
}  // namespace ramjet::kernels

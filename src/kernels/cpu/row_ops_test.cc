#include <gtest/gtest.h>

#include <cmath>

#include "base/thread_pool.h"
#include "kernels/kernel_test_util.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {
namespace {

constexpr DType kReal[] = {DType::kF32, DType::kBf16, DType::kF16};
constexpr Tolerance kTolerance = {1e-5, 1e-5};
DType any_real() { return kReal[pick(0, 2)]; }
/// Half a unit of a 16-bit result may round the other way when f32 differs in its last bits.
OpCase op_case(OpKind op, OpAttrs attrs, std::vector<TestTensor> inputs,
               std::vector<TestTensor> outputs, std::string label = "") {
  return {op, std::move(attrs), std::move(inputs), std::move(outputs), {}, std::move(label)};
}

std::vector<float> special_values() {
  std::vector<float> values = {0.0f,   -0.0f, INFINITY, -INFINITY, NAN,     1e-42f,  -1e-42f, 1e38f,
                               -1e38f, 88.5f, 89.5f,    -87.5f,    -103.5f, -110.0f, 0.64f,   0.66f,
                               0.90f,  0.92f, 4.5f,     -4.5f,     1.0f,    -1.0f};
  for (int i = 0; i < 40; ++i) values.push_back(uniform(-100, 100));
  for (int i = 0; i < 40; ++i) values.push_back(uniform(-3, 3));
  for (int i = 0; i < 10; ++i) values.push_back(uniform(-1e5f, 1e5f));
  return values;
}

/// Distance in units in the last place; 0 for two NaNs.
double ulps(float want, float got) {
  if (std::isnan(want) && std::isnan(got)) return 0;
  if (want == got) return 0;
  if (!std::isfinite(want) || !std::isfinite(got)) return INFINITY;
  const float gap = std::nextafter(std::abs(want), INFINITY) - std::abs(want);
  return std::abs(double{want} - double{got}) / gap;
}

TEST(CpuPointwise, EveryOpOnSpecialValues) {
  const std::vector<float> a = special_values();
  const auto n = static_cast<int64_t>(a.size());
  std::vector<float> b = a, c = a;
  std::shuffle(b.begin(), b.end(), rng());
  std::shuffle(c.begin(), c.end(), rng());
  ThreadPool pool(1);
  for (int i = 0; i <= static_cast<int>(PointwiseOp::kCastF16); ++i) {
    const auto op = static_cast<PointwiseOp>(i);
    const PointwiseDesc desc{PointwiseProgram::single(op)};
    std::vector<TestTensor> inputs;
    for (const auto& values : {a, b, c}) {
      if (static_cast<int>(inputs.size()) < pointwise_arity(op)) {
        inputs.push_back(TestTensor::of(DType::kF32, {n}, values));
      }
    }
    OpCase test = op_case(OpKind::kPointwise, desc, inputs, {TestTensor(DType::kF32, {n})});
    const std::vector<float> want = test.run_reference().outputs[0].values();
    for (const Tactic* tactic : find_tactics(test.desc(), Target::host())) {
      const std::vector<float> got = test.run(*tactic, pool).outputs[0].values();
      for (size_t k = 0; k < want.size(); ++k) {
        const bool periodic = op == PointwiseOp::kSin || op == PointwiseOp::kCos;
        const bool near = periodic && std::abs(want[k] - got[k]) < 2e-7f;
        // 1 + tanh and 1 + erf cancel on the negative side, as their f32 definitions do.
        const bool gelu = (op == PointwiseOp::kGelu || op == PointwiseOp::kGeluTanh) &&
                          std::abs(want[k] - got[k]) < 3e-7f * std::max(1.0f, std::abs(a[k]));
        EXPECT_TRUE(near || gelu || ulps(want[k], got[k]) <= 3)
            << tactic->name << " " << pointwise_name(op) << "(" << a[k] << ", " << b[k]
            << "): want " << want[k] << ", got " << got[k];
      }
    }
  }
}

PointwiseProgram random_program(int inputs, int instrs) {
  PointwiseProgram program;
  program.num_inputs = inputs;
  constexpr PointwiseOp kOps[] = {PointwiseOp::kAdd,  PointwiseOp::kMul,     PointwiseOp::kSub,
                                  PointwiseOp::kMax,  PointwiseOp::kTanh,    PointwiseOp::kSigmoid,
                                  PointwiseOp::kSilu, PointwiseOp::kGelu,    PointwiseOp::kSquare,
                                  PointwiseOp::kNeg,  PointwiseOp::kGeluTanh};
  for (int i = 0; i < instrs; ++i) {
    PointwiseInstr instr{.op = kOps[pick(0, std::size(kOps) - 1)]};
    const auto reg = [&] { return static_cast<int16_t>(pick(0, inputs + i - 1)); };
    instr.a = reg();
    if (pointwise_arity(instr.op) > 1) instr.b = reg();
    program.instrs.push_back(instr);
  }
  program.outputs = {static_cast<int16_t>(inputs + instrs - 1), static_cast<int16_t>(inputs)};
  return program;
}

TEST(CpuPointwise, RandomProgramsOverEveryBroadcast) {
  for (int round = 0; round < 20; ++round) {
    const int rank = static_cast<int>(pick(1, 4));
    Shape out;
    for (int i = 0; i < rank; ++i) out.push_back(pick(1, i + 1 == rank ? 700 : 5));
    std::vector<TestTensor> inputs;
    for (int i = 0; i < 3; ++i) {
      Shape shape;
      for (int j = static_cast<int>(pick(0, rank)); j < rank; ++j) {
        shape.push_back(pick(0, 2) == 0 ? 1 : out[j]);
      }
      inputs.push_back(random_tensor(any_real(), shape));
    }
    const PointwiseDesc desc{random_program(3, static_cast<int>(pick(1, 6)))};
    OpCase test = op_case(OpKind::kPointwise, desc, inputs,
                          {TestTensor(any_real(), out), TestTensor(DType::kF32, out)}, out.text());
    expect_all_match(test, {1e-5, 1e-4});
  }
}

TEST(CpuPointwise, IntegersAreOperands) {
  const PointwiseDesc desc{PointwiseProgram::single(PointwiseOp::kAdd)};
  OpCase test = op_case(
      OpKind::kPointwise, desc,
      {TestTensor::ints({5}, {1, -2, 3, 70000, 5}), TestTensor::of(DType::kF32, {1}, {0.5f})},
      {TestTensor(DType::kF32, {5})});
  EXPECT_GE(expect_all_match(test, {0, 0}), 1);
}

/// Eight bits and scales as the oracle's: equal for `quantize`, and to a step of e4m3 where a sum
/// in another order may have turned a tie.
void expect_quantized(OpCase test, size_t values, bool exact) {
  ThreadPool pool(2);
  const OpCase want = test.run_reference();
  int ran = 0;
  for (const Tactic* tactic : find_tactics(test.desc(), Target::host())) {
    if (tactic == reference_tactic(test.op)) continue;
    ++ran;
    const OpCase got = test.run(*tactic, pool);
    const auto scales = want.outputs[values + 1].values(), ours = got.outputs[values + 1].values();
    for (size_t i = 0; i < scales.size(); ++i) {
      if (std::isnan(scales[i])) EXPECT_TRUE(std::isnan(ours[i])) << tactic->name;
      if (!std::isnan(scales[i])) EXPECT_LE(ulps(scales[i], ours[i]), exact ? 0 : 40) << test.label;
    }
    const auto bits = want.outputs[values].values(), our_bits = got.outputs[values].values();
    int64_t turned = 0;
    for (size_t i = 0; i < bits.size(); ++i) {
      if (std::isnan(bits[i]) && std::isnan(our_bits[i])) continue;
      if (bits[i] == our_bits[i]) continue;
      ++turned;
      EXPECT_LE(std::abs(bits[i] - our_bits[i]), 0.002f + 0.13f * std::abs(bits[i])) << test.label;
    }
    EXPECT_LE(turned, exact ? 0 : 2 + static_cast<int64_t>(bits.size()) / 100) << tactic->name;
    if (values == 1) EXPECT_EQ(want.outputs[0].bytes, got.outputs[0].bytes) << "the sum";
  }
  if (machine_isas().empty()) GTEST_SKIP() << "no AVX2 here";
  EXPECT_GE(ran, 1);
}

TEST(CpuRows, QuantizedRows) {
  for (int64_t width : {1, 16, 33, 384, 2048}) {
    const int64_t rows = pick(2, 9);
    const auto results = [&] {
      return std::vector<TestTensor>{TestTensor(DType::kF8E4M3, {rows, width}),
                                     TestTensor(DType::kF32, {rows})};
    };
    TestTensor x = random_tensor(DType::kF32, {rows, width}, -3, 3);
    auto* element = x.view.as<float>();
    element[0] = INFINITY, element[width] = NAN;
    expect_quantized(op_case(OpKind::kQuantize, {}, {x}, results()), 0, true);
    NormDesc norm;
    norm.quant = ActivationQuant::kFp8Token;
    const TestTensor rows_in = random_tensor(any_real(), {rows, width}, -3, 3);
    const TestTensor weight = random_tensor(any_real(), {width}, 0.5f, 2);
    expect_quantized(op_case(OpKind::kNorm, norm, {rows_in, weight}, results()), 0, false);
    auto outputs = results();
    outputs.insert(outputs.begin(), TestTensor(DType::kBf16, {rows, width}));
    const TestTensor other = random_tensor(any_real(), {rows, width}, -3, 3);
    expect_quantized(op_case(OpKind::kAddNorm, norm, {rows_in, other, weight}, outputs), 1, false);
  }
}

TEST(CpuRows, NormsOfEveryKindAndWidth) {
  for (NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (int64_t width : {1, 7, 16, 64, 80, 1000, 2048}) {
      NormDesc desc;
      desc.kind = kind, desc.weight_offset = static_cast<double>(pick(0, 1));
      const int64_t rows = pick(1, 9);
      std::vector<TestTensor> inputs = {random_tensor(any_real(), {rows, width}, -3, 3),
                                        random_tensor(any_real(), {width})};
      if (kind == NormKind::kLayer) inputs.push_back(random_tensor(any_real(), {width}));
      const Tolerance tolerance = {width == 1 ? 1e-2 : 2e-5, 2e-5};
      expect_all_match(
          op_case(OpKind::kNorm, desc, inputs, {TestTensor(any_real(), {rows, width})}), tolerance);
      const DType sum = any_real();
      inputs.insert(inputs.begin() + 1, random_tensor(sum, {rows, width}, -3, 3));
      expect_all_match(op_case(OpKind::kAddNorm, desc, inputs,
                               {TestTensor(sum, {rows, width}), TestTensor(sum, {rows, width})}),
                       tolerance);
    }
  }
}

TEST(CpuRows, EmbeddingSoftmaxReduce) {
  for (int round = 0; round < 8; ++round) {
    const int64_t vocab = pick(1, 50), width = pick(1, 130), rows = pick(1, 20);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < rows; ++i) ids.push_back(static_cast<int32_t>(pick(0, vocab - 1)));
    EmbeddingDesc desc;
    desc.scale = pick(0, 1) == 0 ? 1.0 : 3.5;
    expect_all_match(
        op_case(OpKind::kEmbedding, desc,
                {TestTensor::ints({rows}, ids), random_tensor(any_real(), {vocab, width})},
                {TestTensor(any_real(), {rows, width})}),
        kTolerance);
    const TestTensor x = random_tensor(any_real(), {rows, width}, -20, 20);
    expect_all_match(
        op_case(OpKind::kSoftmax, AxisDesc{-1}, {x}, {TestTensor(any_real(), {rows, width})}),
        kTolerance);
    for (ReduceKind kind :
         {ReduceKind::kSum, ReduceKind::kMean, ReduceKind::kMax, ReduceKind::kMin}) {
      expect_all_match(op_case(OpKind::kReduce, ReduceDesc{kind, -1, false}, {x},
                               {TestTensor(any_real(), {rows})}),
                       {1e-4, 1e-5});
    }
  }
}

TEST(CpuRows, ReductionsPropagateNan) {
  for (size_t at : {0u, 20u, 36u}) {
    std::vector<float> values(37, 1.0f);
    values[at] = NAN;
    for (ReduceKind kind : {ReduceKind::kMax, ReduceKind::kMin, ReduceKind::kSum}) {
      expect_all_match(
          op_case(OpKind::kReduce, ReduceDesc{kind, -1, false},
                  {TestTensor::of(DType::kF32, {1, 37}, values)}, {TestTensor(DType::kF32, {1})}),
          kTolerance);
    }
  }
}

TEST(CpuRows, RopeTableOfEveryKind) {
  for (RopeKind kind : {RopeKind::kDefault, RopeKind::kLinear, RopeKind::kDynamic,
                        RopeKind::kLlama3, RopeKind::kYarn, RopeKind::kLongrope}) {
    for (int64_t rotary : {8, 22, 64, 128}) {
      RopeSpec spec;
      spec.kind = kind, spec.rotary_dim = rotary, spec.theta = 500000, spec.factor = 4;
      spec.original_max_position = 64;
      spec.short_factors.assign(static_cast<size_t>(rotary / 2), 1.5);
      spec.long_factors.assign(static_cast<size_t>(rotary / 2), 2.5);
      const auto starts = TestTensor::ints({4}, {0, 3, 3, 5});
      const auto lengths = TestTensor::ints({3}, {3, 9, 90000});
      const auto positions = TestTensor::ints({5}, {0, 1, 2, 89998, 89999});
      expect_all_match(op_case(OpKind::kRopeTable, spec, {positions, starts, lengths},
                               {TestTensor(DType::kF32, {5, rotary})}),
                       {2e-6, 0});
    }
  }
}

TEST(CpuRows, RopeBothWays) {
  for (bool interleaved : {false, true}) {
    for (int64_t dim : {8, 16, 64, 80}) {
      const int64_t rotary = pick(1, dim / 2) * 2, heads = pick(1, 5), rows = pick(1, 9);
      expect_all_match(op_case(OpKind::kRope, RopeDesc{heads, dim, rotary, interleaved},
                               {random_tensor(any_real(), {rows, heads * dim}),
                                random_tensor(DType::kF32, {rows, rotary})},
                               {TestTensor(any_real(), {rows, heads * dim})}),
                       kTolerance);
    }
  }
}

}  // namespace
}  // namespace ramjet::kernels

#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layouts.h"
#include "kernels/kernel_test_util.h"

namespace ramjet::kernels {
namespace {

constexpr DType kReal[] = {DType::kF32, DType::kBf16, DType::kF16};

struct MatmulCase {
  DType a = DType::kBf16, b = DType::kBf16, out = DType::kBf16;
  int64_t rows = 1, columns = 32, depth = 32, accumulators = 1;
  PointwiseProgram prologue, epilogue;
  std::vector<TestTensor> prologue_operands, epilogue_operands;
};

TestTensor random_weights(DType dtype, Shape shape) {
  if (dtype == DType::kI8) return random_tensor(dtype, shape, -127, 127);
  // From subnormals to the largest: every exponent of e4m3.
  if (dtype == DType::kF8E4M3) return random_tensor(dtype, shape, -448, 448);
  return random_tensor(dtype, shape);
}

OpCase build(const MatmulCase& m) {
  MatmulDesc desc;
  desc.accumulators = m.accumulators;
  desc.prologue = m.prologue;
  desc.epilogue = m.epilogue;
  desc.prologue_operands = static_cast<int64_t>(m.prologue_operands.size());
  OpCase out{OpKind::kMatmul, {}, {}, {}, {}, ""};
  const int64_t b_rows = m.columns * m.accumulators;
  const bool fp8 = m.b == DType::kF8E4M3;
  const DType a = fp8 ? m.b : m.a;
  out.inputs = {random_weights(a, {m.rows, m.depth}), random_weights(m.b, {b_rows, m.depth})};
  if (m.b == DType::kI8) {
    desc.quant = WeightQuant::kInt8Channel;
    out.inputs.push_back(random_tensor(DType::kF32, {b_rows}, 0.001f, 0.01f));
  }
  if (fp8) {
    desc.quant = WeightQuant::kFp8Channel;
    out.inputs.push_back(random_tensor(DType::kF32, {b_rows}, 1e-5f, 1e-4f));
    out.inputs.push_back(random_tensor(DType::kF32, {m.rows}, 1e-4f, 1e-2f));
  }
  for (const auto* list : {&m.prologue_operands, &m.epilogue_operands}) {
    out.inputs.insert(out.inputs.end(), list->begin(), list->end());
  }
  const size_t outputs = m.epilogue.empty() ? 1 : m.epilogue.outputs.size();
  out.outputs.assign(outputs, TestTensor(m.out, {m.rows, m.columns}));
  out.attrs = desc;
  out.label = Shape{m.rows, m.columns, m.depth}.text() + " " + std::string(dtype_name(m.a)) +
              " x " + std::string(dtype_name(m.b)) + " -> " + std::string(dtype_name(m.out));
  return out;
}

constexpr Tolerance kTolerance = {2e-4, 2e-5};

TEST(CpuMatmul, EveryDtypeAndOddExtents) {
  for (DType b : {DType::kBf16, DType::kF32, DType::kF16, DType::kI8, DType::kF8E4M3}) {
    for (int round = 0; round < 14; ++round) {
      MatmulCase m;
      m.a = kReal[pick(0, 2)], m.b = b, m.out = kReal[pick(0, 2)];
      m.rows = round < 9 ? round + 1 : pick(10, 70);
      m.columns = pick(1, 300), m.depth = pick(1, 600);
      EXPECT_GE(expect_all_match(build(m), kTolerance), 1) << "or a machine without AVX2";
    }
  }
}

TEST(CpuMatmul, ManyRowsCrossEveryBlock) {
  MatmulCase m;
  m.rows = 530, m.columns = 290, m.depth = 515;
  expect_all_match(build(m), kTolerance);
}

TEST(CpuMatmul, EpiloguesWithEveryBroadcast) {
  for (int64_t rows : {1, 5, 40}) {
    MatmulCase m;
    m.rows = rows, m.columns = 70, m.depth = 96, m.out = DType::kF32;
    m.epilogue = PointwiseProgram::parse(
                     "5: r5=add(r0,r1) r6=mul(r5,r2) r7=add(r6,r3) r8=mul(r7,r4) "
                     "r9=gelu_tanh(r8) -> r9,r5")
                     .value();
    m.epilogue_operands = {random_tensor(DType::kBf16, {70}), random_tensor(DType::kF32, {rows, 1}),
                           random_tensor(DType::kF16, {rows, 70}), random_tensor(DType::kF32, {1})};
    expect_all_match(build(m), kTolerance);
    for (DType b : {DType::kI8, DType::kF8E4M3}) {
      m.b = b;
      expect_all_match(build(m), kTolerance);
    }
  }
}

TEST(CpuMatmul, GatedPairSharesOnePass) {
  for (DType b : {DType::kBf16, DType::kI8, DType::kF32, DType::kF8E4M3}) {
    for (int64_t rows : {1, 3, 33}) {
      MatmulCase m;
      m.b = b, m.accumulators = 2, m.rows = rows, m.columns = 16 * pick(1, 40), m.depth = 64;
      m.epilogue = PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3").value();
      expect_all_match(build(m), kTolerance);
    }
  }
}

TEST(CpuMatmul, PrologueOnTheFly) {
  for (int64_t rows : {1, 20}) {
    MatmulCase m;
    m.rows = rows, m.columns = 50, m.depth = 700, m.a = DType::kF32, m.out = DType::kF32;
    m.prologue =
        PointwiseProgram::parse("3: r3=silu(r0) r4=mul(r3,r1) r5=add(r4,r2) -> r5").value();
    m.prologue_operands = {random_tensor(DType::kBf16, {rows, 700}),
                           random_tensor(DType::kF32, {700})};
    expect_all_match(build(m), kTolerance);
  }
}

TEST(CpuMatmul, RowMajorInBothOrdersAndBatched) {
  for (bool transposed : {true, false}) {
    for (DType b : kReal) {
      const int64_t n = pick(1, 80), k = pick(1, 300), m = pick(1, 40);
      MatmulDesc desc;
      desc.transpose_b = transposed;
      const auto matrix = [&](std::vector<int64_t> outer) {
        outer.push_back(transposed ? n : k), outer.push_back(transposed ? k : n);
        return random_tensor(b, Shape(outer));
      };
      OpCase plain{OpKind::kMatmul,
                   desc,
                   {random_tensor(DType::kF32, {m, k}), matrix({})},
                   {TestTensor(DType::kF32, {m, n})},
                   {},
                   "row-major"};
      expect_all_match(plain, kTolerance);
      OpCase batched{OpKind::kMatmul,
                     desc,
                     {random_tensor(DType::kBf16, {3, 2, m, k}), matrix({3, 1})},
                     {TestTensor(DType::kF32, {3, 2, m, n})},
                     {},
                     "batched"};
      expect_all_match(batched, kTolerance);
    }
  }
}

/// Every e4m3 value goes through the vector path as the definition says, NaN included.
TEST(CpuMatmul, EveryE4m3ValueIsDecoded) {
  MatmulCase m;
  m.b = DType::kF8E4M3, m.rows = 256, m.depth = 16, m.columns = 3, m.out = DType::kF32;
  OpCase test = build(m);
  std::fill(test.inputs[0].bytes.begin(), test.inputs[0].bytes.end(), std::byte{0});
  for (size_t i = 0; i < 256; ++i) test.inputs[0].bytes[i * 16 + i % 16] = std::byte(i);
  expect_all_match(test, kTolerance, Tolerance{1e-6, 1e-5});
}

TEST(CpuMatmul, NoRowsAreLeftAlone) {
  MatmulCase m;
  m.rows = 0;
  expect_all_match(build(m), kTolerance);
}

/// The tile kernels over emulated tile instructions, where the real ones may be missing.
TEST(CpuMatmul, AmxIndexingUnderEmulation) {
  if (!Target{Isa::kAvx512}.runs_on(Target::host())) GTEST_SKIP() << "no AVX-512 here";
  ThreadPool pool(2);
  for (DType b : {DType::kBf16, DType::kI8, DType::kF8E4M3}) {
    const bool paired = b == DType::kBf16;
    Tactic tactic = *find_tactic(paired ? "cpu.amx.matmul_n16k2.v1" : "cpu.amx.matmul_n16.v1");
    tactic.run = paired ? cpu::amx::matmul_paired_emulated : cpu::amx::matmul_plain_emulated;
    for (int round = 0; round < 16; ++round) {
      MatmulCase m;
      m.b = b, m.out = kReal[pick(0, 2)];
      m.rows = round < 6 ? pick(1, 16) : pick(17, 90);
      m.columns = pick(1, 300), m.depth = pick(1, 300);
      if (round == 7) m.rows = 300, m.columns = 270, m.depth = 1100;  // every block boundary
      if (round % 4 == 1) {
        m.accumulators = 2, m.columns = round == 9 ? 400 : 16 * pick(1, 10);
        m.epilogue = PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3").value();
      }
      if (round % 4 == 2 && b != DType::kF8E4M3) {
        m.prologue = PointwiseProgram::parse("2: r2=mul(r0,r1) -> r2").value();
        m.prologue_operands = {TestTensor::of(DType::kF32, {1}, {2})};  // stays exact in bf16
      }
      if (round % 4 == 3) {
        m.epilogue = PointwiseProgram::parse("2: r2=add(r1,r0) -> r2").value();
        m.epilogue_operands = {random_tensor(DType::kBf16, {m.rows, m.columns})};
      }
      if (round >= 7 && round < 12) m.out = DType::kBf16;  // the ends without an interpreter
      OpCase test = build(m);
      ASSERT_TRUE(tactic.supports(test.desc()));
      EXPECT_EQ(difference(test.run_reference(), test.run(tactic, pool), kTolerance), "")
          << tactic.name << " " << test.label;
    }
  }
}

/// The ends that run while the tiles multiply, and those of long rows: one pass and several, odd
/// blocks, rows short of one.
TEST(CpuMatmul, AmxEndsBesideTheTiles) {
  if (!Target{Isa::kAvx512}.runs_on(Target::host())) GTEST_SKIP() << "no AVX-512 here";
  ThreadPool pool(2);
  struct Extents {
    int64_t rows, columns, depth;
  };
  for (const auto& [rows, columns, depth] :
       {Extents{17, 32, 40}, Extents{47, 288, 1056}, Extents{70, 96, 530}, Extents{37, 8224, 40}}) {
    for (DType b : {DType::kBf16, DType::kI8}) {
      Tactic tactic =
          *find_tactic(b == DType::kI8 ? "cpu.amx.matmul_n16.v1" : "cpu.amx.matmul_n16k2.v1");
      tactic.run =
          b == DType::kI8 ? cpu::amx::matmul_plain_emulated : cpu::amx::matmul_paired_emulated;
      MatmulCase plain{.b = b, .rows = rows, .columns = columns, .depth = depth};
      MatmulCase sum = plain, gated = plain;
      sum.epilogue = PointwiseProgram::parse("2: r2=add(r0,r1) -> r2").value();
      sum.epilogue_operands = {random_tensor(DType::kBf16, {rows, columns})};
      gated.accumulators = 2;
      gated.epilogue = PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3").value();
      for (const MatmulCase& m : {plain, sum, gated}) {
        OpCase test = build(m);
        EXPECT_EQ(difference(test.run_reference(), test.run(tactic, pool), kTolerance), "")
            << tactic.name << " " << test.label;
      }
    }
  }
}

/// A row's result doesn't depend on how many rows there are beside it.
void expect_rows_independent(const OpCase& all, const Tactic& tactic) {
  ThreadPool pool(2);
  const std::vector<float> want = all.run(tactic, pool).outputs[0].values();
  for (int64_t rows : {1, 2, 7, 17}) {
    OpCase few = all;
    few.inputs[0] = TestTensor(DType::kBf16, {rows, all.inputs[0].view.shape.back()});
    std::copy_n(all.inputs[0].bytes.begin(), few.inputs[0].bytes.size(),
                few.inputs[0].bytes.begin());
    few.outputs = {TestTensor(all.outputs[0].view.dtype, {rows, all.outputs[0].view.shape.back()})};
    const std::vector<float> got = few.run(tactic, pool).outputs[0].values();
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin())) << tactic.name << " " << rows;
  }
}

TEST(CpuMatmul, RowsAreIndependentOfTheBatch) {
  MatmulCase m;
  m.rows = 40, m.columns = 64, m.depth = 480, m.out = DType::kF32;
  MatmulCase gated = m;
  gated.accumulators = 2, gated.out = DType::kBf16;
  gated.epilogue = PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3").value();
  for (const MatmulCase& c : {m, gated}) {
    OpCase all = build(c);
    for (const Tactic* tactic : find_tactics(all.desc(), Target::host())) {
      expect_rows_independent(all, *tactic);
    }
    if (!Target{Isa::kAvx512}.runs_on(Target::host())) continue;
    Tactic emulated = *find_tactic("cpu.amx.matmul_n16k2.v1");
    emulated.run = cpu::amx::matmul_paired_emulated;
    expect_rows_independent(all, emulated);
  }
}

TEST(CpuLayouts, PackedElementsLieWhereTheLayoutSays) {
  const int64_t rows = 37, cols = 21;
  const TestTensor source = random_tensor(DType::kBf16, {rows, cols});
  const auto* from = source.view.as<uint16_t>();
  for (const WeightLayout& layout : cpu::layouts()) {
    std::vector<std::byte> packed(
        static_cast<size_t>(layout.packed_bytes(rows, cols, DType::kBf16)));
    ASSERT_EQ(packed.size(), 64u * 32 * 2);
    layout.pack(source.bytes, rows, cols, DType::kBf16, packed);
    const auto* to = reinterpret_cast<const uint16_t*>(packed.data());
    for (int64_t n = 0; n < 64; ++n) {
      for (int64_t k = 0; k < 32; ++k) {
        const int64_t paired = n / 16 * 16 * 32 + k / 2 * 32 + n % 16 * 2 + k % 2;
        const int64_t plain = n / 16 * 16 * 32 + k * 16 + n % 16;
        const int64_t at = layout.name == cpu::kPairedLayout ? paired : plain;
        ASSERT_EQ(to[at], n < rows && k < cols ? from[n * cols + k] : 0) << layout.name;
      }
    }
  }
}

}  // namespace
}  // namespace ramjet::kernels

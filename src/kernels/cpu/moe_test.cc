#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/moe.h"
#include "kernels/kernel_test_util.h"

namespace ramjet::kernels {
namespace {

struct MoeCase {
  DType x = DType::kBf16, weights = DType::kBf16;
  int64_t tokens = 1, experts = 4, k = 2, width = 32, hidden = 32, columns = 32;
  bool biases = false;
};

TestTensor random_choice(const MoeCase& m) {
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < m.tokens; ++t) {
    const int64_t first = pick(0, m.experts - 1);  // distinct within a token
    for (int64_t i = 0; i < m.k; ++i) ids.push_back(static_cast<int32_t>((first + i) % m.experts));
  }
  return TestTensor::ints({m.tokens, m.k}, ids);
}

OpCase build(const MoeCase& m) {
  MoeDesc desc;
  desc.up.accumulators = 2;
  desc.up.epilogue = *PointwiseProgram::parse(
      m.biases ? "4: r4=add(r0,r2) r5=add(r1,r3) r6=silu(r4) r7=mul(r6,r5) -> r7"
               : "2: r2=silu(r0) r3=mul(r2,r1) -> r3");
  if (m.biases) desc.down.epilogue = PointwiseProgram::single(PointwiseOp::kAdd);
  const bool int8 = m.weights == DType::kI8;
  if (int8) desc.up.quant = desc.down.quant = WeightQuant::kInt8Channel;
  const auto weights = [&](Shape shape) {
    return int8 ? random_tensor(m.weights, shape, -127, 127) : random_tensor(m.weights, shape);
  };
  OpCase out{OpKind::kMoe, desc, {}, {}, {}, ""};
  out.inputs = {random_tensor(m.x, {m.tokens, m.width}),
                weights({m.experts, 2 * m.hidden, m.width}),
                weights({m.experts, m.columns, m.hidden}), random_choice(m),
                random_tensor(DType::kF32, {m.tokens, m.k}, 0, 1)};
  if (int8) {
    out.inputs.push_back(random_tensor(DType::kF32, {m.experts, 2 * m.hidden}, 0.001f, 0.01f));
    out.inputs.push_back(random_tensor(DType::kF32, {m.experts, m.columns}, 0.001f, 0.01f));
  }
  if (m.biases) {
    for (const int64_t extent : {m.hidden, m.hidden, m.columns}) {
      out.inputs.push_back(random_tensor(m.x, {m.experts, extent}));
    }
  }
  out.outputs = {TestTensor(m.x, {m.tokens, m.columns})};
  out.label =
      fmt::format("{} tokens, {} of {} experts, {} -> {} -> {}, {} x {}", m.tokens, m.k, m.experts,
                  m.width, m.hidden, m.columns, dtype_name(m.x), dtype_name(m.weights));
  return out;
}

TEST(CpuMoe, EveryDtypeAndGroupSize) {
  struct Pair {
    DType x, weights;
  };
  for (const Pair& pair : {Pair{DType::kF32, DType::kF32}, Pair{DType::kBf16, DType::kBf16},
                           Pair{DType::kF16, DType::kF16}, Pair{DType::kF32, DType::kI8},
                           Pair{DType::kBf16, DType::kI8}}) {
    for (const int64_t tokens : {0, 1, 5, 70}) {
      MoeCase m{pair.x, pair.weights, tokens};
      m.experts = pick(2, 7), m.k = pick(1, m.experts);
      m.width = 16 * pick(1, 5), m.hidden = 16 * pick(1, 5), m.columns = 32 * pick(1, 3);
      m.biases = tokens % 2 == 1;
      // The hidden row is rounded to x's dtype, which may fall either way.
      const double unit = unit_roundoff(pair.x);
      const Tolerance tolerance = {1e-3 + 2 * unit * static_cast<double>(m.hidden), 4 * unit};
      EXPECT_GE(expect_all_match(build(m), tolerance), 1);
    }
  }
}

TEST(CpuMoe, MoreRowsThanAGroupTakesAtOnce) {
  MoeCase m{DType::kF32, DType::kF32, 1100, 2, 1};
  EXPECT_GE(expect_all_match(build(m), {1e-3, 1e-4}), 1);
}

TEST(CpuMoe, TilesUnderEmulation) {
  if (!Target{Isa::kAvx512}.runs_on(Target::host())) GTEST_SKIP() << "no AVX-512 here";
  Tactic paired = *find_tactic("cpu.amx.moe_n16k2.v1"), plain = *find_tactic("cpu.amx.moe_n16.v1");
  paired.run = cpu::moe_with<cpu::amx::matmul_paired_emulated>;
  plain.run = cpu::moe_with<cpu::amx::matmul_plain_emulated>;
  ThreadPool pool(2);
  for (const int64_t tokens : {1, 9, 60}) {
    for (const bool int8 : {false, true}) {
      MoeCase m{DType::kBf16, int8 ? DType::kI8 : DType::kBf16, tokens, 3, 2, 64, 48, 96};
      m.biases = tokens == 9;
      OpCase test = build(m);
      const Tactic& tactic = int8 ? plain : paired;
      ASSERT_TRUE(tactic.supports(test.desc()));
      const double unit = unit_roundoff(DType::kBf16);
      EXPECT_EQ(difference(test.run_reference(), test.run(tactic, pool),
                           {2 * unit * static_cast<double>(m.hidden), 4 * unit}),
                "")
          << test.label;
    }
  }
}

/// What a token gets does not depend on who else is in the step.
TEST(CpuMoe, ATokensResultIsTheSameAlone) {
  MoeCase m{DType::kF32, DType::kF32, 40, 4, 2};
  OpCase all = build(m);
  ThreadPool pool(2);
  for (const Tactic* tactic : find_tactics(all.desc(), Target::host())) {
    const std::vector<float> together = all.run(*tactic, pool).outputs[0].values();
    for (const int64_t token : {0, 17, 39}) {
      OpCase one = all;
      const auto row = [&](size_t input, int64_t width, DType dtype) {
        TestTensor part(dtype, {1, width});
        const int64_t bytes = width * dtype_bytes(dtype);
        std::copy_n(all.inputs[input].bytes.begin() + token * bytes, bytes, part.bytes.begin());
        return part;
      };
      one.inputs[0] = row(0, m.width, DType::kF32);
      one.inputs[3] = row(3, m.k, DType::kI32);
      one.inputs[4] = row(4, m.k, DType::kF32);
      one.outputs = {TestTensor(DType::kF32, {1, m.columns})};
      const std::vector<float> alone = one.run(*tactic, pool).outputs[0].values();
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + token * m.columns))
          << tactic->name;
    }
  }
}

TEST(MoeRoute, TheBestWithTheirWeights) {
  OpCase route{OpKind::kMoeRoute, MoeRouteDesc{.k = 2, .renormalize = true}, {}, {}, {}, ""};
  const float nan = std::nanf("");
  route.inputs = {TestTensor::of(DType::kF32, {3, 4},
                                 {0, 2, 1, 2, nan, nan, nan, nan, INFINITY, 0, INFINITY, nan})};
  route.outputs = {TestTensor(DType::kI32, {3, 2}), TestTensor(DType::kF32, {3, 2})};
  OpCase done = route.run_reference();
  EXPECT_EQ(done.outputs[0].values(), (std::vector<float>{1, 3, 0, 1, 0, 2}));
  EXPECT_EQ(done.outputs[1].values(), std::vector<float>(6, 0.5f));
  route.attrs = MoeRouteDesc{.k = 2, .renormalize = false, .scale = 2};
  done = route.run_reference();
  const double all = 2 + std::exp(-1.0) + std::exp(-2.0);
  EXPECT_NEAR(done.outputs[1].values()[0], 2 / all, 1e-6);
}

}  // namespace
}  // namespace ramjet::kernels

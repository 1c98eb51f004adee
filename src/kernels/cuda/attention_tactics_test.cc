// Every variant of paged attention compiles without a GPU, within its budget of registers, spills
// and shared memory; what its plan promises the launcher holds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"

namespace ramjet::kernels::cuda {
namespace {

struct Layer {
  AttentionDesc attention;
  DType q = DType::kBf16;
  std::vector<Symbol> symbols = {{"tokens", 1, 64, 8192}, {"sequences", 1, 16, 256}};
  std::vector<TensorType> inputs, outputs;
  OpAttrs attrs;

  Layer(int64_t heads, int64_t kv_heads, int64_t dim, DType kv) {
    attention.num_heads = heads;
    attention.num_kv_heads = kv_heads;
    attention.head_dim = attention.v_head_dim = dim;
    attention.kv_dtype = kv;
    attention.scale = 0.125;
  }
  OpDesc desc() {
    const Dim t = Dim::of(0), s = Dim::of(1);
    const Dim width = attention.num_heads * attention.head_dim;
    inputs = {{q, {t, width}},
              {DType::kI32, {Dim::of(1, 1, 1)}},
              {DType::kI32, {s}},
              {DType::kI32, {s, 512}}};
    if (attention.sinks) inputs.push_back({DType::kF32, {attention.num_heads}});
    outputs = {{q, {t, Dim(attention.num_heads * attention.v_head_dim)}}};
    attrs = attention;
    return {OpKind::kPagedAttention, &attrs, inputs, outputs, symbols};
  }
};

/// `seen`: tactics share modules, and a compilation takes seconds.
void expect_compiles(const DevicePlan& plan, const char* arch, std::set<std::string>& seen) {
  for (const DeviceLaunch& launch : plan.launches) {
    const DeviceModule& module = plan.modules[static_cast<size_t>(launch.module)];
    if (!seen.insert(fmt::format("{} {} {}", arch, module.name, fmt::join(module.defines, " ")))
             .second) {
      continue;
    }
    device::cuda::NvrtcSource source;
    source.name = module.name;
    source.arch = arch;
    source.source = module.source;
    source.defines = module.defines;
    for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
    auto result = device::cuda::nvrtc_compile(source);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const CompileLog used = read_compile_log(result->log);
    EXPECT_GT(used.registers, 0) << result->log;
    EXPECT_LE(used.registers * static_cast<int>(launch.block), 65536) << result->log;
    // 256 dimensions of sums and queries fill the registers to the last.
    const bool full = module.name.find("_d256_") != std::string::npos;
    // Adding splits takes a few more than the copying warpgroup leaves.
    // Three blocks of e4m3 decode leave a few too few for what stands between two sequences.
    const bool decode = module.name.starts_with("attention_decode");
    const bool three = decode && module.name.find("f8e4m3") != std::string::npos;
    const int most = full    ? (decode ? 128 : 32)
                     : three ? 32
                             : (launch.when == LaunchWhen::kAlways ? 16 : 0);
    EXPECT_LE(used.spill_bytes, most) << module.name << result->log;
    EXPECT_EQ(result->log.find("C7508"), std::string::npos) << "setmaxnreg ignored";
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
    EXPECT_LE(launch.shared_bytes + (256 + 64) * 4, 227u << 10);
  }
}

class AttentionMatrix : public testing::TestWithParam<std::tuple<int, DType>> {};

TEST_P(AttentionMatrix, CompilesWithinItsBudget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [dim, kv] = GetParam();
  Layer layer(16, 2, dim, kv);
  const OpDesc desc = layer.desc();
  int supported = 0;
  std::set<std::string> seen;
  for (const Tactic& tactic : attention_tactics()) {
    if (!tactic.supports(desc)) continue;
    ++supported;
    DevicePlan plan;
    tactic.plan(desc, tactic, DeviceFacts{}, plan);
    expect_compiles(plan, "sm_90a", seen);
    if (tactic.sm < 90) expect_compiles(plan, tactic.sm == 80 ? "sm_80" : "sm_89", seen);
  }
  EXPECT_GE(supported, 2);
}

INSTANTIATE_TEST_SUITE_P(Sm90, AttentionMatrix,
                         testing::Combine(testing::Values(32, 64, 96, 128, 256),
                                          testing::Values(DType::kBf16, DType::kF8E4M3)));

TEST(AttentionPlan, OneQueryAndManyAreServedApart) {
  Layer layer(32, 8, 128, DType::kBf16);
  const OpDesc desc = layer.desc();
  for (const Tactic& tactic : attention_tactics()) {
    if (!tactic.supports(desc) || tactic.priority < 10) continue;
    DevicePlan plan;
    tactic.plan(desc, tactic, DeviceFacts{}, plan);
    if (tactic.invariant_only) {  // one kernel for all, so that a token's sums do not differ
      ASSERT_EQ(plan.launches.size(), 1u);
      EXPECT_EQ(plan.launches[0].when, LaunchWhen::kAlways);
      continue;
    }
    ASSERT_EQ(plan.launches.size(), 2u);
    EXPECT_EQ(plan.launches[0].when, LaunchWhen::kAnySingle);
    EXPECT_EQ(plan.launches[1].when, LaunchWhen::kAnyMany);
    if (plan.launches[0].cluster > 1) {
      // Blocks of a cluster read each other's sums: nothing goes through memory.
      EXPECT_EQ(plan.launches[0].grid[0].evaluate(std::vector<int64_t>{8, 3}), 3 * 8 * 8);
      EXPECT_EQ(plan.flags_bytes + plan.workspace_bytes, 0);
      continue;
    }
    EXPECT_EQ(plan.launches[0].grid[0].evaluate(std::vector<int64_t>{1, 1}), 132);
    EXPECT_EQ(plan.launches[0].grid[0].evaluate(std::vector<int64_t>{64, 64}), 264);
    EXPECT_EQ(plan.flags_bytes, 256 * 8 * 4);
    EXPECT_GT(plan.workspace_bytes, 0);
  }
}

/// GPT-OSS: a sink for each head, a window in every other layer.
TEST(AttentionPlan, SinksHaveEveryKernel) {
  const bool compiles = device::cuda::nvrtc_version().ok();
  std::set<std::string> seen;
  for (const int64_t window : {0, 128}) {
    Layer layer(64, 8, 64, DType::kBf16);
    layer.attention.sinks = true;
    layer.attention.window = window;
    const OpDesc desc = layer.desc();
    int supported = 0;
    for (const Tactic& tactic : attention_tactics()) {
      if (!tactic.supports(desc)) continue;
      ++supported;
      DevicePlan plan;
      tactic.plan(desc, tactic, DeviceFacts{}, plan);
      for (const DeviceLaunch& launch : plan.launches) {
        EXPECT_EQ(launch.args[7], LaunchArg::input(4)) << tactic.name;
      }
      const bool first = tactic.name == "cuda.attention_sm90.v2" && window > 0;
      if (compiles && first) expect_compiles(plan, "sm_90a", seen);
    }
    EXPECT_EQ(supported, 5);
  }
}

/// f32, f16, values of another dimension: the kernel of any shape alone has them.
TEST(AttentionPlan, WhatIsUnusualHasTheKernelOfAnyShape) {
  const bool compiles = device::cuda::nvrtc_version().ok();
  Layer sinks(32, 8, 72, DType::kF32), plain(32, 8, 72, DType::kF32), half(8, 8, 80, DType::kF16);
  sinks.attention.sinks = true;
  sinks.q = DType::kF32;
  plain.q = DType::kF32;
  half.q = DType::kF16;
  half.attention.v_head_dim = 96;
  Layer refused = sinks;
  refused.attention.scale = 0;
  for (Layer* layer : {&sinks, &plain, &half}) {
    const OpDesc desc = layer->desc();
    for (const Tactic& tactic : attention_tactics()) {
      EXPECT_FALSE(tactic.supports(refused.desc())) << tactic.name;
      EXPECT_EQ(tactic.supports(desc), tactic.priority == 1) << tactic.name;
      if (!tactic.supports(desc) || !compiles) continue;
      DevicePlan plan;
      tactic.plan(desc, tactic, DeviceFacts{}, plan);
      EXPECT_EQ(plan.launches[0].args.back(), LaunchArg::input(layer->attention.sinks ? 4 : 0));
      std::set<std::string> seen;
      expect_compiles(plan, "sm_80", seen);
    }
  }
}

}  // namespace
}  // namespace ramjet::kernels::cuda

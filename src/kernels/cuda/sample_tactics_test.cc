// The sampling kernels compile for their targets without a GPU, within a budget of registers.
#include <gtest/gtest.h>

#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/sample_plan.h"
#include "kernels/device_launch.h"
#include "op/sampling.h"

namespace ramjet::kernels::cuda {
namespace {

TensorType ints(int64_t columns) { return {DType::kI32, {Dim::of(0), Dim(columns)}}; }

/// Plans the op for `sm`; empty if it is not supported.
DevicePlan plan_for(int64_t vocab, int sm) {
  const std::vector<TensorType> inputs = {{DType::kF32, {Dim::of(0), Dim(vocab)}},
                                          ints(kSampleWords),
                                          ints(kEditWords),
                                          ints(mask_words(vocab)),
                                          ints(count_words(vocab)),
                                          {DType::kI32, {Dim::of(0)}}};
  const std::vector<TensorType> outputs = {ints(kSampleResultWords), ints(2 * kMaxTopLogprobs)};
  const std::vector<Symbol> symbols = {{"rows", 1, 16, 256}};
  const OpAttrs attrs;
  const OpDesc desc{OpKind::kSample, &attrs, inputs, outputs, symbols};
  DevicePlan plan;
  DeviceFacts facts;
  facts.sm = sm;
  for (const Tactic* tactic : find_tactics(desc, Target{Isa::kScalar, sm})) {
    tactic->plan(desc, *tactic, facts, plan);
  }
  return plan;
}

void expect_within_budget(const DevicePlan& plan, const char* arch, int max_spill) {
  const auto compiled = compile_device_module(plan.modules[0], arch, false);
  if (!compiled.ok() && compiled.error().code == ErrorCode::kUnavailable) {
    GTEST_SKIP() << compiled.error().message;
  }
  ASSERT_TRUE(compiled.ok()) << compiled.error().message;
  const CompileLog used = read_compile_log(compiled->log);
  ASSERT_GT(used.registers, 0) << compiled->log;
  EXPECT_LE(used.registers * static_cast<int>(plan.launches[0].block), 65536);
  // Calls save registers in memory; more than that would be arrays on the stack.
  EXPECT_LE(used.spill_bytes, max_spill) << compiled->log;
}

TEST(SampleTactics, CompileForHopper) {
  const DevicePlan plan = plan_for(128256, 90);
  ASSERT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.launches[0].cluster, 8u);
  EXPECT_LE(3 * (plan.launches[0].shared_bytes + 1024), 228u << 10);
  EXPECT_EQ(plan.workspace_bytes, 0);
  expect_within_budget(plan, "sm_90a", 256);
}

TEST(SampleTactics, CompileWithoutClusters) {
  const DevicePlan ampere = plan_for(32000, 80);  // a row in shared memory
  ASSERT_EQ(ampere.launches.size(), 1u);
  EXPECT_EQ(ampere.launches[0].cluster, 1u);
  EXPECT_LE(ampere.launches[0].shared_bytes, 163u << 10);
  expect_within_budget(ampere, "sm_80", 256);
  const DevicePlan ada = plan_for(50257, 89);  // in global memory
  ASSERT_EQ(ada.launches.size(), 1u);
  EXPECT_EQ(ada.workspace_bytes, int64_t{256} * 50257 * 4);
  expect_within_budget(ada, "sm_89", 256);
}

TEST(SampleTactics, EveryVocabularyFitsItsGpu) {
  for (const int64_t vocab : {1, 5, 1003, 32000, 50257, 128256, 262144, 400000, 524288}) {
    for (const int sm : {80, 89, 90}) {
      const DevicePlan plan = plan_for(vocab, sm);
      ASSERT_EQ(plan.launches.size(), 1u) << vocab << " " << sm;
      const uint32_t limit = sm == 90 ? 227 << 10 : sm == 89 ? 99 << 10 : 163 << 10;
      EXPECT_LE(plan.launches[0].shared_bytes, limit) << vocab << " " << sm;
    }
  }
  EXPECT_TRUE(plan_for((1 << 19) + 1, 90).launches.empty());
}

}  // namespace
}  // namespace ramjet::kernels::cuda

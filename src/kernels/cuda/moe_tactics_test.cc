// The kernels of mixtures of experts compile without a GPU, within a budget of registers and
// spills; what a plan promises the launcher holds.
#include <gtest/gtest.h>

#include <algorithm>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"

namespace ramjet::kernels::cuda {
namespace {

/// GPT-OSS has biases, and features that fill half of the last tile.
struct Experts {
  std::vector<Symbol> symbols = {{"tokens", 1, 64, 2048}};
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;

  Experts(DType x, DType weights, bool biases, int64_t width = 2880) {
    const Dim tokens = Dim::of(0);
    constexpr int64_t kExperts = 32, kHidden = 2880;
    MoeDesc desc;
    desc.up.accumulators = 2;
    desc.up.epilogue = PointwiseProgram::parse(
                           biases ? "4: r4=add(r0,r2) r5=add(r1,r3) r6=silu(r4) r7=mul(r6,r5) -> r7"
                                  : "2: r2=silu(r0) r3=mul(r2,r1) -> r3")
                           .value();
    if (biases) desc.down.epilogue = PointwiseProgram::single(PointwiseOp::kAdd);
    inputs = {{x, {tokens, width}},
              {weights, {kExperts, 2 * kHidden, width}},
              {weights, {kExperts, width, kHidden}},
              {DType::kI32, {tokens, 4}},
              {DType::kF32, {tokens, 4}}};
    if (weights == DType::kI8) {
      desc.up.quant = desc.down.quant = WeightQuant::kInt8Channel;
      inputs.push_back({DType::kF32, {kExperts, 2 * kHidden}});
      inputs.push_back({DType::kF32, {kExperts, width}});
    }
    for (const int64_t extent : {kHidden, kHidden, width}) {
      if (biases) inputs.push_back({x, {kExperts, extent}});
    }
    outputs = {{x, {tokens, width}}};
    attrs = desc;
  }
  OpDesc desc() const { return {OpKind::kMoe, &attrs, inputs, outputs, symbols}; }
};

DevicePlan plan_of(const OpDesc& desc, const Tactic& tactic, int sm) {
  DevicePlan plan;
  DeviceFacts facts;
  facts.sm = sm;
  tactic.plan(desc, tactic, facts, plan);
  return plan;
}

/// `modules`: 2: without the second product, which is like the first.
void expect_compiles(const DevicePlan& plan, const char* arch, int registers, size_t modules = 3) {
  for (size_t i = 0; i < std::min(modules, plan.modules.size()); ++i) {
    const DeviceModule& module = plan.modules[i];
    device::cuda::NvrtcSource source;
    source.name = module.name;
    source.arch = arch;
    source.source = module.source;
    source.defines = module.defines;
    for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
    const auto result = device::cuda::nvrtc_compile(source);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const CompileLog used = read_compile_log(result->log);
    EXPECT_GT(used.registers, 0) << result->log;
    EXPECT_LE(used.registers, registers) << module.name << result->log;
    // As matmuls of any shape: the large tile spills a few words once a tile.
    EXPECT_LE(used.spill_bytes, module.source.find("matmul_") == std::string::npos ? 0 : 160)
        << module.name << result->log;
    EXPECT_EQ(result->log.find("C7508"), std::string::npos) << "setmaxnreg ignored";
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
  }
}

const Tactic& tactic(std::string_view name) { return *find_tactic(name); }

TEST(MoeKernels, OfAnyShapeCompileForEveryTarget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const Tactic& any = tactic("cuda.moe.v1");
  const Experts bf16(DType::kBf16, DType::kBf16, true), int8(DType::kBf16, DType::kI8, false),
      odd(DType::kF32, DType::kF32, true, 77);
  for (const Experts* experts : {&bf16, &int8, &odd}) {
    ASSERT_TRUE(any.supports(experts->desc()));
    const DevicePlan plan = plan_of(experts->desc(), any, 80);
    ASSERT_EQ(plan.launches.size(), 5u);  // sort, scatter, two products, combine
    EXPECT_FALSE(plan.launches[2].programmatic);
    expect_compiles(plan, experts == &int8 ? "sm_89" : "sm_80", 128, 2);
  }
}

TEST(MoeKernels, OnHopperCompileWithinTheirBudget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const Experts biased(DType::kBf16, DType::kBf16, true), plain(DType::kBf16, DType::kBf16, false);
  for (const std::string_view name : {"sm90.moe_t8.v1", "sm90.moe_t256.v1"}) {
    const Experts& experts = name == "sm90.moe_t256.v1" ? plain : biased;
    ASSERT_TRUE(tactic(name).supports(experts.desc())) << name;
    const size_t modules = name == "sm90.moe_t8.v1" ? 3 : 2;
    expect_compiles(plan_of(experts.desc(), tactic(name), 90), "sm_90a", 168, modules);
  }
}

TEST(MoePlan, SharesMemoryAndSaysHowWeightsLie) {
  const Experts experts(DType::kBf16, DType::kBf16, true);
  const OpDesc desc = experts.desc();
  const Tactic& cut = tactic("sm90.moe_t64.v1");
  EXPECT_EQ(layout_of(cut, 0), "row_major");
  EXPECT_EQ(layout_of(cut, 1), "sm90.tile64x128_pair.v1");
  EXPECT_EQ(layout_of(cut, 2), "sm90.tile64x128.v1");
  const DevicePlan plan = plan_of(desc, cut, 90),
                   whole = plan_of(desc, tactic("sm90.moe_t64w.v1"), 90);
  // Rows of x and results share their place: 8192 slots of 2880, twice, and tables.
  const int64_t rows = int64_t{8192} * 2880 * 2;
  EXPECT_GE(whole.workspace_bytes, 2 * rows);
  EXPECT_LE(whole.workspace_bytes, 2 * rows + (1 << 20));
  EXPECT_GT(plan.workspace_bytes, whole.workspace_bytes);
  EXPECT_EQ(plan.flags_bytes, 132 * 8);
  EXPECT_EQ(whole.flags_bytes, 0);
  // One launch serves every number of tokens of a bucket.
  ASSERT_EQ(plan.launches.size(), 5u);
  EXPECT_EQ(plan.launches[2].grid[0].evaluate(std::vector<int64_t>{2048}), 132);
  EXPECT_EQ(plan.launches[1].grid[0].evaluate(std::vector<int64_t>{2}), 8);
  const DevicePlan few = plan_of(desc, tactic("sm90.moe_t8.v1"), 90);
  ASSERT_EQ(few.launches.size(), 4u);  // no sort
  EXPECT_EQ(few.launches[0].grid[0].evaluate(std::vector<int64_t>{2}), 9);
  // Half tiles of features, odd dtypes, and experts in int8 are for the kernels of any shape.
  for (const Experts& other :
       {Experts(DType::kBf16, DType::kBf16, false, 2896), Experts(DType::kF32, DType::kF32, false),
        Experts(DType::kBf16, DType::kI8, false)}) {
    EXPECT_FALSE(cut.supports(other.desc()));
    EXPECT_TRUE(tactic("cuda.moe.v1").supports(other.desc()));
  }
}

TEST(MoeRouteKernel, CompilesForEveryTarget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const std::vector<Symbol> symbols = {{"tokens", 1, 64, 2048}};
  for (const auto& [experts, k, arch] :
       {std::tuple(128, 8, "sm_90a"), std::tuple(1000, 40, "sm_80")}) {
    const OpAttrs attrs = MoeRouteDesc{.k = k, .renormalize = k == 8};
    const std::vector<TensorType> in = {{DType::kF32, {Dim::of(0), experts}}};
    const std::vector<TensorType> out = {{DType::kI32, {Dim::of(0), k}},
                                         {DType::kF32, {Dim::of(0), k}}};
    const OpDesc desc{OpKind::kMoeRoute, &attrs, in, out, symbols};
    const Tactic& route = tactic("cuda.moe_route.v1");
    ASSERT_TRUE(route.supports(desc));
    expect_compiles(plan_of(desc, route, 90), arch, 64);
  }
}

}  // namespace
}  // namespace ramjet::kernels::cuda

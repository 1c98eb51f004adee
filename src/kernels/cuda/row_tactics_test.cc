// Kernels over rows compile for their targets without a GPU, within a budget of registers.
#include <gtest/gtest.h>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cuda {
namespace {

struct Case {
  OpKind op;
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;
};

TensorType rows(DType dtype, int64_t width) { return {dtype, {Dim::of(0), Dim(width)}}; }
TensorType line(DType dtype, Dim extent) { return {dtype, {extent}}; }

/// Compiles every tactic of the case for `sm`; returns how many there are.
int compile_all(const Case& c, int sm, const char* arch) {
  const std::vector<Symbol> symbols = {{"tokens", 1, 64, 512}, {"sequences", 1, 8, 64}};
  const OpDesc desc{c.op, &c.attrs, c.inputs, c.outputs, symbols};
  int count = 0;
  for (const Tactic* tactic : find_tactics(desc, Target{Isa::kScalar, sm})) {
    DevicePlan plan;
    DeviceFacts facts;
    facts.sm = sm;
    tactic->plan(desc, *tactic, facts, plan);
    EXPECT_EQ(plan.launches.size(), 1u);
    EXPECT_EQ(plan.launches[0].programmatic, sm >= 90);
    device::cuda::NvrtcSource source;
    source.name = plan.modules[0].name;
    source.source = plan.modules[0].source;
    source.arch = arch;
    source.defines = plan.modules[0].defines;
    for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
    const auto result = device::cuda::nvrtc_compile(source);
    EXPECT_TRUE(result.ok()) << result.error().message;
    if (result.ok()) {
      const CompileLog used = read_compile_log(result->log);
      EXPECT_GT(used.registers, 0) << result->log;
      EXPECT_LE(used.registers * static_cast<int>(plan.launches[0].block), 65536);
      EXPECT_EQ(used.spill_bytes, 0) << result->log;
    }
    ++count;
  }
  return count;
}

Case add_norm(DType dtype, int64_t width, ActivationQuant quant) {
  NormDesc norm;
  norm.quant = quant;
  Case c{OpKind::kAddNorm, norm, {rows(dtype, width), rows(dtype, width)}, {rows(dtype, width)}};
  c.inputs.push_back(line(dtype, width));
  const bool fp8 = quant == ActivationQuant::kFp8Token;
  c.outputs.push_back(rows(fp8 ? DType::kF8E4M3 : dtype, width));
  if (fp8) c.outputs.push_back(line(DType::kF32, Dim::of(0)));
  return c;
}

Case qkv(DType cache) {
  QkvDesc desc;
  desc.attention.num_heads = 32;
  desc.attention.num_kv_heads = 8;
  desc.attention.head_dim = desc.rotary_dim = 128;
  desc.attention.kv_dtype = cache;
  desc.qk_norm = true;
  const DType i32 = DType::kI32;
  return {OpKind::kQkvRopeAppend,
          desc,
          {rows(DType::kBf16, 48 * 128), rows(DType::kF32, 128), line(i32, Dim::of(1, 1, 1)),
           line(i32, Dim::of(1)), TensorType{i32, {Dim::of(1), Dim(16)}}, line(DType::kBf16, 128),
           line(DType::kBf16, 128)},
          {rows(DType::kBf16, 32 * 128)}};
}

Case longrope() {
  RopeSpec spec;
  spec.kind = RopeKind::kLongrope;
  spec.rotary_dim = 64;
  spec.original_max_position = 4096;
  spec.short_factors.assign(32, 1.0);
  spec.long_factors.assign(32, 2.0);
  const DType i32 = DType::kI32;
  return {OpKind::kRopeTable,
          spec,
          {line(i32, Dim::of(0)), line(i32, Dim::of(1, 1, 1)), line(i32, Dim::of(1))},
          {rows(DType::kF32, 64)}};
}

class RowKernels : public testing::TestWithParam<std::pair<int, const char*>> {
 protected:
  void SetUp() override {
    if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
      GTEST_SKIP() << version.error().message;
    }
  }
};

TEST_P(RowKernels, CompileWithinTheirBudget) {
  const auto [sm, arch] = GetParam();
  for (DType dtype : {DType::kBf16, DType::kF32, DType::kF16}) {
    for (int64_t width : {96, 4096, 16384}) {
      // Wide rows also go by small blocks, where they are many.
      const int ways = width >= 2048 ? 2 : 1;
      EXPECT_EQ(compile_all(add_norm(dtype, width, ActivationQuant::kNone), sm, arch), ways);
    }
  }
  EXPECT_EQ(compile_all(qkv(DType::kBf16), sm, arch), 1);
  EXPECT_EQ(compile_all(longrope(), sm, arch), 1);
}

TEST_P(RowKernels, OfEightBitsNeedTheirConversions) {
  const auto [sm, arch] = GetParam();
  const int expected = sm >= 89 ? 1 : 0;
  const Case norm = add_norm(DType::kBf16, 4096, ActivationQuant::kFp8Token);
  EXPECT_EQ(compile_all(norm, sm, arch), 2 * expected);
  EXPECT_EQ(compile_all(qkv(DType::kF8E4M3), sm, arch), expected);
}

INSTANTIATE_TEST_SUITE_P(Arch, RowKernels,
                         testing::Values(std::pair{80, "sm_80"}, std::pair{89, "sm_89"},
                                         std::pair{90, "sm_90a"}));

}  // namespace
}  // namespace ramjet::kernels::cuda

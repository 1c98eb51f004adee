// Kernels of any shape compile for every target without a GPU, within a budget of registers; each
// op of a Llama graph has a kernel for every target and type.
#include <gtest/gtest.h>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cuda {
namespace {

struct Case {
  OpKind op = OpKind::kPointwise;
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;
};

const Dim kTokens = Dim::of(0), kSequences = Dim::of(1);

std::vector<Symbol> symbols() { return {{"tokens", 1, 64, 512}, {"sequences", 1, 8, 64}}; }

std::string failure_of(const DeviceModule& module, const DeviceLaunch& launch, const char* arch) {
  device::cuda::NvrtcSource source;
  source.name = module.name;
  source.source = module.source;
  source.arch = arch;
  source.defines = module.defines;
  for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
  const auto result = device::cuda::nvrtc_compile(source);
  if (!result.ok()) return result.error().message;
  const CompileLog used = read_compile_log(result->log);
  if (used.registers == 0) return "no log";
  if (used.registers * static_cast<int>(launch.block) * 2 > 65536) {
    return "two blocks do not fit: " + result->log;
  }
  // The large tile of a matmul holds 64 sums, and spills a few words once a tile.
  if (used.spill_bytes > (launch.entry == "matmul_any" ? 64 : 0)) return result->log;
  const uint32_t most = std::string_view(arch) == "sm_89" ? 48 << 10 : 80 << 10;
  return launch.shared_bytes > most ? "two blocks' shared memory does not fit" : "";
}

class GeneralKernels : public testing::TestWithParam<std::pair<int, const char*>> {
 protected:
  void SetUp() override {
    if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
      GTEST_SKIP() << version.error().message;
    }
  }

  /// Compiles every tactic that claims the case; `expected` of them.
  void compile(const Case& c, int expected = 1) {
    const auto [sm, arch] = GetParam();
    const std::vector<Symbol> profile = symbols();
    const OpDesc desc{c.op, &c.attrs, c.inputs, c.outputs, profile};
    int count = 0;
    for (const Tactic& tactic : general_tactics()) {
      if (tactic.op != c.op || tactic.sm > sm || !tactic.supports(desc)) continue;
      count += tactic.invariant_only ? 0 : 1;  // a twin, compiled too
      DevicePlan plan;
      DeviceFacts facts;
      facts.sm = sm;
      tactic.plan(desc, tactic, facts, plan);
      ASSERT_FALSE(plan.launches.empty());
      EXPECT_EQ(plan.launches[0].programmatic, sm >= 90);
      EXPECT_EQ(failure_of(plan.modules[0], plan.launches[0], arch), "") << tactic.name;
    }
    EXPECT_EQ(count, expected) << op_name(c.op);
  }
};

PointwiseProgram program(std::string_view text) { return PointwiseProgram::parse(text).value(); }

TEST_P(GeneralKernels, Pointwise) {
  const PointwiseDesc add{program("3: r3=add(r0,r1) r4=mul(r3,r2) -> r4,r3")};
  const TensorType x{DType::kBf16, {kTokens, kSequences, Dim(24)}};
  compile({OpKind::kPointwise,
           add,
           {x, {DType::kF32, {kSequences, Dim(1)}}, {DType::kF16, {Dim(24)}}},
           {x, {DType::kI32, x.dims}}});
  const TensorType row{DType::kBf16, {kTokens, Dim(4096)}};
  compile({OpKind::kPointwise, add, {row, row, row}, {row, row}});
}

TEST_P(GeneralKernels, Shapes) {
  const TensorType x{DType::kBf16, {kTokens, Dim(3), kSequences, Dim(8)}};
  compile({OpKind::kReshape, {}, {x}, {{x.dtype, {kTokens, Dim(6), kSequences, Dim(4)}}}});
  compile({OpKind::kTranspose,
           TransposeDesc{{2, 0, 1, 3}},
           {x},
           {{x.dtype, {kSequences, kTokens, Dim(3), Dim(8)}}}});
  compile({OpKind::kSlice,
           SliceDesc{-1, 4, 4},
           {x},
           {{x.dtype, {kTokens, Dim(3), kSequences, Dim(4)}}}});
  compile(
      {OpKind::kConcat, AxisDesc{1}, {x, x}, {{x.dtype, {kTokens, Dim(6), kSequences, Dim(8)}}}});
  compile({OpKind::kGatherRows,
           {},
           {{DType::kI8, {kTokens, kSequences}}, {DType::kI32, {kTokens}}},
           {{DType::kI8, {kTokens, kSequences}}}});
  compile({OpKind::kEmbedding,
           EmbeddingDesc{2},
           {{DType::kI32, {kTokens}}, {DType::kF16, {Dim(9), kSequences}}},
           {{DType::kF16, {kTokens, kSequences}}}});
}

TEST_P(GeneralKernels, AlongAnAxis) {
  const TensorType x{DType::kBf16, {kTokens, Dim(3), Dim(5000)}};
  for (int64_t axis : {0, 1, 2}) {
    TensorType out = x;
    out.dims.erase(out.dims.begin() + axis);
    compile({OpKind::kReduce, ReduceDesc{ReduceKind::kMax, axis}, {x}, {out}});
    compile({OpKind::kSoftmax, AxisDesc{axis}, {x}, {x}});
  }
  const std::vector<Dim> top = {kTokens, Dim(3), Dim(50)};
  compile({OpKind::kTopk, TopkDesc{50}, {x}, {{x.dtype, top}, {DType::kI32, top}}});
  const TensorType wide{DType::kBf16, {kTokens, kSequences, Dim(40000)}};
  const TensorType line{DType::kF32, {Dim(40000)}};
  compile({OpKind::kAddNorm, NormDesc{}, {wide, wide, line}, {wide, wide}});
  compile({OpKind::kQuantize,
           {},
           {wide},
           {{DType::kF8E4M3, wide.dims}, {DType::kF32, {kTokens, kSequences}}}},
          GetParam().first >= 89 ? 1 : 0);
  compile({OpKind::kConv,
           ConvDesc{{2, 1}, {1, 0}, {}, 2},
           {{DType::kF16, {kSequences, Dim(4), Dim(30), kTokens}},
            {DType::kF16, {Dim(6), Dim(2), Dim(3), Dim(1)}}},
           {{DType::kF16, {kSequences, Dim(6), Dim(15), kTokens}}}});
}

Case matmul(DType a, DType b, MatmulDesc desc, int64_t k) {
  const int64_t n = 96;
  Case c{OpKind::kMatmul, {}, {{a, {kTokens, Dim(k)}}, {b, {Dim(n), Dim(k)}}}, {}};
  if (!desc.transpose_b) c.inputs[1].dims = {Dim(k), Dim(n)};
  if (desc.quant != WeightQuant::kNone) c.inputs.push_back({DType::kF32, {Dim(n)}});
  if (desc.quant == WeightQuant::kFp8Channel) c.inputs.push_back({DType::kF32, {kTokens}});
  for (int64_t i = 0; i < desc.prologue_operands; ++i) c.inputs.push_back({a, {Dim(k)}});
  const TensorType out{a == DType::kF8E4M3 ? DType::kBf16 : a,
                       {kTokens, Dim(n / desc.accumulators)}};
  for (int i = static_cast<int>(desc.accumulators); i < desc.epilogue.num_inputs; ++i) {
    c.inputs.push_back(out);
  }
  c.outputs.assign(desc.epilogue.empty() ? 1 : desc.epilogue.outputs.size(), out);
  c.attrs = std::move(desc);
  return c;
}

TEST_P(GeneralKernels, Matmuls) {
  MatmulDesc residual, gated, both;
  residual.epilogue = program("2: r2=add(r1,r0) -> r2");
  gated.accumulators = 2;
  gated.epilogue = program("2: r2=silu(r0) r3=mul(r2,r1) -> r3");
  both.transpose_b = false;
  both.prologue_operands = 1;
  both.prologue = program("2: r2=mul(r0,r1) -> r2");
  MatmulDesc int8 = residual, fp8 = residual;
  int8.quant = WeightQuant::kInt8Channel;
  fp8.quant = WeightQuant::kFp8Channel;
  compile(matmul(DType::kBf16, DType::kBf16, gated, 64));
  compile(matmul(DType::kBf16, DType::kI8, int8, 64));
  compile(matmul(DType::kF16, DType::kF16, both, 61));
  compile(matmul(DType::kF32, DType::kF32, both, 61));
  compile(matmul(DType::kF32, DType::kF32, gated, 64));
  compile(matmul(DType::kF8E4M3, DType::kF8E4M3, fp8, 64), GetParam().first >= 89 ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Arch, GeneralKernels,
                         testing::Values(std::pair{80, "sm_80"}, std::pair{89, "sm_89"},
                                         std::pair{90, "sm_90a"}));

}  // namespace
}  // namespace ramjet::kernels::cuda

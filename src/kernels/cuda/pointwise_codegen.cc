#include "kernels/cuda/pointwise_codegen.h"

#include <algorithm>
#include <bit>

#include "base/result.h"

namespace ramjet::kernels::cuda {
namespace {

/// The expression of an op over {0}, {1}, {2}.
std::string_view expression(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kConst: return "";
    case PointwiseOp::kAdd: return "{0} + {1}";
    case PointwiseOp::kSub: return "{0} - {1}";
    case PointwiseOp::kMul: return "{0} * {1}";
    case PointwiseOp::kDiv: return "{0} / {1}";
    case PointwiseOp::kMax: return "pw_max({0}, {1})";
    case PointwiseOp::kMin: return "pw_min({0}, {1})";
    case PointwiseOp::kPow: return "powf({0}, {1})";
    case PointwiseOp::kNeg: return "-{0}";
    case PointwiseOp::kAbs: return "fabsf({0})";
    case PointwiseOp::kExp: return "expf({0})";
    case PointwiseOp::kLog: return "logf({0})";
    case PointwiseOp::kSqrt: return "sqrtf({0})";
    case PointwiseOp::kRsqrt: return "1.0f / sqrtf({0})";
    case PointwiseOp::kReciprocal: return "1.0f / {0}";
    case PointwiseOp::kSquare: return "{0} * {0}";
    case PointwiseOp::kTanh: return "tanhf({0})";
    case PointwiseOp::kSigmoid: return "pw_sigmoid({0})";
    case PointwiseOp::kRelu: return "pw_relu({0})";
    case PointwiseOp::kSilu: return "pw_silu({0})";
    case PointwiseOp::kGelu: return "pw_gelu({0})";
    case PointwiseOp::kGeluTanh: return "pw_gelu_tanh({0})";
    case PointwiseOp::kErf: return "erff({0})";
    case PointwiseOp::kSin: return "sinf({0})";
    case PointwiseOp::kCos: return "cosf({0})";
    case PointwiseOp::kFloor: return "floorf({0})";
    case PointwiseOp::kRound: return "rintf({0})";
    case PointwiseOp::kLess: return "{0} < {1} ? 1.0f : 0.0f";
    case PointwiseOp::kLessEqual: return "{0} <= {1} ? 1.0f : 0.0f";
    case PointwiseOp::kEqual: return "{0} == {1} ? 1.0f : 0.0f";
    case PointwiseOp::kWhere: return "{0} != 0.0f ? {1} : {2}";
    case PointwiseOp::kCastBf16: return "pw_cast_bf16({0})";
    case PointwiseOp::kCastF16: return "pw_cast_f16({0})";
  }
  return "";
}

}  // namespace

std::string_view device_type(DType dtype) {
  if (dtype == DType::kBf16) return "bf16_t";
  return dtype == DType::kF32 ? "float" : "";
}

std::string pointwise_function(const PointwiseProgram& program, std::string_view name) {
  std::string text = fmt::format(
      "__device__ __forceinline__ void {}(const float (&in)[{}], float (&out)[{}]) {{\n", name,
      std::max(program.num_inputs, 1), std::max<size_t>(program.outputs.size(), 1));
  const auto reg = [&](int r) {
    return r < program.num_inputs ? fmt::format("in[{}]", std::max(r, 0)) : fmt::format("r{}", r);
  };
  int next = program.num_inputs;
  for (const PointwiseInstr& i : program.instrs) {
    // Constants by their bits: infinities and NaN have no literal.
    const std::string value =
        i.op == PointwiseOp::kConst
            ? fmt::format("__int_as_float({:#x})", std::bit_cast<uint32_t>(i.value))
            : fmt::format(fmt::runtime(expression(i.op)), reg(i.a), reg(i.b), reg(i.c));
    text += fmt::format("  const float r{} = {};\n", next++, value);
  }
  for (size_t o = 0; o < program.outputs.size(); ++o) {
    text += fmt::format("  out[{}] = {};\n", o, reg(program.outputs[o]));
  }
  return text + "}\n";
}

}  // namespace ramjet::kernels::cuda

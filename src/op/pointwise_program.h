// PointwiseProgram: an elementwise expression in static single assignment form.
//
// Registers 0 .. num_inputs-1 are the operands (for a GEMM epilogue, the accumulators first);
// instruction i defines register num_inputs + i. All arithmetic is f32; operands are widened on
// load, outputs rounded once on store. The CPU interprets a program over vectors, CUDA generates
// source from it. Operands broadcast numpy-style against the output.
#pragma once

#include <ramjet/dtype.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet {

// name, operands
// The formatter does not settle on a layout of such lists.
// clang-format off
#define RAMJET_POINTWISE_OPS(X)                                                               \
  X(Const, 0)                                                                                 \
  X(Add, 2)                                                                                   \
  X(Sub, 2)                                                                                   \
  X(Mul, 2)                                                                                   \
  X(Div, 2)                                                                                   \
  X(Max, 2)                                                                                   \
  X(Min, 2) X(Pow, 2) X(Neg, 1) X(Abs, 1) X(Exp, 1) X(Log, 1) X(Sqrt, 1) X(Rsqrt, 1)          \
      X(Reciprocal, 1) X(Square, 1) X(Tanh, 1) X(Sigmoid, 1) X(Relu, 1) X(Silu, 1) X(Gelu, 1) \
          X(GeluTanh, 1) X(Erf, 1) X(Sin, 1) X(Cos, 1) X(Floor, 1) X(Round, 1) X(Less, 2)     \
              X(LessEqual, 2) X(Equal, 2) X(Where, 3) X(CastBf16, 1) X(CastF16, 1)
// clang-format on

enum class PointwiseOp : uint8_t {
#define X(name, arity) k##name,
  RAMJET_POINTWISE_OPS(X)
#undef X
};

struct PointwiseInstr {
  PointwiseOp op = PointwiseOp::kConst;
  int16_t a = -1;
  int16_t b = -1;
  int16_t c = -1;
  float value = 0;  // kConst
  bool operator==(const PointwiseInstr&) const = default;
};

/// Registers a program of a graph may use; kernels size their files by it.
inline constexpr int kMaxPointwiseRegisters = 64;

int pointwise_arity(PointwiseOp op);
std::string_view pointwise_name(PointwiseOp op);  // "add", "gelu_tanh"

/// The definition of each op, in f32: the oracle for vectorised code.
float pointwise_scalar(PointwiseOp op, float a, float b, float c);

struct PointwiseProgram {
  int num_inputs = 0;
  std::vector<PointwiseInstr> instrs;
  std::vector<int16_t> outputs;  // registers

  bool empty() const { return outputs.empty(); }
  int num_registers() const { return num_inputs + static_cast<int>(instrs.size()); }
  bool operator==(const PointwiseProgram&) const = default;

  /// The program of one op over its operands.
  static PointwiseProgram single(PointwiseOp op);
  /// "2: r2=silu(r0) r3=mul(r2,r1) -> r3"; empty programs print "".
  std::string text() const;
  static Result<PointwiseProgram> parse(std::string_view text);
  /// Registers in range, defined before use, arities right.
  Status verify() const;
  /// Evaluates at one element: the oracle. `inputs` has num_inputs values.
  void evaluate(std::span<const float> inputs, std::span<float> outputs) const;
};

}  // namespace ramjet

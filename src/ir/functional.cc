#include <ramjet/functional.h>

#include <algorithm>

#include "ir/append.h"
#include "ir/infer.h"

namespace ramjet {
namespace {

using ir::append;
using ir::append_one;
using Op = PointwiseOp;

std::string label_of(Op op) { return std::string(pointwise_name(op)); }

Tensor pointwise(Op op, std::initializer_list<Tensor> operands) {
  const std::string label = label_of(op);
  return append_one(operands, {.op = OpKind::kPointwise,
                               .label = label,
                               .attrs = PointwiseDesc{PointwiseProgram::single(op)}});
}

/// op(x, number), or op(number, x).
Tensor with_number(Op op, Tensor x, float number, bool number_first) {
  PointwiseProgram program;
  program.num_inputs = 1;
  program.instrs.push_back({.op = Op::kConst, .value = number});
  PointwiseInstr instr{.op = op, .a = 0, .b = 1};
  if (number_first) std::swap(instr.a, instr.b);
  program.instrs.push_back(instr);
  program.outputs = {2};
  const std::string label = label_of(op);
  return append_one(
      {x}, {.op = OpKind::kPointwise, .label = label, .attrs = PointwiseDesc{std::move(program)}});
}

Tensor reduce(Tensor x, ReduceKind kind, int axis, bool keep_dim) {
  const std::string_view label = kind == ReduceKind::kSum    ? "sum"
                                 : kind == ReduceKind::kMean ? "mean"
                                                             : "max";
  return append_one({x}, {.op = OpKind::kReduce,
                          .label = label,
                          .attrs = ReduceDesc{kind, static_cast<int64_t>(axis), keep_dim}});
}

}  // namespace

Tensor matmul(Tensor a, Tensor b, bool transpose_b) {
  MatmulDesc desc;
  desc.transpose_b = transpose_b;
  return append_one({a, b}, {.op = OpKind::kMatmul, .label = "matmul", .attrs = std::move(desc)});
}

Tensor operator+(Tensor a, Tensor b) { return pointwise(Op::kAdd, {a, b}); }
Tensor operator-(Tensor a, Tensor b) { return pointwise(Op::kSub, {a, b}); }
Tensor operator*(Tensor a, Tensor b) { return pointwise(Op::kMul, {a, b}); }
Tensor operator/(Tensor a, Tensor b) { return pointwise(Op::kDiv, {a, b}); }
Tensor operator+(Tensor a, float b) { return with_number(Op::kAdd, a, b, false); }
Tensor operator-(Tensor a, float b) { return with_number(Op::kSub, a, b, false); }
Tensor operator*(Tensor a, float b) { return with_number(Op::kMul, a, b, false); }
Tensor operator/(Tensor a, float b) { return with_number(Op::kDiv, a, b, false); }
Tensor operator+(float a, Tensor b) { return with_number(Op::kAdd, b, a, true); }
Tensor operator-(float a, Tensor b) { return with_number(Op::kSub, b, a, true); }
Tensor operator*(float a, Tensor b) { return with_number(Op::kMul, b, a, true); }
Tensor operator/(float a, Tensor b) { return with_number(Op::kDiv, b, a, true); }
Tensor operator-(Tensor a) { return pointwise(Op::kNeg, {a}); }
Tensor maximum(Tensor a, Tensor b) { return pointwise(Op::kMax, {a, b}); }
Tensor minimum(Tensor a, Tensor b) { return pointwise(Op::kMin, {a, b}); }
Tensor pow(Tensor a, Tensor b) { return pointwise(Op::kPow, {a, b}); }
Tensor where(Tensor condition, Tensor a, Tensor b) {
  return pointwise(Op::kWhere, {condition, a, b});
}
Tensor relu(Tensor x) { return pointwise(Op::kRelu, {x}); }
Tensor silu(Tensor x) { return pointwise(Op::kSilu, {x}); }
Tensor gelu(Tensor x) { return pointwise(Op::kGelu, {x}); }
Tensor gelu_tanh(Tensor x) { return pointwise(Op::kGeluTanh, {x}); }
Tensor sigmoid(Tensor x) { return pointwise(Op::kSigmoid, {x}); }
Tensor tanh(Tensor x) { return pointwise(Op::kTanh, {x}); }
Tensor exp(Tensor x) { return pointwise(Op::kExp, {x}); }
Tensor log(Tensor x) { return pointwise(Op::kLog, {x}); }
Tensor sqrt(Tensor x) { return pointwise(Op::kSqrt, {x}); }
Tensor rsqrt(Tensor x) { return pointwise(Op::kRsqrt, {x}); }
Tensor abs(Tensor x) { return pointwise(Op::kAbs, {x}); }
Tensor square(Tensor x) { return pointwise(Op::kSquare, {x}); }

Tensor cast(Tensor x, DType dtype) {
  PointwiseProgram program;
  if (dtype == DType::kBf16) {
    program = PointwiseProgram::single(Op::kCastBf16);
  } else if (dtype == DType::kF16) {
    program = PointwiseProgram::single(Op::kCastF16);
  } else if (dtype == DType::kF32) {
    program.num_inputs = 1;
    program.outputs = {0};
  } else {
    return ir::fail(x.network(),
                    unsupported("cast to {}: f32, f16 and bf16 are possible", dtype_name(dtype)));
  }
  return append_one({x}, {.op = OpKind::kPointwise,
                          .label = "cast",
                          .attrs = PointwiseDesc{std::move(program)},
                          .result_dtype = dtype});
}

Tensor rms_norm(Tensor x, Tensor weight, double eps, double weight_offset) {
  return append_one({x, weight}, {.op = OpKind::kNorm,
                                  .label = "rms_norm",
                                  .attrs = NormDesc{NormKind::kRms, eps, weight_offset}});
}

Tensor layer_norm(Tensor x, Tensor weight, Tensor bias, double eps) {
  const NormDesc desc{NormKind::kLayer, eps, 0};
  ir::AppendOp op{.op = OpKind::kNorm, .label = "layer_norm", .attrs = desc};
  if (!bias.valid() && bias.network() == nullptr) return append_one({x, weight}, std::move(op));
  return append_one({x, weight, bias}, std::move(op));
}

Tensor softmax(Tensor x, int axis) {
  return append_one({x}, {.op = OpKind::kSoftmax, .label = "softmax", .attrs = AxisDesc{axis}});
}
Tensor sum(Tensor x, int axis, bool keep_dim) {
  return reduce(x, ReduceKind::kSum, axis, keep_dim);
}
Tensor mean(Tensor x, int axis, bool keep_dim) {
  return reduce(x, ReduceKind::kMean, axis, keep_dim);
}
Tensor max(Tensor x, int axis, bool keep_dim) {
  return reduce(x, ReduceKind::kMax, axis, keep_dim);
}

Tensor reshape(Tensor x, const std::vector<Extent>& extents) {
  if (!x.valid()) return ir::fail(x.network(), invalid_argument("reshape: empty tensor"));
  auto dims = ir::dims_of(*x.network(), extents);
  if (!dims.ok()) return ir::fail(x.network(), dims.error().with_context("reshape"));
  const auto open = std::find(dims->begin(), dims->end(), Dim(-1));
  if (open != dims->end()) {
    std::vector<Dim> others = *dims;
    others.erase(others.begin() + (open - dims->begin()));
    const auto missing = ir::missing_extent(ir::type_of(x).dims, others);
    if (!missing) {
      return ir::fail(x.network(), invalid_argument("reshape: -1 has no value for {}",
                                                    type_text(ir::type_of(x),
                                                              x.network()->impl().graph.symbols)));
    }
    *open = *missing;
  }
  return append_one({x}, {.op = OpKind::kReshape,
                          .label = "reshape",
                          .stated = {{ir::type_of(x).dtype, std::move(*dims)}}});
}

Tensor transpose(Tensor x, const std::vector<int>& permutation) {
  TransposeDesc desc;
  const int rank = x.valid() ? ir::type_of(x).rank() : 0;
  for (int axis : permutation) desc.permutation.push_back(axis < 0 ? axis + rank : axis);
  return append_one({x},
                    {.op = OpKind::kTranspose, .label = "transpose", .attrs = std::move(desc)});
}

Tensor slice(Tensor x, int axis, int64_t start, int64_t length) {
  return append_one({x}, {.op = OpKind::kSlice,
                          .label = "slice",
                          .attrs = SliceDesc{static_cast<int64_t>(axis), start, length}});
}

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  return append(parts, {.op = OpKind::kConcat, .label = "concat", .attrs = AxisDesc{axis}}).front();
}

Tensor gather_rows(Tensor x, Tensor rows) {
  return append_one({x, rows}, {.op = OpKind::kGatherRows, .label = "gather_rows"});
}

Tensor embedding(Tensor ids, Tensor table, double scale) {
  return append_one(
      {ids, table},
      {.op = OpKind::kEmbedding, .label = "embedding", .attrs = EmbeddingDesc{scale}});
}

std::pair<Tensor, Tensor> topk(Tensor x, int k) {
  const Tensor operands[] = {x};
  auto results = append(operands, {.op = OpKind::kTopk, .label = "topk", .attrs = TopkDesc{k}});
  return {results[0], results[1]};
}

Tensor conv(Tensor x, Tensor weight, const std::vector<int64_t>& stride,
            const std::vector<int64_t>& padding) {
  ConvDesc desc;
  desc.stride = stride;
  desc.padding = padding;
  return append_one({x, weight}, {.op = OpKind::kConv, .label = "conv", .attrs = std::move(desc)});
}

}  // namespace ramjet

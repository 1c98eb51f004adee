// Rules of mixture-of-experts ops. Each product of an expert follows the rules of a matmul.
#include "ir/infer_rules.h"

namespace ramjet::ir {
namespace {

constexpr int64_t kMaxExperts = 1 << 16;

Status check_choice(const OpCall& call, size_t ids, size_t weights) {
  RETURN_IF_ERROR(want_i32(call, ids, "ids", 2));
  const TensorType& type = call.inputs[ids];
  if (type.dims[0] == call.inputs[0].dims[0] && type.dims[1].fixed() &&
      call.inputs[weights] == TensorType{DType::kF32, type.dims}) {
    return ok_status();
  }
  return invalid_argument("ids {} and weights {} want i32 and f32 of [tokens, k]", shown(call, ids),
                          shown(call, weights));
}

/// One expert's part of a stacked operand.
TensorType of_one(const TensorType& type) {
  return {type.dtype, {type.dims.begin() + 1, type.dims.end()}};
}

struct Product {
  const MatmulDesc& desc;
  const TensorType& a;
  size_t b = 0, scales = 0;     // operands; scales where quantized
  size_t first = 0, count = 0;  // of the epilogue's
};

Result<TensorType> infer_product(const OpCall& call, const Product& product) {
  std::vector<size_t> operands = {product.b};
  if (product.desc.quant != WeightQuant::kNone) operands.push_back(product.scales);
  for (size_t i = 0; i < product.count; ++i) operands.push_back(product.first + i);
  const Dim experts = call.inputs[1].dims.empty() ? Dim(0) : call.inputs[1].dims[0];
  std::vector<TensorType> types = {product.a};
  for (const size_t i : operands) {
    const TensorType& type = call.inputs[i];
    const int rank = i == product.b ? 3 : 2;
    if (type.rank() != rank || type.dims[0] != experts || !experts.fixed()) {
      return invalid_argument("{} wants rank {} and as many experts as {}", shown(call, i), rank,
                              shown(call, 1));
    }
    types.push_back(of_one(type));
  }
  const OpAttrs attrs = product.desc;
  ASSIGN_OR_RETURN(std::vector<TensorType> results,
                   infer_matmul({OpKind::kMatmul, &attrs, types, call.symbols, {}}));
  if (results.size() != 1) return invalid_argument("an expert's product has one result");
  return std::move(results[0]);
}

/// Operands of an epilogue beside the accumulators.
size_t extra_operands(const MatmulDesc& desc) {
  const int64_t inputs = desc.epilogue.num_inputs - desc.accumulators;
  return desc.epilogue.empty() || inputs < 0 ? 0 : static_cast<size_t>(inputs);
}

}  // namespace

Types infer_moe_route(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  RETURN_IF_ERROR(want_float(call, 0, "logits"));
  const TensorType& logits = call.inputs[0];
  const MoeRouteDesc& desc = desc_of<MoeRouteDesc>(call);
  if (logits.rank() != 2 || !logits.dims[1].fixed() || logits.dims[1].offset > kMaxExperts) {
    return invalid_argument("logits are {}, wants [tokens, experts]", shown(call, 0));
  }
  if (desc.k < 1 || desc.k > logits.dims[1].offset) {
    return invalid_argument("k={} of {} experts", desc.k, logits.dims[1].offset);
  }
  const std::vector<Dim> dims = {logits.dims[0], Dim(desc.k)};
  return std::vector<TensorType>{{DType::kI32, dims}, {DType::kF32, dims}};
}

Types infer_moe(const OpCall& call) {
  const MoeDesc& desc = desc_of<MoeDesc>(call);
  const bool scaled = desc.up.quant == WeightQuant::kInt8Channel;
  if (desc.up.quant != desc.down.quant || desc.up.quant == WeightQuant::kFp8Channel ||
      !desc.up.prologue.empty() || !desc.down.prologue.empty() || desc.down.accumulators != 1) {
    return invalid_argument("experts want products without prologue, in floats or int8");
  }
  const size_t first = scaled ? 7 : 5;
  const size_t up = extra_operands(desc.up), down = extra_operands(desc.down);
  RETURN_IF_ERROR(want_inputs(call, first + up + down, first + up + down));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  if (call.inputs[0].rank() != 2) {
    return invalid_argument("x is {}, wants [tokens, width]", shown(call, 0));
  }
  RETURN_IF_ERROR(check_choice(call, 3, 4));
  ASSIGN_OR_RETURN(const TensorType hidden,
                   infer_product(call, {desc.up, call.inputs[0], 1, 5, first, up}));
  ASSIGN_OR_RETURN(TensorType result,
                   infer_product(call, {desc.down, hidden, 2, 6, first + up, down}));
  if (call.inputs[1].dims[0] != call.inputs[2].dims[0] ||
      call.inputs[3].dims[1].offset > call.inputs[1].dims[0].offset) {
    return invalid_argument("up {}, down {} and ids {} disagree in experts", shown(call, 1),
                            shown(call, 2), shown(call, 3));
  }
  return std::vector<TensorType>{std::move(result)};
}

}  // namespace ramjet::ir

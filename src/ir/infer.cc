#include "ir/infer.h"

#include <algorithm>

#include "ir/infer_rules.h"

namespace ramjet::ir {

bool is_compute_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16;
}

bool stores_as(OpKind op, std::span<const TensorType> inferred, size_t index, DType stated) {
  const DType dtype = inferred[index].dtype;
  const bool any_float = op == OpKind::kMatmul || op == OpKind::kPointwise || op == OpKind::kNorm ||
                         op == OpKind::kAddNorm || op == OpKind::kEmbedding;
  const bool scales = index > 0 && inferred[index - 1].dtype == DType::kF8E4M3;
  if (!any_float || scales || !is_compute_float(dtype)) return stated == dtype;
  return is_compute_float(stated);
}

Status want_inputs(const OpCall& call, size_t least, size_t most) {
  const size_t count = call.inputs.size();
  if (count >= least && count <= most) return ok_status();
  if (least == most) return invalid_argument("{} operands given, wants {}", count, least);
  return invalid_argument("{} operands given, wants {} to {}", count, least, most);
}

Status want_float(const OpCall& call, size_t index, std::string_view what) {
  if (is_compute_float(call.inputs[index].dtype)) return ok_status();
  return invalid_argument("{} is {}, wants f32, f16 or bf16", what, shown(call, index));
}

Status want_i32(const OpCall& call, size_t index, std::string_view what, size_t rank) {
  const TensorType& type = call.inputs[index];
  if (type.dtype == DType::kI32 && type.dims.size() == rank) return ok_status();
  return invalid_argument("{} is {}, wants i32 of rank {}", what, shown(call, index), rank);
}

std::string shown(const OpCall& call, size_t index) {
  return type_text(call.inputs[index], call.symbols);
}

Result<size_t> axis_of(int64_t axis, const TensorType& type) {
  const int64_t rank = type.rank();
  if (axis < -rank || axis >= rank) {
    return invalid_argument("axis {} is outside of rank {}", axis, rank);
  }
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

Result<std::vector<TensorType>> infer_types(const OpCall& call) {
  switch (call.op) {
    case OpKind::kMatmul: return infer_matmul(call);
    case OpKind::kPointwise: return infer_pointwise(call);
    case OpKind::kNorm: return infer_norm(call);
    case OpKind::kAddNorm: return infer_add_norm(call);
    case OpKind::kQuantize: return infer_quantize(call);
    case OpKind::kEmbedding:
    case OpKind::kGatherRows: return infer_rows(call);
    case OpKind::kReduce: return infer_reduce(call);
    case OpKind::kSoftmax: return infer_softmax(call);
    case OpKind::kReshape: return infer_reshape(call);
    case OpKind::kTranspose: return infer_transpose(call);
    case OpKind::kSlice: return infer_slice(call);
    case OpKind::kConcat: return infer_concat(call);
    case OpKind::kTopk: return infer_topk(call);
    case OpKind::kConv: return infer_conv(call);
    case OpKind::kRopeTable: return infer_rope_table(call);
    case OpKind::kRope: return infer_rope(call);
    case OpKind::kKvAppend: return infer_kv_append(call);
    case OpKind::kPagedAttention: return infer_paged_attention(call);
    case OpKind::kAttention: return infer_attention(call);
    case OpKind::kQkvRopeAppend: return infer_qkv_rope_append(call);
    case OpKind::kSample: return infer_sample(call);
    case OpKind::kResolveTokens: return infer_resolve_tokens(call);
    case OpKind::kMoeRoute: return infer_moe_route(call);
    case OpKind::kMoe: return infer_moe(call);
    case OpKind::kLora: return infer_lora(call);
    case OpKind::kAllReduce:
    case OpKind::kAllGather:
    case OpKind::kReduceScatter: break;
  }
  return unsupported("this version has no {}", op_name(call.op));
}

}  // namespace ramjet::ir

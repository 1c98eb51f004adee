// Inside of infer.cc: one rule an op, and what the rules share. Not for other folders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/infer.h"

namespace ramjet::ir {

using Types = Result<std::vector<TensorType>>;

Types infer_matmul(const OpCall& call);
Types infer_pointwise(const OpCall& call);
Types infer_norm(const OpCall& call);
Types infer_add_norm(const OpCall& call);
Types infer_quantize(const OpCall& call);
Types infer_rows(const OpCall& call);
Types infer_reduce(const OpCall& call);
Types infer_softmax(const OpCall& call);
Types infer_reshape(const OpCall& call);
Types infer_transpose(const OpCall& call);
Types infer_slice(const OpCall& call);
Types infer_concat(const OpCall& call);
Types infer_topk(const OpCall& call);
Types infer_conv(const OpCall& call);
Types infer_rope_table(const OpCall& call);
Types infer_rope(const OpCall& call);
Types infer_kv_append(const OpCall& call);
Types infer_paged_attention(const OpCall& call);
Types infer_attention(const OpCall& call);
Types infer_qkv_rope_append(const OpCall& call);
Types infer_moe_route(const OpCall& call);
Types infer_moe(const OpCall& call);
Types infer_lora(const OpCall& call);
Types infer_sample(const OpCall& call);
Types infer_resolve_tokens(const OpCall& call);

Status want_inputs(const OpCall& call, size_t least, size_t most);
Status want_float(const OpCall& call, size_t index, std::string_view what);
Status want_i32(const OpCall& call, size_t index, std::string_view what, size_t rank);
std::string shown(const OpCall& call, size_t index);
Result<size_t> axis_of(int64_t axis, const TensorType& type);

template <class Desc>
const Desc& desc_of(const OpCall& call) {
  static const Desc kDefault;
  const Desc* desc = std::get_if<Desc>(call.attrs);
  return desc == nullptr ? kDefault : *desc;  // the verifier checks the alternative first
}

}  // namespace ramjet::ir

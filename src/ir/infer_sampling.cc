// Rules of sample and resolve_tokens (op/sampling.h).
#include "ir/infer_rules.h"
#include "op/sampling.h"

namespace ramjet::ir {
namespace {

Status want_columns(const OpCall& call, size_t index, std::string_view what, int64_t columns) {
  RETURN_IF_ERROR(want_i32(call, index, what, 2));
  if (call.inputs[index].dims[1] == Dim(columns)) return ok_status();
  return invalid_argument("{} is {}, wants {} columns", what, shown(call, index), columns);
}

}  // namespace

Types infer_sample(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 6, 6));
  const TensorType& logits = call.inputs[0];
  if (logits.dtype != DType::kF32 || logits.rank() != 2 || !logits.dims[1].fixed() ||
      logits.dims[1].offset < 1) {
    return invalid_argument("logits are {}, want f32[rows, vocabulary]", shown(call, 0));
  }
  const int64_t vocab = logits.dims[1].offset;
  RETURN_IF_ERROR(want_columns(call, 1, "params", kSampleWords));
  RETURN_IF_ERROR(want_columns(call, 2, "edits", kEditWords));
  RETURN_IF_ERROR(want_columns(call, 3, "masks", mask_words(vocab)));
  RETURN_IF_ERROR(want_columns(call, 4, "counts", count_words(vocab)));
  RETURN_IF_ERROR(want_i32(call, 5, "chosen", 1));
  const Dim rows = call.inputs[1].dims[0];
  return std::vector<TensorType>{{DType::kI32, {rows, Dim(kSampleResultWords)}},
                                 {DType::kI32, {rows, Dim(2 * kMaxTopLogprobs)}}};
}

Types infer_resolve_tokens(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 2, 2));
  RETURN_IF_ERROR(want_i32(call, 0, "ids", 1));
  RETURN_IF_ERROR(want_i32(call, 1, "chosen", 1));
  return std::vector<TensorType>{call.inputs[0]};
}

}  // namespace ramjet::ir

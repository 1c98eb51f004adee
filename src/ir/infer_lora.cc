// The rule of low-rank adapters.
#include "ir/infer_rules.h"

namespace ramjet::ir {

Types infer_lora(const OpCall& call) {
  const size_t count = call.inputs.size();
  if (count < 5 || count % 2 == 0) {
    return invalid_argument("{} operands given, wants x, slots, scales and pairs of a and b",
                            count);
  }
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  RETURN_IF_ERROR(want_i32(call, 1, "slots", 1));
  const TensorType& x = call.inputs[0];
  if (x.rank() != 2 || x.dims[0] != call.inputs[1].dims[0]) {
    return invalid_argument("x is {}, wants [tokens, width] and a slot {} for each token",
                            shown(call, 0), shown(call, 1));
  }
  const TensorType& scales = call.inputs[2];
  if (scales.dtype != DType::kF32 || scales.rank() != 1 || !scales.dims[0].fixed()) {
    return invalid_argument("scales is {}, wants f32[slots]", shown(call, 2));
  }
  TensorType result{x.dtype, {x.dims[0], Dim(0)}};
  for (size_t i = 3; i < count; i += 2) {
    RETURN_IF_ERROR(want_float(call, i, "a"));
    RETURN_IF_ERROR(want_float(call, i + 1, "b"));
    const auto &a = call.inputs[i].dims, &b = call.inputs[i + 1].dims;
    const bool good = a.size() == 3 && b.size() == 3 && a[0] == scales.dims[0] &&
                      b[0] == scales.dims[0] && a[1] == b[1] && a[1].fixed() && a[2] == x.dims[1] &&
                      a[2].fixed() && b[2].fixed();
    if (!good) {
      return invalid_argument("a {} and b {} want [slots, rank, {}] and [slots, rank, n]",
                              shown(call, i), shown(call, i + 1),
                              dim_text(x.dims[1], call.symbols));
    }
    const auto columns = add_dims(result.dims[1], b[2]);
    if (!columns) return invalid_argument("the parts have too many columns");
    result.dims[1] = *columns;
  }
  return std::vector<TensorType>{std::move(result)};
}

}  // namespace ramjet::ir

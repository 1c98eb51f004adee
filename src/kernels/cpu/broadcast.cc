#include "kernels/cpu/broadcast.h"

namespace ramjet::kernels::cpu {
namespace {

/// Extent of the operand along axis i of out; missing leading axes are 1.
int64_t extent_along(const Shape& operand, const Shape& out, int i) {
  const int own = i - (out.rank() - operand.rank());
  return own < 0 ? 1 : operand[own];
}

}  // namespace

RowOperand::RowOperand(const TensorView& view, const Shape& out, int column_dims)
    : data(view.data), dtype(view.dtype), rank(out.rank() - column_dims) {
  int64_t columns = 1;
  for (int i = rank; i < out.rank(); ++i) columns *= extent_along(view.shape, out, i);
  column_constant = columns == 1;
  bool all_full = true, all_one = true;
  int64_t stride = columns;
  for (int i = rank - 1; i >= 0; --i) {
    const int64_t extent = extent_along(view.shape, out, i);
    extents[i] = out[i];
    strides[i] = extent == 1 ? 0 : stride;
    stride *= extent;
    all_full = all_full && extent == out[i];
    all_one = all_one && extent == 1;
  }
  regular = all_full || all_one;
  row_stride = all_one ? 0 : columns;
}

int common_column_dims(std::span<const TensorView> operands, const Shape& out) {
  int count = 1;
  for (; count < out.rank(); ++count) {
    const int i = out.rank() - 1 - count;  // may axis i join those after it?
    for (const TensorView& view : operands) {
      bool full = true, constant = true;
      for (int j = i; j < out.rank(); ++j) {
        const int64_t extent = extent_along(view.shape, out, j);
        full = full && extent == out[j];
        constant = constant && extent == 1;
      }
      if (!full && !constant) return count;
    }
  }
  return count;
}

}  // namespace ramjet::kernels::cpu

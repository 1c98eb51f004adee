// A broadcast operand addressed by (row, column) of the tensor it is broadcast to. Borrows.
#pragma once

#include <cstdint>

#include "tensor/tensor_view.h"

namespace ramjet::kernels::cpu {

/// What the vectorised interpreter has room for.
inline constexpr int kMaxProgramInputs = 64;
inline constexpr int kMaxProgramInstrs = 1024;

struct RowOperand {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  bool column_constant = false;  // the same value for all columns of a row
  bool regular = true;           // offset(row) = row * row_stride
  int64_t row_stride = 0;
  int rank = 0;  // of the rows' extents, when irregular
  int64_t extents[Shape::kMaxRank] = {};
  int64_t strides[Shape::kMaxRank] = {};

  /// Columns are the trailing `column_dims` axes of `out`, rows the ones before.
  RowOperand(const TensorView& view, const Shape& out, int column_dims = 1);
  RowOperand() = default;

  /// Elements from data to column 0 of a row.
  int64_t offset(int64_t row) const {
    if (regular) return row * row_stride;
    int64_t at = 0;
    for (int i = rank - 1; i >= 0; --i) {
      at += row % extents[i] * strides[i];
      row /= extents[i];
    }
    return at;
  }
};

/// How many trailing axes of `out` each operand either fills or is constant over, so that they may
/// be walked as one; at least 1.
int common_column_dims(std::span<const TensorView> operands, const Shape& out);

}  // namespace ramjet::kernels::cpu

// StoredMatrix: rows of a tensor as a checkpoint keeps it, whatever the order, the dtype and the
// scales it lies in: what a weight's recipe puts together.
//
// Borrows the checkpoint's bytes. Immutable; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "compiler/compiler.h"
#include "ir/graph.h"

namespace ramjet::compiler {

/// One source as rows of the combined matrix. A vector is a column of one-element rows here, so
/// that stacks and tiles of biases and scales follow the same rule as those of matrices.
struct StoredMatrix {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> holder;  // of bytes that the source gives back with it
  std::optional<WeightScale> scale;    // of eight-bit floats
  /// Of four-bit floats (e2m1, two a byte, the low half first) with a power of two for each 32 of
  /// a row: its exponent + 127, [rows, cols / 32]. Elements are then not of `dtype`.
  const uint8_t* exponents = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 1;
  bool transposed = false;  // bytes are [cols, rows]
  ir::RowSelection picked;  // of the rows

  int64_t count() const { return picked.all() ? rows : picked.count; }
  bool within() const {
    return picked.all() || (picked.at(picked.count - 1) < rows && picked.first < rows);
  }
  bool eight_bits() const { return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2; }
  /// e4m3 with one scale for a whole row: what an fp8 matmul reads as it is.
  bool row_scaled() const {
    return dtype == DType::kF8E4M3 && !transposed && (!scale || scale->block_cols >= cols);
  }
  /// Whether rows have to be multiplied by scales to be numbers.
  bool scaled() const { return scale.has_value() || exponents != nullptr; }
  /// Rows from here on are those picked.
  float row_scale(int64_t row) const { return scale ? scale_at(picked.at(row), 0) : 1.0f; }
  /// By the row as stored.
  float scale_at(int64_t row, int64_t col) const;
  /// A row's first byte, and how far apart its elements lie.
  const std::byte* row_bytes(int64_t row) const;
  int64_t stride() const { return transposed ? rows : 1; }
  /// A row as f32, scaled. `out` has room for `cols`.
  void read_row(int64_t row, float* out) const;
};

/// Of a tensor [experts, ..], one of them; experts 0: the tensor itself.
struct ExpertSlice {
  int64_t experts = 0;
  int64_t index = 0;
};

/// Errors name the tensor and what is wrong with its scales or extents.
Result<StoredMatrix> fetch_stored(const std::string& name, const WeightSource& from,
                                  ExpertSlice slice);

}  // namespace ramjet::compiler

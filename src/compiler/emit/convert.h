// Rows of numbers: between float dtypes, and to int8 or e4m3 with one scale a row.
#pragma once

#include <ramjet/dtype.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ramjet::compiler {

/// Whether convert_row can write the dtype: f32, f16, bf16. It also reads e4m3 and e5m2.
bool is_convertible(DType dtype);
bool is_readable(DType dtype);
/// Elements in memory, `stride` of them apart (1: contiguous).
struct SourceRow {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t stride = 1;
};
/// Converts `count` elements.
void convert_row(const SourceRow& source, int64_t count, DType to, std::byte* out);
/// Largest magnitude of a row; infinite or NaN if an element is.
float row_magnitude(std::span<const float> row);
/// row / scale, rounded to nearest; a scale of 0 (or below 2^-126) gives zeros.
void quantize_row(std::span<const float> row, float scale, int8_t* out);
void quantize_row_e4m3(std::span<const float> row, float scale, uint8_t* out);

}  // namespace ramjet::compiler

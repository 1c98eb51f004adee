// Rows of numbers: between float dtypes, and to int8 with one scale a row.
#pragma once

#include <ramjet/dtype.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ramjet::compiler {

/// Whether convert_row can read or write the dtype: f32, f16, bf16.
bool is_convertible(DType dtype);
/// Elements in memory, `stride` of them apart (1: contiguous).
struct SourceRow {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t stride = 1;
};
/// Converts `count` elements.
void convert_row(const SourceRow& source, int64_t count, DType to, std::byte* out);
/// Largest magnitude of a row / 127; infinite or NaN if an element is.
float int8_scale(std::span<const float> row);
void quantize_row(std::span<const float> row, float scale, int8_t* out);

}  // namespace ramjet::compiler

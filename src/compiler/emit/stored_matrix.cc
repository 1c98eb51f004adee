#include "compiler/emit/stored_matrix.h"

#include <array>
#include <bit>
#include <cmath>

#include "compiler/emit/convert.h"

namespace ramjet::compiler {
namespace {

constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
constexpr int64_t kExponentColumns = 32;

/// A row of scales for each row of blocks, and finite.
Status check_scale(const std::string& name, const StoredMatrix& source) {
  if (!source.scale) return ok_status();
  const auto& [values, rows, cols] = *source.scale;
  const auto blocks = [](int64_t extent, int64_t block) { return (extent + block - 1) / block; };
  if (rows < 1 || cols < 1 || !is_convertible(values.dtype) ||
      values.shape.elements() != blocks(source.rows, rows) * blocks(source.cols, cols)) {
    return invalid_argument("tensor '{}' [{}, {}] has {} {} scales for blocks of {} x {}", name,
                            source.rows, source.cols, values.shape.elements(),
                            dtype_name(values.dtype), rows, cols);
  }
  for (int64_t row = 0; row < source.rows; row += rows) {
    for (int64_t col = 0; col < source.cols; col += cols) {
      if (std::isfinite(source.scale_at(row, col))) continue;
      return invalid_argument("tensor '{}' has a scale that is no number", name);
    }
  }
  return ok_status();
}

/// Two to the power that an e8m0 byte stands for.
float power_of_two(uint8_t byte) {
  return byte == 0 ? 0x1p-127f : std::bit_cast<float>(uint32_t{byte} << 23);
}

void read_e2m1(const uint8_t* bytes, const uint8_t* exponents, int64_t cols, float* out) {
  constexpr std::array<float, 16> kValues = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                             -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  for (int64_t i = 0; i < cols; i += 2) {
    const float scale = power_of_two(exponents[i / kExponentColumns]);
    out[i] = kValues[bytes[i / 2] & 15] * scale;
    out[i + 1] = kValues[bytes[i / 2] >> 4] * scale;
  }
}

/// "X_blocks" u8[.., rows, cols / 32, 16] with "X_scales" u8[.., rows, cols / 32].
Result<StoredMatrix> fetch_e2m1(const std::string& name, const WeightSource& from,
                                const TensorView& blocks, ExpertSlice slice) {
  const std::string scales_name =
      name.substr(0, name.size() - kBlocks.size()) + std::string(kScales);
  ASSIGN_OR_RETURN(const TensorView scales, from.view(scales_name));
  const int rank = blocks.shape.rank();
  bool good = rank >= 3 && blocks.shape.back() == kExponentColumns / 2 &&
              scales.dtype == DType::kU8 && scales.shape.rank() == rank - 1;
  for (int i = 0; good && i + 1 < rank; ++i) good = scales.shape[i] == blocks.shape[i];
  good = good && rank == (slice.experts == 0 ? 3 : 4) &&
         (slice.experts == 0 || blocks.shape[0] == slice.experts);
  if (!good) {
    return invalid_argument("tensor '{}' {} and '{}' {} are no blocks of 32 four-bit floats", name,
                            blocks.shape.text(), scales_name, scales.shape.text());
  }
  StoredMatrix source;
  source.rows = blocks.shape[rank - 3];
  source.cols = blocks.shape[rank - 2] * kExponentColumns;
  const int64_t bytes = source.rows * source.cols / 2;
  const int64_t exponents = source.rows * source.cols / kExponentColumns;
  source.bytes = {static_cast<const std::byte*>(blocks.data) + slice.index * bytes,
                  static_cast<size_t>(bytes)};
  source.exponents = static_cast<const uint8_t*>(scales.data) + slice.index * exponents;
  for (int64_t i = 0; i < exponents; ++i) {
    if (source.exponents[i] != 255) continue;
    return invalid_argument("tensor '{}' has a scale that is no number", scales_name);
  }
  return source;
}

}  // namespace

float StoredMatrix::scale_at(int64_t row, int64_t col) const {
  const TensorView& values = scale->values;
  const int64_t blocks = (cols + scale->block_cols - 1) / scale->block_cols;
  const int64_t at = row / scale->block_rows * blocks + col / scale->block_cols;
  float value = 0;
  convert_row({static_cast<const std::byte*>(values.data) + at * dtype_bytes(values.dtype),
               values.dtype, 1},
              1, DType::kF32, reinterpret_cast<std::byte*>(&value));
  return value;
}

const std::byte* StoredMatrix::row_bytes(int64_t row) const {
  const int64_t stored = picked.at(row);
  if (exponents != nullptr) return bytes.data() + stored * cols / 2;
  return bytes.data() + (transposed ? stored : stored * cols) * dtype_bytes(dtype);
}

void StoredMatrix::read_row(int64_t row, float* out) const {
  if (exponents != nullptr) {
    return read_e2m1(reinterpret_cast<const uint8_t*>(row_bytes(row)),
                     exponents + picked.at(row) * cols / kExponentColumns, cols, out);
  }
  convert_row({row_bytes(row), dtype, stride()}, cols, DType::kF32,
              reinterpret_cast<std::byte*>(out));
  if (!scale) return;
  for (int64_t col = 0; col < cols; col += scale->block_cols) {
    const float factor = scale_at(picked.at(row), col);
    const int64_t end = std::min(cols, col + scale->block_cols);
    for (int64_t i = col; i < end; ++i) out[i] *= factor;
  }
}

Result<StoredMatrix> fetch_stored(const std::string& name, const WeightSource& from,
                                  ExpertSlice slice) {
  ASSIGN_OR_RETURN(HeldTensor held, from.hold(name));
  const TensorView& view = held.view;
  if (view.dtype == DType::kU8 && name.ends_with(kBlocks)) {
    return fetch_e2m1(name, from, view, slice);
  }
  StoredMatrix source;
  source.holder = std::move(held.holder);
  source.dtype = view.dtype;
  Shape shape = view.shape;
  int64_t skipped = 0;
  if (slice.experts != 0) {
    if (shape.rank() < 2 || shape[0] != slice.experts) {
      return invalid_argument("tensor '{}' is {}, wants [{}, ..]", name, shape.text(),
                              slice.experts);
    }
    shape = Shape(shape.dims().subspan(1));
    skipped = slice.index * shape.elements() * dtype_bytes(view.dtype);
  }
  source.bytes = {static_cast<const std::byte*>(view.data) + skipped,
                  static_cast<size_t>(shape.elements() * dtype_bytes(view.dtype))};
  source.rows = shape.rank() == 0 ? 1 : shape[0];
  source.cols = source.rows == 0 ? 0 : shape.elements() / source.rows;
  if (!source.eight_bits()) return source;
  if (slice.experts != 0) {
    return unsupported("tensor '{}' holds eight-bit floats of several experts", name);
  }
  ASSIGN_OR_RETURN(source.scale, from.scale(name));
  RETURN_IF_ERROR(check_scale(name, source));
  return source;
}

}  // namespace ramjet::compiler

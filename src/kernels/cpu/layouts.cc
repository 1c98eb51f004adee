#include "kernels/cpu/layouts.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace ramjet::kernels::cpu {
namespace {

int64_t packed_bytes(int64_t rows, int64_t cols, DType dtype) {
  return padded_rows(rows) * padded_cols(cols, dtype) * dtype_bytes(dtype);
}

template <class T>
struct Source {
  const T* data;
  int64_t rows, cols;
  T at(int64_t row, int64_t col) const {
    return row < rows && col < cols ? data[row * cols + col] : T{0};
  }
};

/// Tiles of 16 rows, each as steps of `kStep` columns of all rows, row by row.
template <class T, int64_t kStep>
void pack_tiles(const Source<T>& source, DType dtype, std::span<std::byte> out) {
  CHECK(out.size() == static_cast<size_t>(packed_bytes(source.rows, source.cols, dtype)));
  T* to = reinterpret_cast<T*>(out.data());
  const int64_t depth = padded_cols(source.cols, dtype);
  for (int64_t tile = 0; tile < padded_rows(source.rows); tile += 16) {
    for (int64_t col = 0; col < depth; col += kStep) {
      for (int64_t row = tile; row < tile + 16; ++row) {
        for (int64_t s = 0; s < kStep; ++s) *to++ = source.at(row, col + s);
      }
    }
  }
}

template <class T>
Source<T> source_of(std::span<const std::byte> bytes, int64_t rows, int64_t cols) {
  CHECK(bytes.size() == static_cast<size_t>(rows * cols) * sizeof(T));
  return {reinterpret_cast<const T*>(bytes.data()), rows, cols};
}

void pack_paired(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
                 std::span<std::byte> out) {
  CHECK(dtype == DType::kBf16, "cpu.n16k2.v1 holds bf16");
  pack_tiles<uint16_t, 2>(source_of<uint16_t>(source, rows, cols), dtype, out);
}

void pack_plain(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
                std::span<std::byte> out) {
  switch (dtype_bytes(dtype)) {
    case 4: return pack_tiles<uint32_t, 1>(source_of<uint32_t>(source, rows, cols), dtype, out);
    case 2: return pack_tiles<uint16_t, 1>(source_of<uint16_t>(source, rows, cols), dtype, out);
    default: return pack_tiles<uint8_t, 1>(source_of<uint8_t>(source, rows, cols), dtype, out);
  }
}

constexpr std::array<WeightLayout, 2> kLayouts = {{
    {kPairedLayout, packed_bytes, pack_paired},
    {kPlainLayout, packed_bytes, pack_plain},
}};

}  // namespace

std::span<const WeightLayout> layouts() { return kLayouts; }

}  // namespace ramjet::kernels::cpu

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

/// Copies the 16 x `step` corner at (row, col) of the source, row by row; zero beyond its edge.
template <class T>
void pack_step(const T* source, int64_t rows, int64_t cols, int64_t row, int64_t col, int64_t step,
               T* out) {
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t s = 0; s < step; ++s) {
      const bool inside = row + r < rows && col + s < cols;
      out[r * step + s] = inside ? source[(row + r) * cols + col + s] : T{0};
    }
  }
}

template <class T>
void pack_tiles(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
                int64_t step, std::span<std::byte> out) {
  CHECK(out.size() == static_cast<size_t>(packed_bytes(rows, cols, dtype)));
  CHECK(source.size() == static_cast<size_t>(rows * cols * dtype_bytes(dtype)));
  const T* from = reinterpret_cast<const T*>(source.data());
  T* to = reinterpret_cast<T*>(out.data());
  const int64_t depth = padded_cols(cols, dtype);
  for (int64_t row = 0; row < padded_rows(rows); row += 16) {
    for (int64_t col = 0; col < depth; col += step) {
      pack_step(from, rows, cols, row, col, step, to + row * depth + col * 16);
    }
  }
}

void pack_paired(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
                 std::span<std::byte> out) {
  CHECK(dtype == DType::kBf16, "cpu.n16k2.v1 holds bf16");
  pack_tiles<uint16_t>(source, rows, cols, dtype, 2, out);
}

void pack_plain(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
                std::span<std::byte> out) {
  switch (dtype_bytes(dtype)) {
    case 4: return pack_tiles<uint32_t>(source, rows, cols, dtype, 1, out);
    case 2: return pack_tiles<uint16_t>(source, rows, cols, dtype, 1, out);
    default: return pack_tiles<uint8_t>(source, rows, cols, dtype, 1, out);
  }
}

constexpr std::array<WeightLayout, 2> kLayouts = {{
    {kPairedLayout, packed_bytes, pack_paired},
    {kPlainLayout, packed_bytes, pack_plain},
}};

}  // namespace

std::span<const WeightLayout> layouts() { return kLayouts; }

}  // namespace ramjet::kernels::cpu

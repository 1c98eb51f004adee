// The packed weight layouts: one a dtype, read by every instruction set and any number of rows.
//
// cpu.n16k2.v1 (bf16): tiles of 16 rows; in a tile, pairs of columns: [N/16][K/2][16][2]. Sixteen
//   pairs are 1 KiB, the B operand of one AMX instruction; one pair is one AVX-512 register whose
//   even and odd columns come apart by a shift and a mask.
// cpu.n16.v1 (f32, f16, int8): tiles of 16 rows, one column after the other: [N/16][K][16].
// N is padded to 32 (two tiles), K to 32 where 16-bit or 8-bit, with zeros.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/registry.h"

namespace ramjet::kernels::cpu {

inline constexpr std::string_view kPairedLayout = "cpu.n16k2.v1";
inline constexpr std::string_view kPlainLayout = "cpu.n16.v1";

inline constexpr int64_t padded_rows(int64_t rows) { return (rows + 31) / 32 * 32; }
inline constexpr int64_t padded_cols(int64_t cols, DType dtype) {
  return dtype == DType::kF32 ? cols : (cols + 31) / 32 * 32;
}

std::span<const WeightLayout> layouts();

}  // namespace ramjet::kernels::cpu

// Conversions between f32 and the 16-bit floats, round to nearest even. Scalar and exact: the
// definition that every vectorised path must equal.
#pragma once

#include <bit>
#include <cstdint>

namespace ramjet {

using bf16_t = uint16_t;  // bit patterns; arithmetic happens in f32
using f16_t = uint16_t;

inline float bf16_to_f32(bf16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline bf16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16_t>((bits >> 16) | 0x40u);
  return static_cast<bf16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(f16_t h) {
  const uint32_t sign = (uint32_t{h} & 0x8000u) << 16;
  const uint32_t exponent = (uint32_t{h} >> 10) & 0x1fu;
  const uint32_t mantissa = uint32_t{h} & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

inline f16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<f16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<f16_t>(sign | 0x7c00u);  // rounds past 65504
  if (magnitude < 0x38800000u) {  // subnormal or zero: the f32 adder rounds it
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<f16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return static_cast<f16_t>(sign | (rounded >> 13));
}

}  // namespace ramjet

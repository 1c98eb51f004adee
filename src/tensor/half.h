// Conversions between f32 and the narrow floats, round to nearest even. Scalar and exact: the
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

/// e4m3 as of the OCP 8-bit floating point specification: no infinities, 0x7f is NaN, at most 448.
using e4m3_t = uint8_t;

inline float e4m3_to_f32(e4m3_t bits) {
  const uint32_t exponent = (uint32_t{bits} >> 3) & 0xfu, mantissa = uint32_t{bits} & 7u;
  const uint32_t sign = (uint32_t{bits} & 0x80u) << 24;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

/// Saturates at 448, infinities included; a NaN stays one.
inline e4m3_t f32_to_e4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<e4m3_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<e4m3_t>(sign | 0x7eu);  // 448 and beyond
  if (magnitude < 0x3c800000u) {  // below 2^-6, subnormal or zero: the f32 adder rounds it
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<e4m3_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000u));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u) - (120u << 23);
  return static_cast<e4m3_t>(sign | (rounded >> 20));
}

/// e5m2 of the same specification is the upper half of an f16.
inline float e5m2_to_f32(uint8_t bits) { return f16_to_f32(static_cast<f16_t>(bits << 8)); }

}  // namespace ramjet

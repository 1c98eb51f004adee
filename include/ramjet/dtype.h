// Element types of tensors. Plain data; layer 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ramjet {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kF8E4M3,
  kF8E5M2,
  kI8,
  kU8,
  kI32,
  kI64,
  kBool,
};

/// Bytes of one element.
constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF16:
    case DType::kBf16: return 2;
    case DType::kI64: return 8;
    default: return 1;
  }
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16 ||
         dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
}

/// "f32", "bf16", "f8e4m3", "i32", ...
constexpr std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBf16: return "bf16";
    case DType::kF8E4M3: return "f8e4m3";
    case DType::kF8E5M2: return "f8e5m2";
    case DType::kI8: return "i8";
    case DType::kU8: return "u8";
    case DType::kI32: return "i32";
    case DType::kI64: return "i64";
    case DType::kBool: return "bool";
  }
  return "?";
}

/// Inverse of dtype_name; also takes "float32", "bfloat16", "fp16", "int8" and so on.
std::optional<DType> parse_dtype(std::string_view name);

}  // namespace ramjet

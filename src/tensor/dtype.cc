#include <ramjet/dtype.h>

#include <utility>

namespace ramjet {

std::optional<DType> parse_dtype(std::string_view name) {
  static constexpr std::pair<std::string_view, DType> kNames[] = {
      {"f32", DType::kF32},       {"fp32", DType::kF32},      {"float32", DType::kF32},
      {"float", DType::kF32},     {"f16", DType::kF16},       {"fp16", DType::kF16},
      {"float16", DType::kF16},   {"half", DType::kF16},      {"bf16", DType::kBf16},
      {"bfloat16", DType::kBf16}, {"f8e4m3", DType::kF8E4M3}, {"fp8", DType::kF8E4M3},
      {"f8e5m2", DType::kF8E5M2}, {"i8", DType::kI8},         {"int8", DType::kI8},
      {"u8", DType::kU8},         {"uint8", DType::kU8},      {"i32", DType::kI32},
      {"int32", DType::kI32},     {"i64", DType::kI64},       {"int64", DType::kI64},
      {"bool", DType::kBool},
  };
  for (const auto& [spelling, dtype] : kNames) {
    if (spelling == name) return dtype;
  }
  return std::nullopt;
}

}  // namespace ramjet

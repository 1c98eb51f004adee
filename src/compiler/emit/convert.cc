#include "compiler/emit/convert.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tensor/half.h"

namespace ramjet::compiler {
namespace {

float load(const float* p) { return *p; }
struct Bf16 {
  bf16_t bits;
};
struct F16 {
  f16_t bits;
};
float load(const Bf16* p) { return bf16_to_f32(p->bits); }
float load(const F16* p) { return f16_to_f32(p->bits); }
struct E4m3 {
  e4m3_t bits;
};
struct E5m2 {
  uint8_t bits;
};
template <float (*kDecode)(uint8_t)>
const std::array<float, 256>& decoded() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values;
    for (size_t i = 0; i < values.size(); ++i) values[i] = kDecode(static_cast<uint8_t>(i));
    return values;
  }();
  return table;
}
float load(const E4m3* p) { return decoded<e4m3_to_f32>()[p->bits]; }
float load(const E5m2* p) { return decoded<e5m2_to_f32>()[p->bits]; }
void store(float value, float* p) { *p = value; }
void store(float value, Bf16* p) { p->bits = f32_to_bf16(value); }
void store(float value, F16* p) { p->bits = f32_to_f16(value); }

template <class From, class To>
void convert(const std::byte* source, int64_t stride, int64_t count, std::byte* out) {
  const From* const from = reinterpret_cast<const From*>(source);
  To* const to = reinterpret_cast<To*>(out);
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) store(load(from + i), to + i);
  } else {
    for (int64_t i = 0; i < count; ++i) store(load(from + i * stride), to + i);
  }
}

template <class From>
void convert_to(const std::byte* source, int64_t stride, int64_t count, DType to, std::byte* out) {
  switch (to) {
    case DType::kF16: return convert<From, F16>(source, stride, count, out);
    case DType::kBf16: return convert<From, Bf16>(source, stride, count, out);
    default: return convert<From, float>(source, stride, count, out);
  }
}

}  // namespace

bool is_convertible(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16;
}

bool is_readable(DType dtype) {
  return is_convertible(dtype) || dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
}

void convert_row(const SourceRow& source, int64_t count, DType to, std::byte* out) {
  const auto& [data, from, stride] = source;
  if (from == to && stride == 1) {
    std::memcpy(out, data, static_cast<size_t>(count * dtype_bytes(to)));
    return;
  }
  switch (from) {
    case DType::kF16: return convert_to<F16>(data, stride, count, to, out);
    case DType::kBf16: return convert_to<Bf16>(data, stride, count, to, out);
    case DType::kF8E4M3: return convert_to<E4m3>(data, stride, count, to, out);
    case DType::kF8E5M2: return convert_to<E5m2>(data, stride, count, to, out);
    default: return convert_to<float>(data, stride, count, to, out);
  }
}

// The loops work on the bits, as integers, so that compilers vectorise them: float reductions,
// lrintf and branches they leave scalar.
float row_magnitude(std::span<const float> row) {
  int32_t most = 0;  // magnitudes order like their bits; infinities and NaN come last
  for (float value : row) most = std::max(most, std::bit_cast<int32_t>(value) & 0x7fffffff);
  return std::bit_cast<float>(most);
}

void quantize_row(std::span<const float> row, float scale, int8_t* out) {
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the nearest integer
  for (size_t i = 0; i < row.size(); ++i) {
    const int32_t nearest =
        std::bit_cast<int32_t>(row[i] * inverse + kRound) - std::bit_cast<int32_t>(kRound);
    out[i] = static_cast<int8_t>(std::clamp(nearest, -127, 127));
  }
}

void quantize_row_e4m3(std::span<const float> row, float scale, uint8_t* out) {
  const float inverse = scale >= 0x1p-126f ? 1.0f / scale : 0.0f;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto bits = std::bit_cast<int32_t>(row[i] * inverse);
    const int32_t magnitude = std::min(bits & 0x7fffffff, 0x43e00000);  // at most 448
    // As f32_to_e4m3, both ways at once: below 2^-6 the f32 adder rounds.
    const int32_t normal = (magnitude + 0x7ffff + ((magnitude >> 20) & 1) - (120 << 23)) >> 20;
    const int32_t small =
        std::bit_cast<int32_t>(std::bit_cast<float>(magnitude) + 0x1p14f) - 0x46800000;
    const int32_t value = magnitude < 0x3c800000 ? small : normal;
    out[i] = static_cast<uint8_t>(((bits >> 24) & 0x80) | value);
  }
}

}  // namespace ramjet::compiler

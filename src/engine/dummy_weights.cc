#include "engine/dummy_weights.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "tensor/half.h"

namespace ramjet::engine {
namespace {

constexpr float kDeviation = 0.02f;
constexpr float kInt8Deviation = 42.0f;

/// Sum of four uniform 16-bit numbers of one mixed word: mean 0, deviation 1, at most 3.5.
inline float standard_value(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;  // SplitMix64 (Steele et al. 2014)
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  const uint32_t sum =
      static_cast<uint32_t>((z & 0xffff) + ((z >> 16) & 0xffff) + ((z >> 32) & 0xffff) + (z >> 48));
  constexpr float kMean = 2 * 65535.0f, kScale = 1.7320508f / 65536.0f;  // sqrt(12 / 4)
  return (static_cast<float>(static_cast<int32_t>(sum)) - kMean) * kScale;
}

template <class T, class Convert>
void fill(std::span<std::byte> out, uint64_t first, Convert convert) {
  T* const values = reinterpret_cast<T*>(out.data());
  const size_t count = out.size() / sizeof(T);
  for (size_t i = 0; i < count; ++i) values[i] = convert(first + i);
}

}  // namespace

DummyKind dummy_kind(std::string_view name, int rank) {
  if (name.ends_with(".scales")) return DummyKind::kScale;
  const bool bias = name.find("bias") != std::string_view::npos;
  return rank == 1 && !bias ? DummyKind::kNorm : DummyKind::kMatrix;
}

uint64_t dummy_seed(std::string_view name) { return std::max<uint64_t>(hash64(name), 1); }

float dummy_value(uint64_t seed, uint64_t index, DummyKind kind) {
  switch (kind) {
    case DummyKind::kScale: return kDeviation / kInt8Deviation;
    case DummyKind::kNorm: return 1.0f + kDeviation * standard_value(seed, index);
    case DummyKind::kMatrix: break;
  }
  return kDeviation * standard_value(seed, index);
}

void fill_dummy(std::span<std::byte> out, DType dtype, uint64_t seed, DummyKind kind,
                uint64_t first) {
  const auto value = [&](uint64_t i) { return dummy_value(seed, i, kind); };
  switch (dtype) {
    case DType::kF32: return fill<float>(out, first, value);
    case DType::kBf16:
      return fill<bf16_t>(out, first, [&](uint64_t i) { return f32_to_bf16(value(i)); });
    case DType::kF16:
      return fill<f16_t>(out, first, [&](uint64_t i) { return f32_to_f16(value(i)); });
    case DType::kI8:
      return fill<int8_t>(out, first, [&](uint64_t i) {
        return static_cast<int8_t>(
            std::clamp(kInt8Deviation * standard_value(seed, i), -127.0f, 127.0f));
      });
    case DType::kF8E4M3:
      return fill<e4m3_t>(out, first, [&](uint64_t i) {
        return f32_to_e4m3(kInt8Deviation * standard_value(seed, i));
      });
    default: std::memset(out.data(), 0, out.size());
  }
}

}  // namespace ramjet::engine

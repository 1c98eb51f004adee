#include "kernels/cpu/peak.h"

#include <immintrin.h>

namespace ramjet::kernels::cpu {
namespace {

// Keeps a value alive without storing it.
template <class T>
void keep(T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

}  // namespace

uint64_t read_stream(std::span<const std::byte> bytes) {
  __m128i sums[4] = {};
  const auto* p = reinterpret_cast<const __m128i*>(bytes.data());
  for (size_t i = 0; i < bytes.size() / 16; i += 16) {
    _mm_prefetch(reinterpret_cast<const char*>(p + i + 128), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + i + 132), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + i + 136), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + i + 140), _MM_HINT_T0);
    for (size_t j = 0; j < 16; ++j) {
      sums[j % 4] = _mm_add_epi64(sums[j % 4], _mm_loadu_si128(p + i + j));
    }
  }
  const __m128i sum =
      _mm_add_epi64(_mm_add_epi64(sums[0], sums[1]), _mm_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum));
}

__attribute__((target("avx2,fma"))) double run_fma_avx2(int64_t rounds) {
  __m256 sums[12];
  for (auto& sum : sums) sum = _mm256_set1_ps(1.0f);
  __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  asm volatile("" : "+v"(x), "+v"(y));  // or the compiler knows the sums
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm256_fmadd_ps(sums[j], x, y);
  }
  keep(sums);
  return static_cast<double>(rounds) * 12 * 8 * 2;
}

__attribute__((target("avx512f"))) double run_fma_avx512(int64_t rounds) {
  __m512 sums[12];
  for (auto& sum : sums) sum = _mm512_set1_ps(1.0f);
  __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  asm volatile("" : "+v"(x), "+v"(y));  // or the compiler knows the sums
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm512_fmadd_ps(sums[j], x, y);
  }
  keep(sums);
  return static_cast<double>(rounds) * 12 * 16 * 2;
}

__attribute__((target("amx-tile,amx-bf16"))) double run_amx(int64_t rounds) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  alignas(64) uint16_t ones[512];
  for (auto& one : ones) one = 0x3f80;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_loadd(6, ones, 64);
  _tile_loadd(7, ones, 64);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  alignas(64) float result[256];
  _tile_stored(0, result, 64);
  keep(result);
  _tile_release();
  return static_cast<double>(rounds) * 6 * 16 * 16 * 32 * 2;
}

}  // namespace ramjet::kernels::cpu

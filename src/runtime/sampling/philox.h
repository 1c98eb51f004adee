// Philox 4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011. A pure function, so that what a sequence draws depends on its
// seed, its index and the position alone, never on what else is in the batch.
#pragma once

#include <array>
#include <cstdint>

namespace ramjet::runtime {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox4x32(PhiloxBlock counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

/// Uniform in [0, 1) with 53 bits, for output token `position` of sequence `index`.
constexpr double philox_uniform(uint64_t seed, uint32_t index, uint64_t position) {
  const PhiloxBlock r = philox4x32(
      {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), index, 0}, seed);
  const uint64_t bits = (uint64_t{r[0]} << 32 | r[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace ramjet::runtime

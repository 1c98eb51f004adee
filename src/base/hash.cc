#include "base/hash.h"

#include <fmt/core.h>
#include <xxhash.h>

#include "base/check.h"

namespace ramjet {

std::string Hash128::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}
uint64_t hash64(std::string_view text, uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}
Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed) {
  XXH128_hash_t h = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.low64, h.high64};
}
Hash128 hash128(std::string_view text, uint64_t seed) {
  return hash128(std::as_bytes(std::span(text.data(), text.size())), seed);
}

Hash128 hash_kv_block(const Hash128& parent, std::span<const int32_t> tokens, uint64_t extra) {
  Hasher hasher;
  const uint64_t head[3] = {parent.low, parent.high, extra};
  hasher.update(std::as_bytes(std::span(head)));
  hasher.update(std::as_bytes(tokens));
  return hasher.digest128();
}

Hasher::Hasher() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr, "out of memory");
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}
Hasher::~Hasher() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void Hasher::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
void Hasher::update(std::string_view text) {
  update(std::as_bytes(std::span(text.data(), text.size())));
}
Hash128 Hasher::digest128() const {
  XXH128_hash_t h = XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_));
  return {h.low64, h.high64};
}
uint64_t Hasher::digest64() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));  // both widths share a state
}

}  // namespace ramjet

// XXH3 hashes: checksums of file sections, cache keys, and the KV prefix chain.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ramjet {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  auto operator<=>(const Hash128&) const = default;
  /// 32 lower-case hex digits, high half first.
  std::string hex() const;
};

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t hash64(std::string_view text, uint64_t seed = 0);
Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed = 0);
Hash128 hash128(std::string_view text, uint64_t seed = 0);

/// Hash of a KV block: chains the parent's hash over this block's tokens, so that equal hashes
/// mean equal prefixes. `extra` carries adapter, salt and image identity.
Hash128 hash_kv_block(const Hash128& parent, std::span<const int32_t> tokens, uint64_t extra = 0);

/// Streaming XXH3, for files larger than memory: digests equal hash64 and hash128 of the whole.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  Hash128 digest128() const;
  uint64_t digest64() const;

 private:
  void* state_;
};

}  // namespace ramjet

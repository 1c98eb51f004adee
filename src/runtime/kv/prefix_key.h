// PrefixKey: the hash chain over the full blocks of a token sequence, grown as tokens arrive.
//
// A value; not thread-safe. `extra` carries what else the content depends on (salt, adapter).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/hash.h"

namespace ramjet::runtime::kv {

struct PrefixKey {
  uint64_t extra = 0;
  std::vector<Hash128> hashes;  // of block i and all before it

  /// Hashes the full blocks of `tokens` that are not hashed yet.
  void extend(std::span<const int32_t> tokens, int64_t block_tokens) {
    const size_t size = static_cast<size_t>(block_tokens);
    for (size_t i = hashes.size(); (i + 1) * size <= tokens.size(); ++i) {
      const Hash128 parent = i == 0 ? Hash128{} : hashes[i - 1];
      hashes.push_back(hash_kv_block(parent, tokens.subspan(i * size, size), extra));
    }
  }
  /// Drops what depends on tokens from `num_tokens` on.
  void truncate(int64_t num_tokens, int64_t block_tokens) {
    const auto keep = static_cast<size_t>(num_tokens / block_tokens);
    if (hashes.size() > keep) hashes.resize(keep);
  }
};

}  // namespace ramjet::runtime::kv

// BlockPool: the metadata of every KV block: reference counts, the prefix index, eviction order.
//
// A block is active (refs > 0), cached (refs = 0, its content indexed and reusable) or free.
// Not thread-safe. Owns no KV memory. All memory is allocated by the constructor.
// Invariant: active + cached + free = total; a free block is never indexed.
//
// Exactness of the prefix index: a hit must equal in hash, in tokens and in parent block (its id
// and generation, which changes with its content). So a hit proves the whole prefix token by
// token; a collision of hashes is a miss, never a wrong answer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "runtime/kv/hash_index.h"

namespace ramjet::runtime::kv {

using BlockId = int32_t;
inline constexpr BlockId kNoBlock = -1;

/// What routers and tiers want to know. Called synchronously; must not call back.
struct PoolEvents {
  std::function<void(BlockId, const Hash128& hash, const Hash128& parent)> stored;
  std::function<void(BlockId, const Hash128& hash)> removed;
};

struct PoolCounts {
  int64_t total = 0;
  int64_t active = 0;
  int64_t cached = 0;
  int64_t free = 0;
};

/// The block before another in a chain, as it was when the child was stored. Where parents slide
/// out of a window before their children, only the hash is kept, and 128 bits are trusted.
struct ParentLink {
  BlockId block = kNoBlock;  // kNoBlock: the chain begins here, or slides
  uint32_t generation = 0;
  Hash128 hash;
  bool operator==(const ParentLink&) const = default;
};

class BlockPool {
 public:
  /// Retention levels: lower ones are evicted first, least recently used within a level.
  static constexpr int kLevels = 8;
  static constexpr int kDefaultLevel = 3;

  BlockPool(int64_t num_blocks, int64_t block_tokens);

  /// A block with one reference and no content: a free one, else the least valuable cached one.
  /// kNoBlock if every block is active.
  BlockId allocate(int level = kDefaultLevel);
  void ref(BlockId block, int level);
  /// At zero references an indexed block becomes cached, any other free.
  void unref(BlockId block);

  /// The block that holds `tokens` after `parent`, or kNoBlock.
  BlockId find(const Hash128& hash, std::span<const int32_t> tokens,
               const ParentLink& parent) const;
  /// The indexed block of a hash, unverified: for a hash that find() has just verified.
  BlockId find_hash(const Hash128& hash) const { return index_.find(hash); }
  /// Indexes an active, full block. If an equal block is indexed already, returns that one and
  /// leaves `block` as it is; the caller may exchange them.
  BlockId store(BlockId block, const Hash128& hash, std::span<const int32_t> tokens,
                const ParentLink& parent);
  /// Takes a block out of the index: its content is about to change or is not to be trusted.
  void forget(BlockId block);
  /// Frees every cached block.
  void drop_cached();

  ParentLink link_of(BlockId block) const;
  int32_t refs(BlockId block) const { return meta(block).refs; }
  bool indexed(BlockId block) const { return meta(block).indexed; }
  int64_t block_tokens() const { return block_tokens_; }
  PoolCounts counts() const;
  int64_t available() const { return free_count_ + cached_count_; }
  void set_events(PoolEvents events) { events_ = std::move(events); }

  /// Compares every count and list with `expected_refs` (one a block). kInternal names the first
  /// block that is wrong.
  Status check(std::span<const int32_t> expected_refs) const;

 private:
  struct Meta {
    int32_t refs = 0;
    int32_t level = 0;
    BlockId previous = kNoBlock;  // in the list of its level; next also links the free list
    BlockId next = kNoBlock;
    uint32_t generation = 0;
    bool indexed = false;
    Hash128 hash;
    ParentLink parent;
  };
  struct List {
    BlockId head = kNoBlock;  // least recently used
    BlockId tail = kNoBlock;
  };

  Meta& meta(BlockId block) { return meta_[static_cast<size_t>(block)]; }
  const Meta& meta(BlockId block) const { return meta_[static_cast<size_t>(block)]; }
  std::span<int32_t> tokens_of(BlockId block);
  bool same_content(BlockId block, std::span<const int32_t> tokens) const;
  void push_cached(BlockId block);
  void remove_cached(BlockId block);
  void push_free(BlockId block);
  void unindex(BlockId block);
  Status check_lists() const;

  int64_t block_tokens_;
  std::vector<Meta> meta_;
  std::vector<int32_t> tokens_;  // of indexed blocks, block_tokens_ each
  HashIndex index_;
  std::array<List, kLevels> cached_;
  BlockId free_head_ = kNoBlock;
  int64_t free_count_ = 0;
  int64_t cached_count_ = 0;
  PoolEvents events_;
};

}  // namespace ramjet::runtime::kv

// BlockManager: block tables of sequences over one BlockPool, and leases on blocks.
//
// It speaks blocks, tokens and hashes; who owns a sequence is not its business. Not thread-safe.
// A table grows with reserve(), its content becomes known with commit(), and it shares blocks
// with others after adopt() (a prefix found in the index) or fork(). A shared block is never
// written: reserve() replaces it by a copy first and reports the copy to be made.
// Invariant (check_integrity): the references of each block equal the tables and leases that
// hold it. After start-up only tables that outgrow their capacity allocate.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtime/kv/block_pool.h"
#include "runtime/kv/prefix_key.h"

namespace ramjet::runtime::kv {

struct BlockManagerConfig {
  int64_t num_blocks = 0;  // the hard cap
  int64_t block_tokens = 16;
  int64_t window = 0;  // tokens every layer sees at most; 0: all of them
  bool prefix_caching = true;
};

using TableId = int32_t;
inline constexpr TableId kNoTable = -1;

struct CopyPair {  // copy-on-write, to be done before the step that writes `to`
  BlockId from = kNoBlock;
  BlockId to = kNoBlock;
};

/// A claim on blocks that outlives their sequence, for transfers. The epoch tells a claim from a
/// later one in the same slot, so that a late peer releases nothing of others.
struct Lease {
  int32_t slot = -1;
  uint64_t epoch = 0;
};

struct PrefixMatch {
  int64_t tokens = 0;         // found, a multiple of block_tokens
  int64_t inactive = 0;       // of the found blocks: cached ones, which adopting takes
  bool next_pending = false;  // the first block not found is being computed by another table
};

class BlockManager {
 public:
  explicit BlockManager(const BlockManagerConfig& config);

  /// An empty table. `level` is the retention level of its blocks (BlockPool::kLevels).
  TableId open(int level = BlockPool::kDefaultLevel);
  /// Releases its blocks, last first, so that the tail of a prefix is evicted before its head.
  void close(TableId table);

  /// The longest indexed prefix of at most `limit` tokens. No side effects.
  PrefixMatch match(const PrefixKey& key, std::span<const int32_t> tokens, int64_t limit) const;
  /// Takes over that prefix into an empty table; returns its tokens, which count as committed.
  int64_t adopt(TableId table, const PrefixKey& key, std::span<const int32_t> tokens,
                int64_t limit);
  /// Announces that this table will compute the blocks of `key` after what it adopted.
  void announce(TableId table, const PrefixKey& key);
  /// Takes back what was announced and is not committed.
  void unannounce(TableId table) { withdraw(table, at(table).plan.size()); }

  /// New blocks (copies included) that reserve(table, tokens) would take from the pool.
  int64_t blocks_wanted(TableId table, int64_t tokens) const;
  /// Room for positions [committed, tokens) that only this table writes. All or nothing: false,
  /// and no change, if the pool cannot give them. Appends the copies to be made.
  bool reserve(TableId table, int64_t tokens, std::vector<CopyPair>* copies);
  /// Positions below `tokens.size()` are computed: full blocks enter the index (and are exchanged
  /// for equal ones found there), blocks behind the window are released.
  void commit(TableId table, std::span<const int32_t> tokens, const PrefixKey& key);
  /// Forgets committed positions from `tokens` on and releases the blocks past them.
  void truncate(TableId table, int64_t tokens);
  /// A table with the same blocks and the same committed tokens.
  TableId fork(TableId table);
  /// The content of the table's blocks is lost (a step failed): none stays in the index.
  void distrust(TableId table);

  /// Block of each table position; kNoBlock where it slid out of the window.
  std::span<const BlockId> blocks(TableId table) const { return at(table).blocks; }
  int64_t committed(TableId table) const { return at(table).committed; }
  int64_t held(TableId table) const { return at(table).held; }
  /// Committed tokens that its blocks still hold.
  int64_t live_tokens(TableId table) const {
    return at(table).committed - at(table).slid * config_.block_tokens;
  }

  /// Holds the blocks of positions [0, committed) until released.
  Lease lease(TableId table);
  /// kInvalidArgument if the lease was released or revoked before.
  Status release(const Lease& lease);
  /// The leased blocks; empty if stale.
  std::span<const BlockId> leased(const Lease& lease) const;
  /// Releases every lease (their peer is lost).
  void revoke_leases();
  /// Empties the index; active blocks stay with their tables but are found no more.
  void reset_index();

  int64_t available() const { return pool_.available(); }
  int64_t blocks_for(int64_t tokens) const {
    return (tokens + config_.block_tokens - 1) / config_.block_tokens;
  }
  const BlockManagerConfig& config() const { return config_; }
  BlockPool& pool() { return pool_; }
  const BlockPool& pool() const { return pool_; }
  int64_t open_tables() const { return open_tables_; }
  Status check_integrity() const;

 private:
  struct Table {
    std::vector<BlockId> blocks;
    int64_t committed = 0;      // tokens whose KV is computed
    int64_t indexed = 0;        // leading blocks that were offered to the index
    int64_t slid = 0;           // leading blocks released behind the window
    int64_t held = 0;           // references this table holds
    std::vector<Hash128> plan;  // announced hashes, for withdrawal
    size_t planned_from = 0;    // plan[planned_from ..] are not computed yet
    int level = BlockPool::kDefaultLevel;
    bool is_open = false;
  };
  struct LeaseSlot {
    std::vector<BlockId> blocks;
    uint64_t epoch = 0;  // 0: vacant
  };

  Table& at(TableId table);
  const Table& at(TableId table) const;
  bool linkable(const Table& table, size_t i) const;
  ParentLink link_before(BlockId previous, const PrefixKey& key, size_t i) const;
  void index_block(Table& table, size_t i, std::span<const int32_t> tokens, const PrefixKey& key);
  int64_t first_seen_block(int64_t position) const;
  void withdraw(TableId id, size_t upto);
  void slide(Table& table);
  void drop(Table& table, size_t i);
  bool needs_copy(const Table& table) const;
  const LeaseSlot* slot_of(const Lease& lease) const;

  BlockManagerConfig config_;
  BlockPool pool_;
  std::vector<Table> tables_;
  std::vector<TableId> vacant_;
  HashIndex pending_;  // announced hash -> table
  std::vector<LeaseSlot> leases_;
  uint64_t next_epoch_ = 1;
  int64_t open_tables_ = 0;
};

}  // namespace ramjet::runtime::kv

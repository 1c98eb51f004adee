#include "runtime/kv/block_manager.h"

#include <algorithm>

#include "base/check.h"

namespace ramjet::runtime::kv {

BlockManager::BlockManager(const BlockManagerConfig& config)
    : config_(config),
      pool_(config.num_blocks, config.block_tokens),
      pending_(config.num_blocks + 1) {}

BlockManager::Table& BlockManager::at(TableId table) {
  Table& t = tables_[static_cast<size_t>(table)];
  DCHECK(t.is_open);
  return t;
}
const BlockManager::Table& BlockManager::at(TableId table) const {
  const Table& t = tables_[static_cast<size_t>(table)];
  DCHECK(t.is_open);
  return t;
}

TableId BlockManager::open(int level) {
  if (vacant_.empty()) {
    vacant_.push_back(static_cast<TableId>(tables_.size()));
    tables_.emplace_back();
  }
  const TableId id = vacant_.back();
  vacant_.pop_back();
  Table& t = tables_[static_cast<size_t>(id)];
  CHECK(!t.is_open && t.blocks.empty() && t.held == 0);
  t.committed = t.indexed = t.slid = 0;
  t.planned_from = 0;
  t.level = level;
  t.is_open = true;
  ++open_tables_;
  return id;
}

void BlockManager::close(TableId table) {
  Table& t = at(table);
  withdraw(table, t.plan.size());
  for (size_t i = t.blocks.size(); i-- > 0;) drop(t, i);
  CHECK(t.held == 0);
  t.blocks.clear();
  t.plan.clear();
  t.is_open = false;
  --open_tables_;
  vacant_.push_back(table);
}

void BlockManager::drop(Table& table, size_t i) {
  if (table.blocks[i] == kNoBlock) return;
  pool_.unref(table.blocks[i]);
  table.blocks[i] = kNoBlock;
  --table.held;
}

// The first block that a query at `position` reads.
int64_t BlockManager::first_seen_block(int64_t position) const {
  if (config_.window == 0) return 0;
  return std::max<int64_t>(0, position - config_.window + 1) / config_.block_tokens;
}

ParentLink BlockManager::link_before(BlockId previous, const PrefixKey& key, size_t i) const {
  if (i == 0) return {};
  if (config_.window != 0) return {kNoBlock, 0, key.hashes[i - 1]};
  return pool_.link_of(previous);
}

PrefixMatch BlockManager::match(const PrefixKey& key, std::span<const int32_t> tokens,
                                int64_t limit) const {
  PrefixMatch result;
  if (!config_.prefix_caching) return result;
  const auto size = static_cast<size_t>(config_.block_tokens);
  limit = std::min<int64_t>(limit, static_cast<int64_t>(tokens.size()));
  const size_t most =
      std::min(key.hashes.size(), static_cast<size_t>(std::max<int64_t>(0, limit)) / size);
  size_t best = 0, run = 0;
  BlockId previous = kNoBlock;
  for (size_t i = 0; i < most; ++i) {
    previous =
        pool_.find(key.hashes[i], tokens.subspan(i * size, size), link_before(previous, key, i));
    run = previous == kNoBlock ? 0 : run + 1;
    if (previous == kNoBlock && config_.window == 0) break;
    const size_t end = i + 1;
    const auto first = static_cast<size_t>(first_seen_block(static_cast<int64_t>(end * size)));
    if (run >= end - std::min(first, end) && run > 0) best = end;
  }
  result.tokens = static_cast<int64_t>(best * size);
  for (size_t i = static_cast<size_t>(first_seen_block(result.tokens)); i < best; ++i) {
    const BlockId block = pool_.find_hash(key.hashes[i]);
    result.inactive += pool_.refs(block) == 0 ? 1 : 0;
  }
  result.next_pending = best < most && pending_.find(key.hashes[best]) != HashIndex::kAbsent;
  return result;
}

int64_t BlockManager::adopt(TableId table, const PrefixKey& key, std::span<const int32_t> tokens,
                            int64_t limit) {
  Table& t = at(table);
  CHECK(t.blocks.empty(), "only an empty table adopts a prefix");
  const PrefixMatch found = match(key, tokens, limit);
  const int64_t count = found.tokens / config_.block_tokens;
  const int64_t first = first_seen_block(found.tokens);
  for (int64_t i = 0; i < count; ++i) {
    if (i < first) {
      t.blocks.push_back(kNoBlock);
      continue;
    }
    const BlockId block = pool_.find_hash(key.hashes[static_cast<size_t>(i)]);
    pool_.ref(block, t.level);
    t.blocks.push_back(block);
    ++t.held;
  }
  t.slid = std::min(first, count);
  t.indexed = count;
  t.committed = found.tokens;
  return found.tokens;
}

void BlockManager::announce(TableId table, const PrefixKey& key) {
  if (!config_.prefix_caching) return;
  Table& t = at(table);
  t.plan.assign(key.hashes.begin(), key.hashes.end());
  t.planned_from = static_cast<size_t>(t.indexed);
  for (size_t i = t.planned_from; i < t.plan.size(); ++i) {
    if (pending_.size() >= static_cast<uint64_t>(config_.num_blocks)) break;  // only a hint
    if (pending_.find(t.plan[i]) == HashIndex::kAbsent) pending_.put(t.plan[i], table);
  }
}

void BlockManager::withdraw(TableId id, size_t upto) {
  Table& t = tables_[static_cast<size_t>(id)];
  for (; t.planned_from < std::min(upto, t.plan.size()); ++t.planned_from) {
    const Hash128& hash = t.plan[t.planned_from];
    if (pending_.find(hash) == id) pending_.erase(hash);
  }
}

bool BlockManager::needs_copy(const Table& table) const {
  if (table.committed % config_.block_tokens == 0) return false;
  const BlockId block = table.blocks[static_cast<size_t>(table.committed / config_.block_tokens)];
  return pool_.refs(block) > 1;
}

int64_t BlockManager::blocks_wanted(TableId table, int64_t tokens) const {
  const Table& t = at(table);
  if (tokens <= t.committed) return 0;
  const int64_t more = blocks_for(tokens) - static_cast<int64_t>(t.blocks.size());
  return std::max<int64_t>(0, more) + (needs_copy(t) ? 1 : 0);
}

bool BlockManager::reserve(TableId table, int64_t tokens, std::vector<CopyPair>* copies) {
  const int64_t wanted = blocks_wanted(table, tokens);
  if (wanted > pool_.available()) return false;
  Table& t = at(table);
  if (tokens <= t.committed) return true;
  if (t.committed % config_.block_tokens != 0) {
    BlockId& last = t.blocks[static_cast<size_t>(t.committed / config_.block_tokens)];
    if (needs_copy(t)) {
      const BlockId copy = pool_.allocate(t.level);
      copies->push_back({last, copy});
      pool_.unref(last);
      last = copy;
    } else {
      pool_.forget(last);  // truncated earlier; its tail is about to change
    }
  }
  while (static_cast<int64_t>(t.blocks.size()) < blocks_for(tokens)) {
    t.blocks.push_back(pool_.allocate(t.level));
    CHECK(t.blocks.back() != kNoBlock);
    ++t.held;
  }
  return true;
}

void BlockManager::commit(TableId table, std::span<const int32_t> tokens, const PrefixKey& key) {
  Table& t = at(table);
  const auto count = static_cast<int64_t>(tokens.size());
  CHECK(count >= t.committed && blocks_for(count) <= static_cast<int64_t>(t.blocks.size()),
        "committed tokens have no room in the table");
  t.committed = count;
  const auto full = static_cast<size_t>(count / config_.block_tokens);
  if (config_.prefix_caching) {
    const size_t known = std::min(full, key.hashes.size());
    for (size_t i = static_cast<size_t>(t.indexed); i < known; ++i) index_block(t, i, tokens, key);
    t.indexed = std::max(t.indexed, static_cast<int64_t>(known));
    withdraw(table, known);
  }
  slide(t);
}

// A block enters the index only below a parent that is still there.
bool BlockManager::linkable(const Table& table, size_t i) const {
  if (table.blocks[i] == kNoBlock || pool_.indexed(table.blocks[i])) return false;
  return i == 0 || config_.window != 0 || pool_.indexed(table.blocks[i - 1]);
}

void BlockManager::index_block(Table& table, size_t i, std::span<const int32_t> tokens,
                               const PrefixKey& key) {
  if (!linkable(table, i)) return;
  const auto size = static_cast<size_t>(config_.block_tokens);
  const BlockId own = table.blocks[i];
  const BlockId previous = i == 0 ? kNoBlock : table.blocks[i - 1];
  const BlockId kept = pool_.store(own, key.hashes[i], tokens.subspan(i * size, size),
                                   link_before(previous, key, i));
  if (kept == own) return;
  // Another sequence computed the same prefix meanwhile: keep one of the two.
  pool_.ref(kept, table.level);
  pool_.unref(own);
  table.blocks[i] = kept;
}

void BlockManager::slide(Table& table) {
  const int64_t first = first_seen_block(table.committed);
  for (; table.slid < first; ++table.slid) drop(table, static_cast<size_t>(table.slid));
}

void BlockManager::truncate(TableId table, int64_t tokens) {
  Table& t = at(table);
  CHECK(tokens >= 0 && tokens <= t.committed);
  CHECK(first_seen_block(tokens) >= t.slid, "a truncation reaches behind the window");
  withdraw(table, t.plan.size());
  const auto keep = static_cast<size_t>(blocks_for(tokens));
  while (t.blocks.size() > keep) {
    drop(t, t.blocks.size() - 1);
    t.blocks.pop_back();
  }
  t.committed = tokens;
  t.indexed = std::min(t.indexed, tokens / config_.block_tokens);
}

TableId BlockManager::fork(TableId table) {
  const TableId id = open(at(table).level);
  const Table& from = at(table);
  Table& to = at(id);
  const auto count = static_cast<ptrdiff_t>(blocks_for(from.committed));
  to.blocks.assign(from.blocks.begin(), from.blocks.begin() + count);
  for (const BlockId block : to.blocks) {
    if (block == kNoBlock) continue;
    pool_.ref(block, to.level);
    ++to.held;
  }
  to.committed = from.committed;
  to.indexed = from.indexed;
  to.slid = from.slid;
  return id;
}

void BlockManager::distrust(TableId table) {
  for (const BlockId block : at(table).blocks) {
    if (block != kNoBlock) pool_.forget(block);
  }
}

Lease BlockManager::lease(TableId table) {
  const Table& t = at(table);
  size_t slot = 0;
  while (slot < leases_.size() && leases_[slot].epoch != 0) ++slot;
  if (slot == leases_.size()) leases_.emplace_back();
  LeaseSlot& lease = leases_[slot];
  lease.epoch = next_epoch_++;
  lease.blocks.clear();
  for (int64_t i = 0; i < blocks_for(t.committed); ++i) {
    const BlockId block = t.blocks[static_cast<size_t>(i)];
    if (block == kNoBlock) continue;
    pool_.ref(block, t.level);
    lease.blocks.push_back(block);
  }
  return {static_cast<int32_t>(slot), lease.epoch};
}

const BlockManager::LeaseSlot* BlockManager::slot_of(const Lease& lease) const {
  if (lease.slot < 0 || static_cast<size_t>(lease.slot) >= leases_.size()) return nullptr;
  const LeaseSlot& slot = leases_[static_cast<size_t>(lease.slot)];
  return slot.epoch != 0 && slot.epoch == lease.epoch ? &slot : nullptr;
}

Status BlockManager::release(const Lease& lease) {
  if (slot_of(lease) == nullptr) {
    return invalid_argument("kv lease {} of epoch {} was released or revoked before", lease.slot,
                            lease.epoch);
  }
  LeaseSlot& slot = leases_[static_cast<size_t>(lease.slot)];
  for (size_t i = slot.blocks.size(); i-- > 0;) pool_.unref(slot.blocks[i]);
  slot.blocks.clear();
  slot.epoch = 0;
  return ok_status();
}

std::span<const BlockId> BlockManager::leased(const Lease& lease) const {
  const LeaseSlot* slot = slot_of(lease);
  return slot == nullptr ? std::span<const BlockId>() : slot->blocks;
}

void BlockManager::revoke_leases() {
  for (size_t i = 0; i < leases_.size(); ++i) {
    if (leases_[i].epoch == 0) continue;
    const Status released = release({static_cast<int32_t>(i), leases_[i].epoch});
    CHECK(released.ok());
  }
}

void BlockManager::reset_index() {
  pool_.drop_cached();
  for (const Table& t : tables_) {
    for (const BlockId block : t.blocks) {
      if (block != kNoBlock) pool_.forget(block);
    }
  }
}

Status BlockManager::check_integrity() const {
  std::vector<int32_t> refs(static_cast<size_t>(config_.num_blocks), 0);
  for (size_t i = 0; i < tables_.size(); ++i) {
    int64_t held = 0;
    for (const BlockId block : tables_[i].blocks) {
      if (block == kNoBlock) continue;
      ++refs[static_cast<size_t>(block)];
      ++held;
    }
    if (held != tables_[i].held || (!tables_[i].is_open && held != 0)) {
      return internal_error("kv: table {} holds {} blocks but counts {}", i, held, tables_[i].held);
    }
  }
  for (const LeaseSlot& lease : leases_) {
    for (const BlockId block : lease.blocks) ++refs[static_cast<size_t>(block)];
  }
  return pool_.check(refs);
}

}  // namespace ramjet::runtime::kv

#include "runtime/kv/block_pool.h"

#include <algorithm>

#include "base/check.h"

namespace ramjet::runtime::kv {

BlockPool::BlockPool(int64_t num_blocks, int64_t block_tokens)
    : block_tokens_(block_tokens),
      meta_(static_cast<size_t>(num_blocks)),
      tokens_(static_cast<size_t>(num_blocks * block_tokens)),
      index_(num_blocks) {
  CHECK(num_blocks > 0 && block_tokens > 0);
  for (int64_t i = num_blocks - 1; i >= 0; --i) push_free(static_cast<BlockId>(i));
}

std::span<int32_t> BlockPool::tokens_of(BlockId block) {
  return {tokens_.data() + block * block_tokens_, static_cast<size_t>(block_tokens_)};
}

bool BlockPool::same_content(BlockId block, std::span<const int32_t> tokens) const {
  return std::equal(tokens.begin(), tokens.end(), tokens_.begin() + block * block_tokens_);
}

BlockId BlockPool::allocate(int level) {
  BlockId block = free_head_;
  if (block != kNoBlock) {
    free_head_ = meta(block).next;
    --free_count_;
  } else {
    for (const List& list : cached_) {
      block = list.head;
      if (block != kNoBlock) break;
    }
    if (block == kNoBlock) return kNoBlock;
    remove_cached(block);
    unindex(block);
  }
  Meta& m = meta(block);
  DCHECK(m.refs == 0 && !m.indexed);
  m.refs = 1;
  m.level = std::clamp(level, 0, kLevels - 1);
  m.next = m.previous = kNoBlock;
  return block;
}

void BlockPool::ref(BlockId block, int level) {
  Meta& m = meta(block);
  if (m.refs == 0) {
    CHECK(m.indexed, "a free block was referenced");
    remove_cached(block);
  }
  ++m.refs;
  m.level = std::max(m.level, std::clamp(level, 0, kLevels - 1));
}

void BlockPool::unref(BlockId block) {
  Meta& m = meta(block);
  CHECK(m.refs > 0, "a block was released more often than it was referenced");
  if (--m.refs > 0) return;
  if (m.indexed) {
    push_cached(block);
  } else {
    push_free(block);
  }
}

BlockId BlockPool::find(const Hash128& hash, std::span<const int32_t> tokens,
                        const ParentLink& parent) const {
  const BlockId block = index_.find(hash);
  if (block == kNoBlock || !same_content(block, tokens)) return kNoBlock;
  return meta(block).parent == parent ? block : kNoBlock;
}

BlockId BlockPool::store(BlockId block, const Hash128& hash, std::span<const int32_t> tokens,
                         const ParentLink& parent) {
  CHECK(static_cast<int64_t>(tokens.size()) == block_tokens_, "only full blocks are indexed");
  Meta& m = meta(block);
  CHECK(m.refs > 0 && !m.indexed);
  if (const BlockId other = index_.find(hash); other != kNoBlock) {
    if (same_content(other, tokens) && meta(other).parent == parent) return other;
    // A collision, or a block whose parent was evicted since: nobody can reach it any more.
    forget(other);
  }
  m.indexed = true;
  m.hash = hash;
  m.parent = parent;
  ++m.generation;
  std::copy(tokens.begin(), tokens.end(), tokens_of(block).begin());
  index_.put(hash, block);
  if (events_.stored) events_.stored(block, hash, parent.hash);
  return block;
}

void BlockPool::unindex(BlockId block) {
  Meta& m = meta(block);
  index_.erase(m.hash);
  m.indexed = false;
  ++m.generation;
  if (events_.removed) events_.removed(block, m.hash);
}

void BlockPool::forget(BlockId block) {
  if (!meta(block).indexed) return;
  const bool is_cached = meta(block).refs == 0;
  if (is_cached) remove_cached(block);
  unindex(block);
  if (is_cached) push_free(block);
}

void BlockPool::drop_cached() {
  for (List& list : cached_) {
    while (list.head != kNoBlock) forget(list.head);
  }
}

ParentLink BlockPool::link_of(BlockId block) const {
  const Meta& m = meta(block);
  DCHECK(m.indexed);
  return {block, m.generation, m.hash};
}

PoolCounts BlockPool::counts() const {
  const auto total = static_cast<int64_t>(meta_.size());
  return {total, total - free_count_ - cached_count_, cached_count_, free_count_};
}

void BlockPool::push_cached(BlockId block) {
  Meta& m = meta(block);
  List& list = cached_[static_cast<size_t>(m.level)];
  m.previous = list.tail;
  m.next = kNoBlock;
  (list.tail == kNoBlock ? list.head : meta(list.tail).next) = block;
  list.tail = block;
  ++cached_count_;
}

void BlockPool::remove_cached(BlockId block) {
  Meta& m = meta(block);
  List& list = cached_[static_cast<size_t>(m.level)];
  (m.previous == kNoBlock ? list.head : meta(m.previous).next) = m.next;
  (m.next == kNoBlock ? list.tail : meta(m.next).previous) = m.previous;
  m.previous = m.next = kNoBlock;
  --cached_count_;
}

void BlockPool::push_free(BlockId block) {
  Meta& m = meta(block);
  m.previous = kNoBlock;
  m.next = free_head_;
  free_head_ = block;
  ++free_count_;
}

Status BlockPool::check(std::span<const int32_t> expected_refs) const {
  if (expected_refs.size() != meta_.size()) return internal_error("kv: owners of other blocks");
  int64_t active = 0;
  for (size_t i = 0; i < meta_.size(); ++i) {
    if (meta_[i].refs != expected_refs[i]) {
      return internal_error("kv: block {} has {} references, its owners hold {}", i, meta_[i].refs,
                            expected_refs[i]);
    }
    active += meta_[i].refs > 0 ? 1 : 0;
    if (meta_[i].indexed && index_.find(meta_[i].hash) != static_cast<BlockId>(i)) {
      return internal_error("kv: block {} is missing from the prefix index", i);
    }
  }
  if (const PoolCounts c = counts(); active != c.active) {
    return internal_error("kv: {} free + {} cached + {} active blocks are not the total of {}",
                          c.free, c.cached, active, c.total);
  }
  return check_lists();
}

Status BlockPool::check_lists() const {
  int64_t cached = 0, free = 0, indexed = 0;
  for (int level = 0; level < kLevels; ++level) {
    const List& list = cached_[static_cast<size_t>(level)];
    for (BlockId b = list.head; b != kNoBlock && cached <= cached_count_; b = meta(b).next) {
      ++cached;
      if (meta(b).refs != 0 || !meta(b).indexed || meta(b).level != level) {
        return internal_error("kv: block {} is wrongly in the list of cached blocks", b);
      }
    }
  }
  for (BlockId b = free_head_; b != kNoBlock && free <= free_count_; b = meta(b).next) {
    ++free;
    if (meta(b).refs != 0 || meta(b).indexed) {
      return internal_error("kv: block {} is wrongly in the list of free blocks", b);
    }
  }
  for (const Meta& m : meta_) indexed += m.indexed ? 1 : 0;
  if (cached != cached_count_ || free != free_count_) {
    return internal_error("kv: lists hold {} cached and {} free blocks, counts say {} and {}",
                          cached, free, cached_count_, free_count_);
  }
  if (static_cast<uint64_t>(indexed) != index_.size()) {
    return internal_error("kv: {} blocks say they are indexed, the index has {}", indexed,
                          index_.size());
  }
  return ok_status();
}

}  // namespace ramjet::runtime::kv

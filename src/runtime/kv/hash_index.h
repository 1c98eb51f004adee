// HashIndex: a fixed-capacity open-addressing map from Hash128 to int32.
//
// Not thread-safe. It allocates once; erase shifts back, so lookups never meet tombstones. Hashes
// are uniform already, so their low bits choose the slot.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/hash.h"

namespace ramjet::runtime::kv {

class HashIndex {
 public:
  static constexpr int32_t kAbsent = -1;

  /// Room for `max_entries` at a load of at most one half.
  explicit HashIndex(int64_t max_entries) {
    uint64_t capacity = 16;
    while (capacity < static_cast<uint64_t>(max_entries) * 2) capacity *= 2;
    slots_.resize(capacity);
    mask_ = capacity - 1;
  }

  int32_t find(const Hash128& hash) const {
    for (uint64_t i = hash.low & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].value == kAbsent) return kAbsent;
      if (slots_[i].hash == hash) return slots_[i].value;
    }
  }

  /// Inserts or overwrites; `value` must not be kAbsent.
  void put(const Hash128& hash, int32_t value) {
    uint64_t i = hash.low & mask_;
    while (slots_[i].value != kAbsent && slots_[i].hash != hash) i = (i + 1) & mask_;
    if (slots_[i].value == kAbsent) {
      ++size_;
      CHECK(size_ * 2 <= slots_.size(), "hash index is full");
    }
    slots_[i] = {hash, value};
  }

  void erase(const Hash128& hash) {
    uint64_t hole = hash.low & mask_;
    while (slots_[hole].value != kAbsent && slots_[hole].hash != hash) hole = (hole + 1) & mask_;
    if (slots_[hole].value == kAbsent) return;
    --size_;
    for (uint64_t i = (hole + 1) & mask_; slots_[i].value != kAbsent; i = (i + 1) & mask_) {
      // An entry may move into the hole only if its home does not lie after the hole.
      const uint64_t home = slots_[i].hash.low & mask_;
      if (((i - home) & mask_) < ((i - hole) & mask_)) continue;
      slots_[hole] = slots_[i];
      hole = i;
    }
    slots_[hole].value = kAbsent;
  }

  uint64_t size() const { return size_; }

 private:
  struct Slot {
    Hash128 hash;
    int32_t value = kAbsent;
  };
  std::vector<Slot> slots_;
  uint64_t mask_ = 0;
  uint64_t size_ = 0;
};

}  // namespace ramjet::runtime::kv

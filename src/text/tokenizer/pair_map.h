// PairMap: a hash map from a pair of ids to a merge, built once and then only read; the inner
// loop of byte-pair encoding.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ramjet::text {

class PairMap {
 public:
  struct Value {
    uint32_t rank;
    int32_t id;
  };

  void reserve(size_t count) { slots_.assign(std::bit_ceil(count * 2 + 2), Slot{}); }

  /// Overwrites the value of a known pair. Needs reserve() for as many pairs before.
  void set(int32_t left, int32_t right, Value value) {
    const uint64_t key = make_key(left, right);
    size_t at = home(key);
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {key, value};
  }

  /// Calls visit(left, right, value) for each pair, in no order.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const Slot& s : slots_) {
      if (s.key == kEmpty) continue;
      visit(static_cast<int32_t>(s.key >> 32), static_cast<int32_t>(s.key & 0xffffffff), s.value);
    }
  }

  const Value* find(int32_t left, int32_t right) const {
    if (slots_.empty()) return nullptr;
    const uint64_t key = make_key(left, right);
    for (size_t at = home(key);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].key == key) return &slots_[at].value;
      if (slots_[at].key == kEmpty) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };
  static uint64_t make_key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t home(uint64_t key) const {
    return (key * 0x9e3779b97f4a7c15u >> 20) & (slots_.size() - 1);
  }

  std::vector<Slot> slots_;
};

}  // namespace ramjet::text

// Vocabulary: token strings and their ids, both ways.
//
// Built once, then immutable and safe from any thread. Owns all strings in one pool; views it
// hands out live as long as it does. Ids need not be dense, but must lie below kMaxId.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

class Vocabulary {
 public:
  static constexpr int64_t kMaxId = 1 << 22;

  explicit Vocabulary(size_t expected = 0);
  /// A string seen before gets the new id, as in the library's map. Errors: kInvalidArgument when
  /// the id is out of range or the pool exceeds 1 GiB.
  Status add(std::string_view token, int64_t id);

  std::optional<int32_t> find(std::string_view token) const;
  /// Empty when there is no such id; the token of an id may itself be empty, see contains().
  std::string_view token(int32_t id) const;
  bool contains(int32_t id) const;
  /// Number of strings.
  size_t size() const { return count_; }
  /// Highest id + 1.
  int32_t end_id() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  struct Slot {
    uint32_t offset = 0;
    uint32_t length = 0;
    uint32_t hash = 0;
    int32_t id = -1;
  };
  std::string_view view(const Slot& s) const {
    return std::string_view(pool_).substr(s.offset, s.length);
  }
  size_t locate(std::string_view token, uint64_t hash) const;
  void grow();

  std::string pool_;
  std::vector<Slot> slots_;                            // open addressing, a power of two
  std::vector<std::pair<uint32_t, uint32_t>> tokens_;  // by id: offset + 1 (0: none), length
  size_t count_ = 0;
};

}  // namespace ramjet::text

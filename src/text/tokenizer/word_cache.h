// WordCache: what words became, lately, by thread. Models that take long for a word ask it first.
//
// Each thread has one cache for all models; a model's serial number tells its words from others'.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace ramjet::text {

/// One cache line.
struct alignas(64) CachedWord {
  static constexpr size_t kMaxBytes = 30;
  static constexpr size_t kMaxIds = 5;
  uint64_t hash = 0;
  uint32_t serial = 0;  // 0: empty
  uint8_t size = 0;
  uint8_t count = 0;
  char text[kMaxBytes];
  int32_t ids[kMaxIds];
};
static_assert(sizeof(CachedWord) == 64);

class WordCache {
 public:
  WordCache() {
    static std::atomic<uint32_t> serials{0};
    serial_ = ++serials;
  }

  /// Appends the ids of `word`, from the cache or from `encode(word, out)`, which appends them
  /// and says whether it could.
  template <class Encode>
  bool encode(std::string_view word, std::vector<int32_t>& out, Encode encode) const {
    if (word.size() > CachedWord::kMaxBytes) return encode(word, out);
    const uint64_t hash = hash64(word, serial_);
    CachedWord& slot = slots()[hash % kSlots];
    if (slot.hash == hash && slot.serial == serial_ &&
        std::string_view(slot.text, slot.size) == word) {
      out.insert(out.end(), slot.ids, slot.ids + slot.count);
      return true;
    }
    const size_t start = out.size();
    if (!encode(word, out)) return false;
    const size_t count = out.size() - start;
    if (count > CachedWord::kMaxIds) return true;
    slot.hash = hash;
    slot.serial = serial_;
    slot.size = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(count);
    std::memcpy(slot.text, word.data(), word.size());
    std::copy_n(out.begin() + static_cast<ptrdiff_t>(start), count, slot.ids);
    return true;
  }

 private:
  static constexpr size_t kSlots = 8192;  // half a MiB a thread
  static CachedWord* slots() {
    thread_local const std::unique_ptr<CachedWord[]> cache(new CachedWord[kSlots]);
    return cache.get();
  }

  uint32_t serial_;
};

}  // namespace ramjet::text

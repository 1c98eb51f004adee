// ForcedTokens: what a TokenMask can offer beside its masks: text that leaves no choice.
//
// A mask that also derives from this lets the runtime append such tokens without sampling them
// (jump-forward). Thread-safety and state are the mask's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ramjet {

class ForcedTokens {
 public:
  virtual ~ForcedTokens() = default;
  /// Appends at most `most` tokens that spell what must come next, however the text goes on. Each
  /// then goes through TokenMask::accept() like a sampled one.
  virtual void forced(size_t most, std::vector<int32_t>* ids) = 0;
};

}  // namespace ramjet

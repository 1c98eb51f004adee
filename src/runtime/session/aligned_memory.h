// AlignedMemory: zeroed, page-aligned memory from the kernel, in huge pages where it is large.
//
// Owns its mapping; pages are taken when first touched. Movable.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace ramjet::runtime {

class AlignedMemory {
 public:
  AlignedMemory() = default;
  /// Errors: kResourceExhausted naming the bytes and `what`.
  static Result<AlignedMemory> allocate(size_t bytes, const char* what);
  AlignedMemory(AlignedMemory&& other) noexcept;
  AlignedMemory& operator=(AlignedMemory&& other) noexcept;
  ~AlignedMemory();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> span() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ramjet::runtime

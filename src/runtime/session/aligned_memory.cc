#include "runtime/session/aligned_memory.h"

#include <sys/mman.h>

#include <utility>

namespace ramjet::runtime {

Result<AlignedMemory> AlignedMemory::allocate(size_t bytes, const char* what) {
  AlignedMemory memory;
  if (bytes == 0) return memory;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return make_error(ErrorCode::kResourceExhausted, "{}: cannot get {} bytes of memory", what,
                      bytes);
  }
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes >= kHugePage) ::madvise(data, bytes, MADV_HUGEPAGE);  // a hint; may be refused
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = bytes;
  return memory;
}

AlignedMemory::AlignedMemory(AlignedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
AlignedMemory& AlignedMemory::operator=(AlignedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}
AlignedMemory::~AlignedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace ramjet::runtime

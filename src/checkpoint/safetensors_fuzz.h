// What the safetensors fuzzer does with its bytes; tests replay the committed corpus with it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/check.h"
#include "checkpoint/safetensors.h"

namespace ramjet::checkpoint {

/// Every tensor of an opened file: a view of as many bytes as were stored, or an error.
inline void check_tensors(const Safetensors& file) {
  CHECK(!file.tensor("no such tensor").ok() && file.header_text().size() == file.header().bytes);
  for (const auto& [name, tensor] : file.header().tensors) {
    const Result<TensorView> view = file.tensor(name);
    if (view.ok()) {
      const auto* bytes = static_cast<const unsigned char*>(view->data);
      uint64_t sum = 0;
      for (uint64_t i = 0; i < tensor.bytes; ++i) sum += bytes[i];
      CHECK(sum <= 255 * tensor.bytes && view->dtype == *tensor.dtype);
    } else {
      CHECK(view.error().code == ErrorCode::kUnsupported, view.error().message);
    }
  }
}

inline void fuzz_safetensors(std::string_view file) {
  const Result<SafetensorsHeader> header = parse_safetensors(file);
  if (!header.ok()) {
    CHECK(header.error().code == ErrorCode::kCorrupt && !header.error().message.empty());
    return;
  }
  uint64_t covered = header->bytes;
  for (const auto& [name, tensor] : header->tensors) {
    CHECK(tensor.offset >= header->bytes && tensor.offset <= file.size());
    CHECK(tensor.bytes <= file.size() - tensor.offset);
    if (tensor.dtype && tensor.shape.size() <= Shape::kMaxRank) {
      const Shape shape{std::span<const int64_t>(tensor.shape)};
      const bool zero = tensor.bytes == 0;
      CHECK(zero ||
            static_cast<uint64_t>(shape.elements() * dtype_bytes(*tensor.dtype)) == tensor.bytes);
    }
    covered += tensor.bytes;
  }
  CHECK(covered == file.size());
  const int fd = ::memfd_create("safetensors", MFD_CLOEXEC);
  CHECK(fd >= 0 && ::write(fd, file.data(), file.size()) == static_cast<ssize_t>(file.size()));
  const auto opened = Safetensors::open("/proc/self/fd/" + std::to_string(fd));
  CHECK(opened.ok(), opened.error().message);
  check_tensors(*opened);
  ::close(fd);
}

}  // namespace ramjet::checkpoint

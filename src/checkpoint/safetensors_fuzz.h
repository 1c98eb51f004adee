// What the safetensors fuzzer does with its bytes; tests replay the committed corpus with it.
#pragma once

#include <string_view>

#include "base/check.h"
#include "checkpoint/safetensors.h"

namespace ramjet::checkpoint {

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
}

}  // namespace ramjet::checkpoint

// What the GGUF fuzzer does with its bytes; tests replay the committed corpus with it.
#pragma once

#include <string_view>

#include "base/check.h"
#include "base/gguf/gguf.h"

namespace ramjet::gguf {

inline void fuzz_gguf(std::string_view file) {
  const Result<Header> header = parse(file);
  if (!header.ok()) {
    CHECK(!header.error().message.empty());
    CHECK(header.error().code == ErrorCode::kCorrupt ||
          header.error().code == ErrorCode::kUnsupported ||
          header.error().code == ErrorCode::kInvalidArgument);
    return;
  }
  for (const auto& [key, value] : header->metadata) {
    CHECK(value.bytes.data() >= file.data() &&
          value.bytes.data() + value.bytes.size() <= file.data() + file.size());
    CHECK(!value.type_name().empty());
    if (const auto texts = value.texts()) CHECK(texts->size() == value.count);
    if (const auto numbers = value.numbers()) CHECK(numbers->size() == value.count);
    (void)header->text(key, "");
    (void)header->integer(key, 0);
    (void)header->number(key, 0);
    (void)header->flag(key, false);
  }
  uint64_t covered = header->data_begin;
  for (const auto& [name, tensor] : header->tensors) {
    CHECK(tensor.type != nullptr && tensor.offset % header->alignment == 0);
    CHECK(tensor.offset >= header->data_begin && tensor.offset <= file.size());
    CHECK(tensor.bytes <= file.size() - tensor.offset);
    covered += tensor.bytes;
  }
  CHECK(covered <= file.size());
}

}  // namespace ramjet::gguf

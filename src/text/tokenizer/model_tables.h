// The binary form of vocabularies that an engine's tokenizer section holds:
// docs/formats/tokenizer.md. For the models of this folder.
//
// A reader borrows the bytes and checks every size: what it reads is foreign.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/tokenizer/vocabulary.h"

namespace ramjet::text {

void put_number(std::string& out, uint32_t value);

class TableReader {
 public:
  explicit TableReader(std::string_view bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size(); }
  /// Errors: kCorrupt when fewer bytes are left.
  Result<std::string_view> take(size_t size);
  Result<uint32_t> number();
  /// Tokens as put_vocabulary() wrote them.
  Result<Vocabulary> vocabulary();

 private:
  std::string_view bytes_;
};

/// False, with nothing appended, when two strings share an id: these tables cannot say that.
bool put_vocabulary(std::string& out, const Vocabulary& vocabulary);

}  // namespace ramjet::text

// Pre-tokenizers: cut a normalized text into the words that the model encodes one by one
// (tokenizer.json's "pre_tokenizer").
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

/// A piece of text and its cut into words. Words lie in `text` in order, none is empty.
struct Words {
  struct Word {
    uint32_t begin;
    uint32_t end;
  };
  std::string text;
  std::vector<Word> words;
  size_t origin_bytes = 0;  // see NormalizedText

  std::string_view view(const Word& w) const {
    return std::string_view(text).substr(w.begin, w.end - w.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts each word further, and may rewrite it.
  virtual Status apply(Words& words) const = 0;

  /// Null for JSON null. May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<std::unique_ptr<PreTokenizer>> from_json(const nlohmann::json& json);
};

}  // namespace ramjet::text

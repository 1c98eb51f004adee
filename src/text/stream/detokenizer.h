// IncrementalDetokenizer: token ids in, text that is final out.
//
// One per sequence; not thread-safe; borrows the tokenizer, which must outlive it. The pieces
// pushed out, joined, equal Tokenizer::decode() of all pushed ids once flush() was called (after
// a seed: decode(seed + ids) without decode(seed) in front). No piece splits a UTF-8 character.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

class IncrementalDetokenizer {
 public:
  /// `prompt_tail`: the last ids of the prompt (a handful is enough), so that the first piece
  /// gets its leading space where the tokenizer strips one at the start of a text.
  explicit IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special = true,
                                  std::span<const int32_t> prompt_tail = {});

  /// The text that became final; empty while a character is incomplete.
  std::string push(int32_t id);
  /// The rest: an incomplete character comes out as decode() shows it (U+FFFD).
  std::string flush();

 private:
  std::string take(std::string_view text, size_t upto);
  size_t stable_length(std::string_view text) const;

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int32_t> window_;  // ids whose text is not final, and a few before them for context
  size_t context_ = 0;           // how many ids of window_ are context
  size_t emitted_ = 0;           // bytes of decode(window_) that are out already
};

}  // namespace ramjet::text

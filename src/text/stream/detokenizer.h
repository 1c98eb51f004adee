// IncrementalDetokenizer: token ids in, text that is final out.
//
// One per sequence; not thread-safe; borrows the tokenizer, which must outlive it. The pieces
// pushed out, joined, equal Tokenizer::decode() of all pushed ids once flush() was called (after
// a seed: decode(seed + ids) without decode(seed) in front). No piece splits a UTF-8 character.
// What may still change is held back: an incomplete character, and a run of byte-fallback tokens
// (<0xE4> …) until it ends, because decode() judges such a run as a whole. The one exception is
// a decoder with a Replace behind its Fuse, which could match across any tokens.
// A push costs the decoding of a few tokens, however long the sequence.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

class IncrementalDetokenizer {
 public:
  /// `prompt_tail`: the last ids of the prompt, with some visible token among them, so that the
  /// first piece gets its leading space where the tokenizer strips one at the start of a text.
  explicit IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special = true,
                                  std::span<const int32_t> prompt_tail = {});

  /// The text that became final; empty while a character is incomplete.
  std::string push(int32_t id);
  /// The rest: an incomplete character comes out as decode() shows it (U+FFFD).
  std::string flush();

 private:
  std::string decode_window() const;
  std::string take(const std::string& text, size_t end);
  void keep_last(size_t count);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  size_t context_ids_;           // how many finished ids decoding the next one depends on
  std::vector<int32_t> window_;  // visible ids: some finished ones, then the unfinished
  size_t emitted_ = 0;           // bytes of decode(window_) that are out already
};

}  // namespace ramjet::text

// Charsmap: the "precompiled_charsmap" of SentencePiece, a trie of what to replace and a block of
// replacements, as tokenizer.json (Precompiled) and .model files carry it.
//
// Immutable after create(); any thread. Owns its bytes. The trie is foreign: a walk that would
// leave it finds nothing, and a replacement that is no whole text counts as none.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

class Charsmap {
 public:
  /// The raw bytes: size of the trie, its units (darts-clone), NUL-ended replacements. An empty
  /// one changes nothing. Errors: kInvalidArgument.
  static Result<Charsmap> create(std::string_view bytes);

  struct Rule {
    size_t length;  // bytes of the text that it replaces
    std::string_view replacement;
  };
  /// The rule for the shortest, or the longest, prefix of `text` that has one.
  std::optional<Rule> shortest(std::string_view text) const { return find(text, false); }
  std::optional<Rule> longest(std::string_view text) const { return find(text, true); }
  /// Whether some rule begins with this byte.
  bool may_begin(unsigned char byte) const { return begins_[byte]; }

 private:
  std::optional<Rule> find(std::string_view text, bool longest) const;
  std::optional<std::string_view> replacement(uint32_t offset) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  std::array<bool, 256> begins_{};
};

/// What tokenizer.json's Precompiled makes of a text: whole grapheme clusters under six bytes are
/// looked up first, then single characters, each by its shortest rule. `first` becomes the bytes
/// of the result that stem from the first character.
std::string apply_precompiled(const Charsmap& map, std::string_view text, size_t& first);

/// RFC 4648, padding optional. False at any other character.
bool decode_base64(std::string_view text, std::string& out);
std::string encode_base64(std::string_view bytes);

}  // namespace ramjet::text

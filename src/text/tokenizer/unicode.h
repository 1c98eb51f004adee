// What the tokenizer must know of Unicode: character classes, lower case, normalization forms,
// each as Hugging Face `tokenizers` sees it (tools/make_unicode_tables.py says why that differs
// from any one Unicode version).
//
// Immutable tables, built on first use; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ramjet::text {

enum CharFlag : uint16_t {
  kCharLetter = 1,        // general category L, Unicode 16, as \p{L} in a pattern
  kCharMark = 2,          // M
  kCharNumber = 4,        // N
  kCharSpace = 8,         // White_Space
  kCharWord = 16,         // \w of the Whitespace pre-tokenizer and of added tokens
  kCharNumeric = 32,      // what the Digits pre-tokenizer takes
  kCharPunctuation = 64,  // what the Punctuation pre-tokenizer takes
  kCharCombining = 128,   // what StripAccents removes
  kCharRegexWord = 256,   // \w in a pattern
  kCharInert = 512,       // unknown to the normalization forms
};

/// Flags of a code point; 0 beyond Unicode.
uint16_t char_flags(uint32_t code_point);
inline bool is_space(uint32_t c) {
  return c < 0x80 ? (c == ' ' || (c >= 9 && c <= 13)) : (char_flags(c) & kCharSpace) != 0;
}

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};

/// Code points of a general category ("L", "Nd") or script ("Han") that are newer than the
/// Unicode 14 of PCRE2 10.42, for patterns to add.
std::string newer_ranges(std::string_view property);
/// White_Space, and the \w of patterns beyond \p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}.
std::span<const CodePointRange> space_ranges();
std::span<const CodePointRange> regex_word_extra();

/// Full lower case of one code point, appended.
void append_lower(std::string& out, uint32_t code_point);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// `text` is valid UTF-8.
std::string normalize_form(std::string_view text, NormalForm form);

/// The script as the UnicodeScripts pre-tokenizer counts them, a small number; -1 where it has
/// none ("Any": spaces and what Unicode does not assign).
int script_class(uint32_t code_point);
/// Where the grapheme cluster that begins at `pos` ends (UAX 29). Valid UTF-8.
size_t grapheme_end(std::string_view text, size_t pos);

bool is_bert_control(uint32_t code_point);
bool is_bert_nonspacing(uint32_t code_point);

}  // namespace ramjet::text

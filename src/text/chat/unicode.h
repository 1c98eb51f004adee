// Unicode as Python's str sees it: code points of UTF-8 text, character classes, case mapping.
//
// Pure functions; callable from any thread. Texts are valid UTF-8 unless a comment says otherwise.
// Characters follow utf8proc's version of Unicode, full case mappings Unicode's SpecialCasing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ramjet::text::chat {

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view bytes);  // surrogates and overlong forms are invalid
/// Each byte that is part of no valid character becomes U+FFFD.
std::string repair_utf8(std::string_view bytes);

size_t count_chars(std::string_view text);
/// Byte offset of character `index`; text.size() when there are fewer.
size_t char_offset(std::string_view text, size_t index);
/// The character at byte `pos`; moves `pos` behind it.
uint32_t next_char(std::string_view text, size_t& pos);
/// Byte offset of the character that ends before byte `end`.
size_t previous_char(std::string_view text, size_t end);
void append_char(std::string& out, uint32_t c);

bool is_space(uint32_t c);
bool is_line_break(uint32_t c);  // as str.splitlines has it
bool is_printable(uint32_t c);
bool is_alpha(uint32_t c);
bool is_decimal(uint32_t c);
bool is_digit(uint32_t c);
bool is_numeric(uint32_t c);
bool is_upper(uint32_t c);
bool is_lower(uint32_t c);
bool is_title(uint32_t c);
bool is_word(uint32_t c);  // \w
bool is_identifier_start(uint32_t c);
bool is_identifier_part(uint32_t c);
inline bool is_cased(uint32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_casefold(std::string_view text);
std::string to_title(std::string_view text);        // str.title
std::string to_capitalized(std::string_view text);  // str.capitalize
std::string swap_case(std::string_view text);

std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
inline std::string_view strip(std::string_view text) { return strip_left(strip_right(text)); }

namespace detail {
/// A full case mapping to several characters, as UTF-8; empty when there is none.
std::string_view special_upper(uint32_t c);
std::string_view special_title(uint32_t c);
/// A digit or numeral that is no decimal digit (categories No, Nl and the CJK numerals).
bool is_other_digit(uint32_t c);
bool is_cjk_numeral(uint32_t c);
}  // namespace detail

}  // namespace ramjet::text::chat

// UTF-8: stepping through valid text, appending code points, and repairing foreign bytes.
//
// Free functions without state. next_code_point() and friends require valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ramjet::text {

/// Bytes of the character whose first byte is `lead`.
inline int utf8_length(char lead) {
  const auto c = static_cast<unsigned char>(lead);
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/// Decodes the character at text[pos] and moves pos behind it.
inline uint32_t next_code_point(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const uint32_t c = byte(0);
  if (c < 0x80) return ++pos, c;
  uint32_t out;
  if (c < 0xe0) {
    out = (c & 0x1f) << 6 | (byte(1) & 0x3f);
    return pos += 2, out;
  }
  if (c < 0xf0) {
    out = (c & 0x0f) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3f);
    return pos += 3, out;
  }
  out = (c & 0x07) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3f);
  return pos += 4, out;
}

/// The start of the character that ends before text[pos]; pos > 0.
inline size_t previous_character(std::string_view text, size_t pos) {
  do {
    --pos;
  } while (pos > 0 && (text[pos] & 0xc0) == 0x80);
  return pos;
}

void append_code_point(std::string& out, uint32_t code_point);

bool is_valid_utf8(std::string_view text);
/// Valid UTF-8: each maximal part of an ill-formed sequence becomes one U+FFFD.
std::string repair_utf8(std::string_view text);

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

}  // namespace ramjet::text

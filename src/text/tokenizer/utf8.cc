#include "text/tokenizer/utf8.h"

#include <cstring>

namespace ramjet::text {
namespace {

/// Length of the longest valid prefix character at `pos`, or 0; then `bad` is how many bytes the
/// ill-formed part has (Unicode chapter 3, table 3-7).
size_t valid_character(std::string_view text, size_t pos, size_t& bad) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const size_t left = text.size() - pos;
  const unsigned char c = byte(0);
  bad = 1;
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4) return 0;
  const size_t length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (c == 0xe0) low = 0xa0;
  if (c == 0xed) high = 0x9f;
  if (c == 0xf0) low = 0x90;
  if (c == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (i >= left || byte(i) < low || byte(i) > high) return bad = i, 0;
    low = 0x80;
    high = 0xbf;
  }
  return length;
}

/// First byte at or after `pos` that is not ASCII.
size_t skip_ascii(std::string_view text, size_t pos) {
  while (pos + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + pos, 8);
    if (word & 0x8080808080808080u) break;
    pos += 8;
  }
  while (pos < text.size() && static_cast<unsigned char>(text[pos]) < 0x80) ++pos;
  return pos;
}

}  // namespace

void append_code_point(std::string& out, uint32_t c) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return push(c);
  if (c < 0x800) return push(0xc0 | c >> 6), push(0x80 | (c & 0x3f));
  if (c < 0x10000) {
    return push(0xe0 | c >> 12), push(0x80 | (c >> 6 & 0x3f)), push(0x80 | (c & 0x3f));
  }
  push(0xf0 | c >> 18), push(0x80 | (c >> 12 & 0x3f));
  push(0x80 | (c >> 6 & 0x3f)), push(0x80 | (c & 0x3f));
}

bool is_valid_utf8(std::string_view text) {
  size_t bad;
  for (size_t pos = skip_ascii(text, 0); pos < text.size(); pos = skip_ascii(text, pos)) {
    const size_t length = valid_character(text, pos, bad);
    if (length == 0) return false;
    pos += length;
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t bad;
  for (size_t pos = 0; pos < text.size();) {
    const size_t ascii = skip_ascii(text, pos);
    out.append(text, pos, ascii - pos);
    if ((pos = ascii) == text.size()) break;
    if (const size_t length = valid_character(text, pos, bad); length > 0) {
      out.append(text, pos, length);
      pos += length;
    } else {
      out += kReplacementCharacter;
      pos += bad;
    }
  }
  return out;
}

}  // namespace ramjet::text

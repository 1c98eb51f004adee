#include "text/chat/string_literal.h"

#include <cstdint>

#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

/// Reads `digits` hexadecimal digits at `at`; -1 when they are not all there.
int64_t read_hex(std::string_view body, size_t& at, int digits) {
  int64_t value = 0;
  for (int i = 0; i < digits; ++i, ++at) {
    if (at >= body.size() || digit_value(body[at]) >= 16) return -1;
    value = value * 16 + digit_value(body[at]);
  }
  return value;
}

char simple_escape(char c) {
  switch (c) {
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    case '\\':
    case '\'':
    case '"': return c;
    default: return '\0';
  }
}

/// jinja2 first writes non-ASCII characters as \x, \u or \U escapes and then decodes all escapes,
/// so a backslash before such a character takes the escape's own backslash.
void append_escape_spelling(std::string& out, uint32_t c) {
  static constexpr char kHex[] = "0123456789abcdef";
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  out += digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
  for (int i = digits - 1; i >= 0; --i) out += kHex[c >> (4 * i) & 15];
}

}  // namespace

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

bool unescape_literal(std::string_view body, std::string& out, std::string& problem) {
  for (size_t at = 0; at < body.size();) {
    if (body[at] != '\\') {
      out += body[at++];
      continue;
    }
    const size_t escaped = at + 1;
    const uint32_t c = next_char(body, ++at);
    if (c >= 0x80) {
      out += '\\';
      append_escape_spelling(out, c);
    } else if (c == '\n') {
      continue;
    } else if (const char simple = simple_escape(static_cast<char>(c)); simple != '\0') {
      out += simple;
    } else if (c >= '0' && c <= '7') {
      uint32_t value = c - '0';
      for (int i = 0; i < 2 && at < body.size() && body[at] >= '0' && body[at] <= '7'; ++i) {
        value = value * 8 + static_cast<uint32_t>(body[at++] - '0');
      }
      append_char(out, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const int64_t value = read_hex(body, at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
      if (value < 0) {
        problem = "truncated \\x, \\u or \\U escape in a string";
        return false;
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
        problem = "escape in a string is no Unicode character";
        return false;
      }
      append_char(out, static_cast<uint32_t>(value));
    } else if (c == 'N') {
      problem = "\\N escapes in strings are not supported";
      return false;
    } else {
      out += '\\';
      out += body[escaped];
    }
  }
  return true;
}

}  // namespace ramjet::text::chat

#include "text/chat/unicode.h"

#include <utf8proc.h>

#include <algorithm>

namespace ramjet::text::chat {
namespace {

/// Length of the valid character at `pos`, 0 when there is none.
size_t valid_length(std::string_view s, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto continues = [&](size_t i) { return i < s.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char c = byte(pos);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) return continues(pos + 1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF) {
    if (!continues(pos + 1) || !continues(pos + 2)) return 0;
    const unsigned char d = byte(pos + 1);
    return (c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) ? 0 : 3;
  }
  if (c >= 0xF0 && c <= 0xF4) {
    if (!continues(pos + 1) || !continues(pos + 2) || !continues(pos + 3)) return 0;
    const unsigned char d = byte(pos + 1);
    return (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F) ? 0 : 4;
  }
  return 0;
}

utf8proc_category_t category(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_case_ignorable(uint32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 ||
             c == 0x2024 || c == 0x2027 || c == 0x387 || c == 0x55F || c == 0x5F4;
  }
}

void append_upper(std::string& out, uint32_t c) {
  if (const auto special = detail::special_upper(c); !special.empty()) {
    out += special;
  } else {
    append_char(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<int32_t>(c))));
  }
}

void append_title(std::string& out, uint32_t c) {
  if (const auto special = detail::special_title(c); !special.empty()) {
    out += special;
  } else {
    append_char(out, static_cast<uint32_t>(utf8proc_totitle(static_cast<int32_t>(c))));
  }
}

/// A sigma that ends a word becomes the final form.
bool is_final_sigma(std::string_view text, size_t begin, size_t end) {
  size_t p = begin;
  bool has_cased_before = false;
  while (p > 0) {
    p = previous_char(text, p);
    size_t q = p;
    const uint32_t c = next_char(text, q);
    if (is_case_ignorable(c)) continue;
    has_cased_before = is_cased(c);
    break;
  }
  if (!has_cased_before) return false;
  while (end < text.size()) {
    const uint32_t c = next_char(text, end);
    if (is_case_ignorable(c)) continue;
    return !is_cased(c);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t begin, size_t end) {
  size_t p = begin;
  const uint32_t c = next_char(text, p);
  if (c == 0x130) {
    out += "i\xCC\x87";
  } else if (c == 0x3A3) {
    append_char(out, is_final_sigma(text, begin, end) ? 0x3C2 : 0x3C3);
  } else {
    append_char(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c))));
  }
}

}  // namespace

bool is_ascii(std::string_view text) {
  unsigned char any = 0;
  for (const char c : text) any |= static_cast<unsigned char>(c);
  return any < 0x80;
}

bool is_valid_utf8(std::string_view bytes) {
  if (is_ascii(bytes)) return true;
  for (size_t pos = 0; pos < bytes.size();) {
    const size_t n = valid_length(bytes, pos);
    if (n == 0) return false;
    pos += n;
  }
  return true;
}

std::string repair_utf8(std::string_view bytes) {
  std::string out;
  for (size_t pos = 0; pos < bytes.size();) {
    const size_t n = valid_length(bytes, pos);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++pos;
    } else {
      out.append(bytes, pos, n);
      pos += n;
    }
  }
  return out;
}

size_t count_chars(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

size_t char_offset(std::string_view text, size_t index) {
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
    if (index-- == 0) return i;
  }
  return text.size();
}

uint32_t next_char(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<uint32_t>(static_cast<unsigned char>(text[i])) : 0u;
  };
  const uint32_t c = byte(pos);
  if (c < 0x80) {
    ++pos;
    return c;
  }
  if (c < 0xE0) {
    pos = std::min(pos + 2, text.size());
    return (c & 0x1F) << 6 | (byte(pos - 1) & 0x3F);
  }
  if (c < 0xF0) {
    const uint32_t r = (c & 0x0F) << 12 | (byte(pos + 1) & 0x3F) << 6 | (byte(pos + 2) & 0x3F);
    pos = std::min(pos + 3, text.size());
    return r;
  }
  const uint32_t r = (c & 0x07) << 18 | (byte(pos + 1) & 0x3F) << 12 | (byte(pos + 2) & 0x3F) << 6 |
                     (byte(pos + 3) & 0x3F);
  pos = std::min(pos + 4, text.size());
  return r;
}

size_t previous_char(std::string_view text, size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

void append_char(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      out += static_cast<char>(0xE0 | c >> 12);
    } else {
      out += static_cast<char>(0xF0 | c >> 18);
      out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    }
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
  }
  out += static_cast<char>(0x80 | (c & 0x3F));
}

bool is_space(uint32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(uint32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool is_alpha(uint32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return true;
    default: return false;
  }
}

bool is_decimal(uint32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(uint32_t c) { return is_decimal(c) || detail::is_other_digit(c); }

bool is_numeric(uint32_t c) {
  if (is_digit(c)) return true;
  if (c < 0x80) return false;
  const auto cat = category(c);
  return cat == UTF8PROC_CATEGORY_NL || cat == UTF8PROC_CATEGORY_NO || detail::is_cjk_numeral(c);
}

bool is_upper(uint32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return utf8proc_isupper(static_cast<int32_t>(c)) != 0;
}

bool is_lower(uint32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return utf8proc_islower(static_cast<int32_t>(c)) != 0;
}

bool is_title(uint32_t c) { return c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT; }

bool is_word(uint32_t c) { return c == '_' || is_alpha(c) || is_numeric(c); }

bool is_identifier_start(uint32_t c) {
  return c == '_' || is_alpha(c) || (c >= 0x80 && category(c) == UTF8PROC_CATEGORY_NL);
}

bool is_identifier_part(uint32_t c) {
  if (is_identifier_start(c) || is_decimal(c)) return true;
  if (c < 0x80) return false;
  const auto cat = category(c);
  return cat == UTF8PROC_CATEGORY_MN || cat == UTF8PROC_CATEGORY_MC ||
         cat == UTF8PROC_CATEGORY_PC || c == 0xB7;
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t p = 0; p < text.size();) append_upper(out, next_char(text, p));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    next_char(text, p);
    append_lower(out, text, begin, p);
  }
  return out;
}

std::string to_casefold(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t p = 0; p < text.size();) {
    utf8proc_int32_t folded[8];
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto n = utf8proc_decompose_char(static_cast<int32_t>(next_char(text, p)), folded, 8,
                                           UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < n; ++i) append_char(out, static_cast<uint32_t>(folded[i]));
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool was_cased = false;
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    const uint32_t c = next_char(text, p);
    if (was_cased) {
      append_lower(out, text, begin, p);
    } else {
      append_title(out, c);
    }
    was_cased = is_cased(c);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    const uint32_t c = next_char(text, p);
    if (begin == 0) {
      append_title(out, c);
    } else {
      append_lower(out, text, begin, p);
    }
  }
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    const uint32_t c = next_char(text, p);
    if (is_upper(c)) {
      append_lower(out, text, begin, p);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_char(out, c);
    }
  }
  return out;
}

std::string_view strip_left(std::string_view text) {
  for (size_t p = 0; p < text.size();) {
    size_t q = p;
    if (!is_space(next_char(text, q))) return text.substr(p);
    p = q;
  }
  return text.substr(text.size());
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const size_t p = previous_char(text, text.size());
    size_t q = p;
    if (!is_space(next_char(text, q))) break;
    text = text.substr(0, p);
  }
  return text;
}

}  // namespace ramjet::text::chat

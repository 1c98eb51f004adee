// The is...() methods of str, and markupsafe's way with HTML.
#include <array>

#include "text/chat/methods.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

template <class Predicate>
bool all_chars(std::string_view text, Predicate predicate) {
  for (size_t p = 0; p < text.size();) {
    if (!predicate(next_char(text, p))) return false;
  }
  return !text.empty();
}

/// Some character has the wanted case, none the other.
bool has_case(std::string_view text, bool upper) {
  bool found = false;
  for (size_t p = 0; p < text.size();) {
    const uint32_t c = next_char(text, p);
    if (upper ? is_lower(c) || is_title(c) : is_upper(c) || is_title(c)) return false;
    found = found || (upper ? is_upper(c) : is_lower(c));
  }
  return found;
}

bool is_title_cased(std::string_view text) {
  bool found = false;
  bool was_cased = false;
  for (size_t p = 0; p < text.size();) {
    const uint32_t c = next_char(text, p);
    if (is_upper(c) || is_title(c)) {
      if (was_cased) return false;
      was_cased = found = true;
    } else if (is_lower(c)) {
      if (!was_cased) return false;
      found = true;
    } else {
      was_cased = false;
    }
  }
  return found;
}

bool is_identifier(std::string_view text) {
  size_t p = 0;
  if (text.empty() || !is_identifier_start(next_char(text, p))) return false;
  while (p < text.size()) {
    if (!is_identifier_part(next_char(text, p))) return false;
  }
  return true;
}

bool test(Method method, std::string_view text) {
  switch (method) {
    case Method::kIsalnum:
      return all_chars(text, [](uint32_t c) { return is_alpha(c) || is_numeric(c); });
    case Method::kIsalpha: return all_chars(text, is_alpha);
    case Method::kIsascii: return is_ascii(text);
    case Method::kIsdecimal: return all_chars(text, is_decimal);
    case Method::kIsdigit: return all_chars(text, is_digit);
    case Method::kIsidentifier: return is_identifier(text);
    case Method::kIslower: return has_case(text, false);
    case Method::kIsnumeric: return all_chars(text, is_numeric);
    case Method::kIsprintable: return text.empty() || all_chars(text, is_printable);
    case Method::kIsspace: return all_chars(text, is_space);
    case Method::kIstitle: return is_title_cased(text);
    default: return has_case(text, true);
  }
}

struct Entity {
  std::string_view name;
  std::string_view text;
};
constexpr std::array<Entity, 8> kEntities = {{{"amp", "&"},
                                              {"lt", "<"},
                                              {"gt", ">"},
                                              {"quot", "\""},
                                              {"apos", "'"},
                                              {"#39", "'"},
                                              {"#34", "\""},
                                              {"nbsp", "\xC2\xA0"}}};

}  // namespace

Value call_text_predicate(Method method, std::string_view text) {
  return Value::of_bool(test(method, text));
}

std::string unescape_html(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t at = text.find('&');
    out += text.substr(0, at);
    if (at == std::string_view::npos) break;
    text.remove_prefix(at);
    bool is_known = false;
    for (const Entity& e : kEntities) {
      if (text.substr(1).starts_with(e.name) && text.substr(1 + e.name.size()).starts_with(';')) {
        out += e.text;
        text.remove_prefix(e.name.size() + 2);
        is_known = true;
        break;
      }
    }
    if (!is_known) {
      out += '&';
      text.remove_prefix(1);
    }
  }
  return out;
}

Value strip_tags(Runtime& rt, std::string_view text) {
  rt.charge_bytes(text.size() * 4);
  std::string plain(text);
  const auto erase = [&plain](std::string_view open, std::string_view close) {
    std::string out;
    size_t at = 0;
    while (true) {
      const size_t begin = plain.find(open, at);
      const size_t end = begin == std::string::npos ? begin : plain.find(close, begin);
      if (end == std::string::npos) break;
      out.append(plain, at, begin - at);
      at = end + close.size();
    }
    out.append(plain, at);
    plain = std::move(out);
  };
  erase("<!--", "-->");
  erase("<", ">");
  std::string out;
  for (std::string_view rest = strip_left(plain); !rest.empty();) {
    size_t end = 0;
    for (size_t p = 0; p < rest.size(); end = p) {
      if (is_space(next_char(rest, p))) break;
    }
    if (!out.empty()) out += ' ';
    out += rest.substr(0, end);
    rest = strip_left(rest.substr(end));
  }
  return rt.text(unescape_html(out));
}

}  // namespace ramjet::text::chat

// Methods of str.
#include <algorithm>
#include <cstring>

#include "text/chat/methods.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

Value piece(std::string_view text) { return Value::of_text(text); }

size_t find_bytes(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* p = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return p == nullptr ? std::string_view::npos
                      : static_cast<size_t>(static_cast<const char*>(p) - text.data());
}

/// Work of a backward search is at most text times needle; count it before it is done.
size_t rfind_bytes(Runtime& rt, std::string_view text, std::string_view needle) {
  if (needle.size() > 16) rt.charge_bytes(text.size() * std::min<size_t>(needle.size(), 1024));
  return text.rfind(needle);
}

/// The part of a text that start and end arguments (in characters) select.
struct Window {
  std::string_view text;
  size_t begin = 0;  // byte offset of the window
  int64_t first_char = 0;
  bool is_valid = true;  // false when start lies behind the end
};
Window window(Runtime& rt, std::string_view text, const Bound& args) {
  rt.charge_bytes(text.size());
  if (!args.has(1) && !args.has(2)) return {text};
  const auto size = static_cast<int64_t>(count_chars(text));
  const auto clamp = [&](int64_t i) { return i < 0 ? std::max<int64_t>(i + size, 0) : i; };
  const int64_t start = clamp(args.optional_integer(1, 0));
  const int64_t end = std::min(clamp(args.optional_integer(2, size)), size);
  if (start > end) return {{}, 0, 0, false};
  const size_t from = char_offset(text, static_cast<size_t>(start));
  const size_t to = char_offset(text, static_cast<size_t>(end));
  return {text.substr(from, to - from), from, start, true};
}

Value find(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"", "", ""}, 1}, call);
  const std::string_view needle = args.text(0);
  const Window w = window(rt, m.self.text(), args);
  const bool is_last = m.method == Method::kRfind || m.method == Method::kRindex;
  size_t at = std::string_view::npos;
  if (w.is_valid) at = is_last ? rfind_bytes(rt, w.text, needle) : find_bytes(w.text, needle, 0);
  if (at != std::string_view::npos) {
    return Value::of_int(w.first_char + static_cast<int64_t>(count_chars(w.text.substr(0, at))));
  }
  if (m.method == Method::kIndex || m.method == Method::kRindex) fail("substring not found");
  return Value::of_int(-1);
}

Value count(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"", "", ""}, 1}, call);
  const std::string_view needle = args.text(0);
  const Window w = window(rt, m.self.text(), args);
  if (!w.is_valid) return Value::of_int(0);
  if (needle.empty()) return Value::of_int(static_cast<int64_t>(count_chars(w.text)) + 1);
  int64_t n = 0;
  for (size_t p = 0; (p = find_bytes(w.text, needle, p)) != std::string_view::npos;
       p += needle.size()) {
    ++n;
  }
  return Value::of_int(n);
}

Value affix(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"", "", ""}, 1}, call);
  const Window w = window(rt, m.self.text(), args);
  const bool is_start = m.method == Method::kStartswith;
  const auto matches = [&](const Value& v) {
    if (!v.is_string()) {
      require_defined(v);
      fail("{} first arg must be str or a tuple of str, not {}", m.name, type_name(v));
    }
    return w.is_valid && (is_start ? w.text.starts_with(v.text()) : w.text.ends_with(v.text()));
  };
  if (!args[0].is(Kind::kTuple)) return Value::of_bool(matches(args[0]));
  for (const Value& v : *args[0].seq) {
    rt.charge();
    if (matches(v)) return Value::of_bool(true);
  }
  return Value::of_bool(false);
}

void split_space(std::string_view text, int64_t limit, ListBuilder& out) {
  text = strip_left(text);
  while (!text.empty()) {
    if (limit-- == 0) {
      out.add(piece(text));
      return;
    }
    size_t end = 0;
    for (size_t p = 0; p < text.size(); end = p) {
      if (is_space(next_char(text, p))) break;
    }
    out.add(piece(text.substr(0, end)));
    text = strip_left(text.substr(end));
  }
}

void rsplit_space(std::string_view text, int64_t limit, ListBuilder& out) {
  text = strip_right(text);
  while (!text.empty()) {
    if (limit-- == 0) {
      out.add(piece(text));
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      const size_t p = previous_char(text, begin);
      size_t q = p;
      if (is_space(next_char(text, q))) break;
      begin = p;
    }
    out.add(piece(text.substr(begin)));
    text = strip_right(text.substr(0, begin));
  }
  std::reverse(out.data(), out.data() + out.size());
}

Value split(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"sep", "maxsplit"}}, call);
  std::string_view text = m.self.text();
  int64_t limit = args.integer(1, -1);
  if (limit < 0) limit = INT64_MAX;
  rt.charge_bytes(text.size());
  ListBuilder out(rt);
  const bool is_right = m.method == Method::kRsplit;
  if (!args.has(0) || args[0].is(Kind::kNone)) {
    is_right ? rsplit_space(text, limit, out) : split_space(text, limit, out);
    return out.list();
  }
  const std::string_view separator = args.text(0);
  if (separator.empty()) fail("empty separator");
  while (limit-- > 0) {
    const size_t at = is_right ? rfind_bytes(rt, text, separator) : find_bytes(text, separator, 0);
    if (at == std::string_view::npos) break;
    out.add(piece(is_right ? text.substr(at + separator.size()) : text.substr(0, at)));
    text = is_right ? text.substr(0, at) : text.substr(at + separator.size());
  }
  out.add(piece(text));
  if (is_right) std::reverse(out.data(), out.data() + out.size());
  return out.list();
}

Value partition(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {""}, 1}, call);
  const std::string_view text = m.self.text();
  const std::string_view separator = args.text(0);
  if (separator.empty()) fail("empty separator");
  const bool is_right = m.method == Method::kRpartition;
  rt.charge_bytes(text.size());
  const size_t at = is_right ? rfind_bytes(rt, text, separator) : find_bytes(text, separator, 0);
  ListBuilder out(rt);
  if (at == std::string_view::npos) {
    out.add(piece(is_right ? "" : text));
    out.add(piece(""));
    out.add(piece(is_right ? text : ""));
  } else {
    out.add(piece(text.substr(0, at)));
    out.add(piece(separator));
    out.add(piece(text.substr(at + separator.size())));
  }
  return out.tuple();
}

std::string_view fill_char(const Bound& args, size_t i) {
  const std::string_view fill = args.text(i, " ");
  if (count_chars(fill) != 1) fail("The fill character must be exactly one character long");
  return fill;
}

Value pad(Runtime& rt, std::string_view text, std::pair<int64_t, int64_t> sides,
          std::string_view fill) {
  const Int extra = Int{std::max<int64_t>(sides.first, 0)} + std::max<int64_t>(sides.second, 0);
  rt.check_size(extra * static_cast<Int>(fill.size()) + static_cast<Int>(text.size()));
  rt.charge_bytes(static_cast<size_t>(extra));
  std::string out;
  for (int64_t i = 0; i < sides.first; ++i) out += fill;
  out += text;
  for (int64_t i = 0; i < sides.second; ++i) out += fill;
  return rt.text(out);
}

Value justify(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"", ""}, 1}, call);
  const std::string_view text = m.self.text();
  const int64_t width = index_of(args[0]);
  const std::string_view fill = fill_char(args, 1);
  const int64_t extra = width - static_cast<int64_t>(count_chars(text));
  if (m.method == Method::kLjust) return pad(rt, text, {0, extra}, fill);
  if (m.method == Method::kRjust) return pad(rt, text, {extra, 0}, fill);
  if (extra <= 0) return piece(text);
  const int64_t left = extra / 2 + (extra & width & 1);
  return pad(rt, text, {left, extra - left}, fill);
}

Value zfill(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {""}, 1}, call);
  const std::string_view text = m.self.text();
  const int64_t extra = index_of(args[0]) - static_cast<int64_t>(count_chars(text));
  if (extra <= 0) return piece(text);
  const bool has_sign = !text.empty() && (text[0] == '+' || text[0] == '-');
  const Value padded = pad(rt, has_sign ? text.substr(1) : text, {extra, 0}, "0");
  return has_sign ? rt.concat(text.substr(0, 1), padded.text()) : padded;
}

Value expand_tabs(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {"tabsize"}}, call);
  const int64_t tab = args.integer(0, 8);
  std::string out;
  int64_t column = 0;
  for (const char c : m.self.text()) {
    if (c == '\t') {
      const int64_t n = tab > 0 ? tab - column % tab : 0;
      rt.check_size(static_cast<Int>(out.size()) + n);
      rt.charge_bytes(static_cast<size_t>(n));
      out.append(static_cast<size_t>(n), ' ');
      column += n;
    } else {
      out += c;
      if (c == '\n' || c == '\r') {
        column = 0;
      } else {
        column += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      }
    }
  }
  return rt.text(out);
}

Value remove_affix(const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {""}, 1}, call);
  std::string_view text = m.self.text();
  const std::string_view part = args.text(0);
  if (m.method == Method::kRemoveprefix) {
    if (text.starts_with(part)) text.remove_prefix(part.size());
  } else if (text.ends_with(part)) {
    text.remove_suffix(part.size());
  }
  return piece(text);
}

Value change_case(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {}}, call);
  const std::string_view text = m.self.text();
  rt.check_size(static_cast<Int>(text.size()) * 3);
  rt.charge_bytes(text.size() * 4);
  switch (m.method) {
    case Method::kUpper: return rt.text(to_upper(text));
    case Method::kLower: return rt.text(to_lower(text));
    case Method::kCasefold: return rt.text(to_casefold(text));
    case Method::kTitle: return rt.text(to_title(text));
    case Method::kCapitalize: return rt.text(to_capitalized(text));
    default: return rt.text(swap_case(text));
  }
}

Value strip_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Bound args({m.name, {""}}, call);
  const Side side = m.method == Method::kLstrip   ? Side::kLeft
                    : m.method == Method::kRstrip ? Side::kRight
                                                  : Side::kBoth;
  return piece(strip_chars(rt, m.self.text(), args[0], side));
}

}  // namespace

std::string_view strip_chars(Runtime& rt, std::string_view text, const Value& chars, Side side) {
  rt.charge_bytes(text.size());
  if (chars.is(Kind::kMissing) || chars.is(Kind::kNone)) {
    if (side != Side::kRight) text = strip_left(text);
    return side == Side::kLeft ? text : strip_right(text);
  }
  const std::string_view set = require_text(chars, "strip arg");
  const auto in_set = [&](std::string_view c) {
    rt.charge_bytes(set.size());
    return find_bytes(set, c, 0) != set.npos;
  };
  while (side != Side::kRight && !text.empty()) {
    size_t end = 0;
    next_char(text, end);
    if (!in_set(text.substr(0, end))) break;
    text.remove_prefix(end);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t begin = previous_char(text, text.size());
    if (!in_set(text.substr(begin))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

Value replace_text(Runtime& rt, std::string_view text, std::string_view from, std::string_view to,
                   int64_t count) {
  rt.charge_bytes(text.size());
  if (count < 0) count = INT64_MAX;
  if (count == 0) return piece(text);
  std::string out;
  const auto add = [&](std::string_view part) {
    rt.check_size(static_cast<Int>(out.size() + part.size()));
    rt.charge();
    out += part;
  };
  size_t at = 0;
  if (from.empty()) {
    while (count-- > 0) {
      add(to);
      if (at >= text.size()) break;
      const size_t begin = at;
      next_char(text, at);
      add(text.substr(begin, at - begin));
    }
  } else {
    for (size_t hit; count > 0 && (hit = find_bytes(text, from, at)) != text.npos; --count) {
      add(text.substr(at, hit - at));
      add(to);
      at = hit + from.size();
    }
    if (at == 0) return piece(text);
  }
  add(text.substr(at));
  return rt.text(out);
}

Value join_text(Runtime& rt, std::string_view separator, Iterator* items, bool only_strings) {
  std::string out;
  int64_t n = 0;
  for (Value v; items->next(&v); ++n) {
    if (only_strings && !v.is_string()) {
      fail("sequence item {}: expected str instance, {} found", n, type_name(v));
    }
    if (n != 0) out += separator;
    append_str(rt, out, v);
    rt.charge();
    rt.check_size(static_cast<Int>(out.size()));
  }
  return rt.text(out);
}

Value center_text(Runtime& rt, std::string_view text, int64_t width) {
  const Value argument = Value::of_int(width);
  return justify(rt, {piece(text), Method::kCenter, "center"}, {{&argument, 1}, {}});
}

Value split_lines(Runtime& rt, std::string_view text, bool keep_ends) {
  rt.charge_bytes(text.size());
  ListBuilder out(rt);
  size_t begin = 0;
  for (size_t p = 0; p < text.size();) {
    const size_t end = p;
    const uint32_t c = next_char(text, p);
    if (!is_line_break(c)) continue;
    if (c == '\r' && p < text.size() && text[p] == '\n') ++p;
    out.add(piece(text.substr(begin, (keep_ends ? p : end) - begin)));
    begin = p;
  }
  if (begin < text.size()) out.add(piece(text.substr(begin)));
  return out.list();
}

Value call_text_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const std::string_view text = m.self.text();
  switch (m.method) {
    case Method::kFind:
    case Method::kRfind:
    case Method::kIndex:
    case Method::kRindex: return find(rt, m, call);
    case Method::kCount: return count(rt, m, call);
    case Method::kStartswith:
    case Method::kEndswith: return affix(rt, m, call);
    case Method::kSplit:
    case Method::kRsplit: return split(rt, m, call);
    case Method::kPartition:
    case Method::kRpartition: return partition(rt, m, call);
    case Method::kStrip:
    case Method::kLstrip:
    case Method::kRstrip: return strip_method(rt, m, call);
    case Method::kCenter:
    case Method::kLjust:
    case Method::kRjust: return justify(rt, m, call);
    case Method::kZfill: return zfill(rt, m, call);
    case Method::kExpandtabs: return expand_tabs(rt, m, call);
    case Method::kRemoveprefix:
    case Method::kRemovesuffix: return remove_affix(m, call);
    case Method::kUpper:
    case Method::kLower:
    case Method::kCasefold:
    case Method::kTitle:
    case Method::kCapitalize:
    case Method::kSwapcase: return change_case(rt, m, call);
    case Method::kReplace: {
      const Bound args({m.name, {"", "", ""}, 2}, call);
      return replace_text(rt, text, args.text(0), args.text(1), args.integer(2, -1));
    }
    case Method::kJoin: {
      const Bound args({m.name, {""}, 1}, call);
      if (!is_iterable(args[0])) fail("can only join an iterable");
      return join_text(rt, text, iterate(rt, args[0]), true);
    }
    case Method::kSplitlines: {
      const Bound args({m.name, {"keepends"}}, call);
      return split_lines(rt, text, args.flag(rt, 0));
    }
    case Method::kFormat: return format_text(rt, text, call);
    case Method::kFormatMap: {
      const Bound args({m.name, {""}, 1}, call);
      if (!args[0].is(Kind::kDict)) fail("format_map() argument must be a mapping");
      std::vector<Keyword> keywords;
      for (uint32_t i = 0; i < args[0].dict->size; ++i) {
        if (!args[0].dict->keys[i].is_string()) continue;
        keywords.push_back({args[0].dict->keys[i].text(), args[0].dict->values[i]});
      }
      return format_text(rt, text, {{}, keywords});
    }
    case Method::kEscape: return escape_html(rt, m.self);
    case Method::kUnescape: return rt.text(unescape_html(text));
    case Method::kStriptags: return strip_tags(rt, text);
    default: {
      const Bound args({m.name, {}}, call);
      rt.charge_bytes(text.size());
      return call_text_predicate(m.method, text);
    }
  }
}

}  // namespace ramjet::text::chat

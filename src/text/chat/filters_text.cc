// Filters that make text.
#include <array>

#include "text/chat/filters.h"
#include "text/chat/json_text.h"
#include "text/chat/methods.h"
#include "text/chat/percent_format.h"
#include "text/chat/unicode.h"
#include "text/chat/word_wrap.h"

namespace ramjet::text::chat {
namespace {

/// The method of that name on soft_str(v).
Value text_method(Runtime& rt, const Value& v, Method method, std::string_view name,
                  const CallArgs& args) {
  return call_method(rt, {soft_str(rt, v), method, name}, args);
}

template <Method method>
Value case_filter(Runtime& rt, const Value& v, const CallArgs& args) {
  return text_method(rt, v, method, "case filter", args);
}

Value center(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"center", {"width"}}, call);
  return center_text(rt, soft_str(rt, v).text(), args.integer(0, 80));
}

Value escape(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"escape", {}}, call);
  return escape_html(rt, v);
}

Value force_escape(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"forceescape", {}}, call);
  return escape_html(rt, to_str(rt, v));
}

Value safe(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"safe", {}}, call);
  return Value::of_text(to_str(rt, v).text(), Value::kMarkup);
}

Value string(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"string", {}}, call);
  return soft_str(rt, v);
}

Value format(Runtime& rt, const Value& v, const CallArgs& args) {
  if (!args.positional.empty() && !args.keywords.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  const Value text = soft_str(rt, v);
  if (args.keywords.empty()) {
    return percent_format(rt, text,
                          rt.sequence(Kind::kTuple, std::vector<Value>(args.positional.begin(),
                                                                       args.positional.end())));
  }
  DictBuilder dict(rt);
  for (const Keyword& keyword : args.keywords) {
    dict.set(Value::of_text(keyword.name), keyword.value);
  }
  return percent_format(rt, text, dict.dict());
}

Value replace(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"replace", {"old", "new", "count"}, 2}, call);
  return replace_text(rt, to_str(rt, v).text(), to_str(rt, args[0]).text(),
                      to_str(rt, args[1]).text(), args.optional_integer(2, -1));
}

Value trim(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"trim", {"chars"}}, call);
  const Value text = soft_str(rt, v);
  return Value::of_text(strip_chars(rt, text.text(), args[0], Side::kBoth), text.flags);
}

Value strip_tags_filter(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"striptags", {}}, call);
  return strip_tags(rt, to_str(rt, v).text());
}

Value title(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"title", {}}, call);
  const std::string_view text = soft_str(rt, v).text();
  rt.check_size(static_cast<Int>(text.size()) * 3);
  rt.charge_bytes(text.size() * 4);
  std::string out;
  // Words begin behind runs of these or of whitespace.
  const auto is_separator = [](uint32_t c) {
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    const bool is_gap = is_separator(next_char(text, p));
    const size_t first_end = p;
    while (p < text.size()) {
      size_t q = p;
      if (is_separator(next_char(text, q)) != is_gap) break;
      p = q;
    }
    out += to_upper(text.substr(begin, first_end - begin));
    out += to_lower(text.substr(first_end, p - first_end));
  }
  return rt.text(out);
}

Value indent(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"indent", {"width", "first", "blank"}}, call);
  const std::string_view text = require_text(v, "indent");
  std::string indention;
  if (args.has(0) && args[0].is_string()) {
    indention = args[0].text();
  } else {
    const int64_t width = std::max<int64_t>(args.integer(0, 4), 0);
    rt.check_size(width);
    indention.assign(static_cast<size_t>(width), ' ');
  }
  const Value with_newline = rt.concat(text, "\n");
  const Value lines = split_lines(rt, with_newline.text(), false);
  const bool with_blank = args.flag(rt, 2);
  std::string out;
  bool is_first = true;
  for (const Value& line : *lines.seq) {
    if (!is_first) {
      out += '\n';
      if (with_blank || line.size != 0) out += indention;
    } else if (args.flag(rt, 1)) {
      out += indention;
    }
    is_first = false;
    out += line.text();
    rt.charge_bytes(indention.size());
    rt.check_size(static_cast<Int>(out.size()) + static_cast<Int>(indention.size()));
  }
  return rt.text(out, v.flags);
}

Value truncate(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"truncate", {"length", "killwords", "end", "leeway"}}, call);
  const int64_t length = args.integer(0, 255);
  const std::string_view end = args.text(2, "...");
  const int64_t leeway = args.optional_integer(3, 5);
  const auto end_size = static_cast<int64_t>(count_chars(end));
  if (length < end_size) fail("expected length >= {}, got {}", end_size, length);
  if (leeway < 0) fail("expected leeway >= 0, got {}", leeway);
  const int64_t size = chat::length(rt, v);
  if (size <= length || size - length <= leeway) return v;
  std::string_view text = require_text(v, "truncate");
  text = text.substr(0, char_offset(text, static_cast<size_t>(length - end_size)));
  if (!args.flag(rt, 1)) text = text.substr(0, text.rfind(' '));
  return rt.concat(text, end);
}

Value word_count(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"wordcount", {}}, call);
  const std::string_view text = soft_str(rt, v).text();
  rt.charge_bytes(text.size());
  int64_t words = 0;
  bool was_word = false;
  for (size_t p = 0; p < text.size();) {
    const bool is_in_word = is_word(next_char(text, p));
    words += is_in_word && !was_word;
    was_word = is_in_word;
  }
  return Value::of_int(words);
}

Value word_wrap_filter(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"wordwrap", {"width", "break_long_words", "wrapstring", "break_on_hyphens"}},
                   call);
  WrapStyle style;
  style.width = args.integer(0, 79);
  style.breaks_long_words = !args.has(1) || args.flag(rt, 1);
  style.breaks_on_hyphens = !args.has(3) || args.flag(rt, 3);
  std::string_view separator = "\n";
  if (args.has(2) && !args[2].is(Kind::kNone)) separator = args.text(2);
  std::string out;
  bool is_first = true;
  for (const Value& line : *split_lines(rt, require_text(v, "wordwrap"), false).seq) {
    if (!is_first) out += separator;
    is_first = false;
    out += wrap_line(rt, line.text(), separator, style);
    rt.check_size(static_cast<Int>(out.size()));
  }
  return rt.text(out);
}

void append_quoted(std::string& out, std::string_view text, bool for_query) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    const bool is_plain = u < 0x80 && (is_alpha(u) || is_decimal(u) || c == '_' || c == '.' ||
                                       c == '-' || c == '~' || (c == '/' && !for_query));
    if (is_plain) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      out += '%';
      out += kHex[u >> 4];
      out += kHex[u & 15];
    }
  }
}

Value url_encode(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"urlencode", {}}, call);
  std::string out;
  if (v.is_string() || !is_iterable(v)) {
    const Value text = to_str(rt, v);
    rt.check_size(static_cast<Int>(text.size) * 3);
    append_quoted(out, text.text(), false);
    return rt.text(out);
  }
  const Value pairs =
      v.is(Kind::kDict) ? Value::of_object(Kind::kDictView, v.dict, Value::kViewItems) : v;
  Iterator* it = iterate(rt, pairs);
  for (Value pair; it->next(&pair);) {
    const Seq* seq = collect(rt, pair);
    if (seq->size != 2) fail("urlencode takes (key, value) pairs, not {} values", seq->size);
    if (!out.empty()) out += '&';
    append_quoted(out, to_str(rt, seq->items[0]).text(), true);
    out += '=';
    append_quoted(out, to_str(rt, seq->items[1]).text(), true);
    rt.check_size(static_cast<Int>(out.size()));
  }
  return rt.text(out);
}

Value xml_attributes(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"xmlattr", {"autospace"}}, call);
  require_defined(v);
  if (!v.is(Kind::kDict)) fail("'{}' object has no attribute 'items'", type_name(v));
  std::string out;
  for (uint32_t i = 0; i < v.dict->size; ++i) {
    const Value& value = v.dict->values[i];
    if (value.is(Kind::kNone) || value.is_undefined()) continue;
    const std::string_view key = require_text(v.dict->keys[i], "xmlattr key");
    if (key.find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      fail("Invalid character in attribute name: {}", repr(rt, v.dict->keys[i]));
    }
    if (!out.empty()) out += ' ';
    out += escape_html(rt, v.dict->keys[i]).text();
    out += "=\"";
    out += escape_html(rt, value).text();
    out += '"';
    rt.check_size(static_cast<Int>(out.size()));
  }
  const bool with_space = !args.has(0) || args.flag(rt, 0);
  if (with_space && !out.empty()) out.insert(0, 1, ' ');
  return rt.text(out);
}

constexpr int64_t kMaxIndent = 1000;

Value to_json(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}}, call);
  JsonStyle style;
  style.ensure_ascii = args.flag(rt, 0);
  style.sort_keys = args.flag(rt, 3);
  if (args.has(1) && !args[1].is(Kind::kNone)) {
    style.is_indented = true;
    style.item_separator = ",";
    if (args[1].is_string()) {
      style.indent = args[1].text();
    } else {
      const int64_t width = std::max<int64_t>(index_of(args[1]), 0);
      style.indent.assign(static_cast<size_t>(std::min(width, kMaxIndent + 1)), ' ');
    }
    if (style.indent.size() > static_cast<size_t>(kMaxIndent)) {
      fail("tojson: indent of more than {} characters", kMaxIndent);
    }
  }
  if (args.has(2) && !args[2].is(Kind::kNone)) {
    const Seq* separators = collect(rt, args[2]);
    if (separators->size != 2) fail("tojson: separators must be (item, key)");
    style.item_separator = require_text(separators->items[0], "separator");
    style.key_separator = require_text(separators->items[1], "separator");
  }
  return rt.text(dump_json_text(rt, v, style));
}

[[noreturn]] Value unsupported_filter(Runtime&, const Value&, const CallArgs&) {
  throw_error(ErrorCode::kUnsupported, "filters urlize and random are not supported");
}

constexpr std::array<FilterEntry, 24> kFilters = {{{"tojson", to_json},
                                                   {"trim", trim},
                                                   {"string", string},
                                                   {"safe", safe},
                                                   {"replace", replace},
                                                   {"upper", case_filter<Method::kUpper>},
                                                   {"lower", case_filter<Method::kLower>},
                                                   {"capitalize", case_filter<Method::kCapitalize>},
                                                   {"title", title},
                                                   {"indent", indent},
                                                   {"format", format},
                                                   {"center", center},
                                                   {"e", escape},
                                                   {"escape", escape},
                                                   {"forceescape", force_escape},
                                                   {"striptags", strip_tags_filter},
                                                   {"truncate", truncate},
                                                   {"wordcount", word_count},
                                                   {"wordwrap", word_wrap_filter},
                                                   {"urlencode", url_encode},
                                                   {"xmlattr", xml_attributes},
                                                   {"pprint", pretty_print},
                                                   {"urlize", unsupported_filter},
                                                   {"random", unsupported_filter}}};

}  // namespace

std::span<const FilterEntry> text_filters() { return kFilters; }

}  // namespace ramjet::text::chat

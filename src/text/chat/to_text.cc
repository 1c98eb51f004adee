// str() and repr().
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/chat/loop.h"
#include "text/chat/macro.h"
#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

void append_items(Runtime& rt, std::string& out, const Value* items, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (i != 0) out += ", ";
    append_repr(rt, out, items[i]);
  }
}

void append_dict(Runtime& rt, std::string& out, const Dict& dict) {
  out += '{';
  for (uint32_t i = 0; i < dict.size; ++i) {
    if (i != 0) out += ", ";
    append_repr(rt, out, dict.keys[i]);
    out += ": ";
    append_repr(rt, out, dict.values[i]);
  }
  out += '}';
}

void append_view(Runtime& rt, std::string& out, const Value& view) {
  out += type_name(view);
  out += "([";
  for (uint32_t i = 0; i < view.dict->size; ++i) {
    if (i != 0) out += ", ";
    append_repr(rt, out, dict_view_item(rt, view, i));
  }
  out += "])";
}

void append_namespace(Runtime& rt, std::string& out, const Namespace& ns) {
  out += "<Namespace {";
  for (uint32_t i = 0; i < ns.size; ++i) {
    if (i != 0) out += ", ";
    append_text_repr(out, ns.items[i].name);
    out += ": ";
    append_repr(rt, out, ns.items[i].value);
  }
  out += "}>";
}

void append_range(std::string& out, const Range& range) {
  out += "range(" + int_to_text(range.start) + ", " + int_to_text(range.stop);
  if (range.step != 1) out += ", " + int_to_text(range.step);
  out += ')';
}

bool is_simple(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= 0x20 && c < 0x7F && c != '\'' && c != '\\'; });
}

}  // namespace

std::string_view type_name(const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt:
    case Kind::kBigInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return v.is_markup() ? "Markup" : "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return "tuple";
    case Kind::kDict: return "dict";
    case Kind::kDictView:
      return v.flags == Value::kViewKeys     ? "dict_keys"
             : v.flags == Value::kViewValues ? "dict_values"
                                             : "dict_items";
    case Kind::kRange: return "range";
    case Kind::kIterator: return "generator";
    case Kind::kMethod: return "builtin_function_or_method";
    case Kind::kFunction: return "function";
    case Kind::kMacro: return "Macro";
    case Kind::kNamespace: return "Namespace";
    case Kind::kLoop: return "LoopContext";
    case Kind::kCycler: return "Cycler";
    case Kind::kJoiner: return "Joiner";
  }
  return "";
}

void raise_undefined(const Value& v) {
  const Undefined& u = *v.undefined;
  if (!u.hint.empty()) fail("{}", u.hint);
  std::string name;
  if (u.name.is_string()) append_text_repr(name, u.name.text());
  if (u.is_unsafe) {
    fail("access to attribute {} of '{}' object is unsafe.", name, type_name(u.object));
  }
  if (u.object.is(Kind::kMissing)) fail("{} is undefined", name);
  const std::string object =
      u.object.is(Kind::kNone) ? "None" : std::string(type_name(u.object)) + " object";
  if (u.name.is_string()) fail("'{}' has no attribute {}", object, name);
  fail("{} has no element {}", object,
       u.name.is_integral() ? int_to_text(integral(u.name)) : std::string(type_name(u.name)));
}

std::string int_to_text(Int value, int base) {
  char digits[130];
  char* p = digits + sizeof digits;
  __extension__ typedef unsigned __int128 Unsigned;
  Unsigned u = value < 0 ? -static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  do {
    *--p = "0123456789abcdef"[static_cast<int>(u % static_cast<Unsigned>(base))];
    u /= static_cast<Unsigned>(base);
  } while (u != 0);
  if (value < 0) *--p = '-';
  return std::string(p, digits + sizeof digits);
}

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  const double magnitude = std::abs(d);
  const bool is_plain = d == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, d,
                    is_plain ? std::chars_format::fixed : std::chars_format::scientific)
          .ptr;
  std::string out(buffer, end);
  if (is_plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

void append_text_repr(std::string& out, std::string_view text) {
  if (is_simple(text)) {
    out += '\'';
    out += text;
    out += '\'';
    return;
  }
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (size_t p = 0; p < text.size();) {
    const size_t begin = p;
    const uint32_t c = next_char(text, p);
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(text, begin, p - begin);
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    }
  }
  out += quote;
}

void append_repr(Runtime& rt, std::string& out, const Value& v) {
  rt.charge();
  rt.check_stack();
  rt.check_size(static_cast<Int>(out.size()));
  switch (v.kind) {
    case Kind::kUndefined: out += "Undefined"; return;
    case Kind::kString:
      rt.charge_bytes(v.size);
      if (v.is_markup()) out += "Markup(";
      append_text_repr(out, v.text());
      if (v.is_markup()) out += ')';
      return;
    case Kind::kList:
      out += '[';
      append_items(rt, out, v.seq->items, v.seq->size);
      out += ']';
      return;
    case Kind::kTuple:
      out += '(';
      append_items(rt, out, v.seq->items, v.seq->size);
      out += v.seq->size == 1 ? ",)" : ")";
      return;
    case Kind::kDict: append_dict(rt, out, *v.dict); return;
    case Kind::kDictView: append_view(rt, out, v); return;
    case Kind::kNamespace: append_namespace(rt, out, *v.ns); return;
    default: append_str(rt, out, v);
  }
}

void append_str(Runtime& rt, std::string& out, const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined: return;
    case Kind::kNone: out += "None"; return;
    case Kind::kBool: out += v.boolean ? "True" : "False"; return;
    case Kind::kInt:
    case Kind::kBigInt: out += int_to_text(integral(v)); return;
    case Kind::kFloat: out += float_repr(v.real); return;
    case Kind::kString: out += v.text(); return;
    case Kind::kRange: append_range(out, *v.range); return;
    case Kind::kMacro:
      out += "<Macro ";
      if (macro_name(*v.macro).empty()) {
        out += "anonymous";
      } else {
        append_text_repr(out, macro_name(*v.macro));
      }
      out += '>';
      return;
    case Kind::kLoop:
      out += fmt::format("<LoopContext {}/{}>", v.loop->index0 + 1, loop_length(rt, *v.loop));
      return;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kNamespace: append_repr(rt, out, v); return;
    // Python shows an address here; these have none worth showing.
    default: out += fmt::format("<{} object>", type_name(v));
  }
}

Value to_str(Runtime& rt, const Value& v) {
  if (v.is_string()) return Value::of_text(v.text());
  std::string out;
  append_str(rt, out, v);
  return rt.text(out);
}

std::string repr(Runtime& rt, const Value& v) {
  std::string out;
  append_repr(rt, out, v);
  return out;
}

Value escape_html(Runtime& rt, const Value& v) {
  if (v.is_markup()) return v;
  const Value text = to_str(rt, v);
  if (text.text().find_first_of("&<>'\"") == std::string_view::npos) {
    return Value::of_text(text.text(), Value::kMarkup);
  }
  std::string out;
  rt.check_size(static_cast<Int>(text.size) * 5);
  for (const char c : text.text()) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return rt.text(out, Value::kMarkup);
}

}  // namespace ramjet::text::chat

// str.format: replacement fields with attributes, items, conversions and format specifications.
#include <cmath>

#include "text/chat/methods.h"
#include "text/chat/number_format.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

struct Spec {
  std::string fill = " ";
  char alignment = 0;
  int64_t width = 0;
  NumberFormat number;
  bool has_sign = false;
};

bool is_alignment(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

int64_t parse_digits(std::string_view text, size_t& at) {
  int64_t n = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    n = n * 10 + (text[at++] - '0');
    if (n > INT32_MAX) fail("Too many decimal digits in format string");
  }
  return n;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is = [&](char c) { return at < text.size() && text[at] == c; };
  size_t first = 0;
  if (!text.empty()) next_char(text, first);
  if (first < text.size() && is_alignment(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.alignment = text[first];
    at = first + 1;
  } else if (!text.empty() && is_alignment(text[0])) {
    spec.alignment = text[0];
    at = 1;
  }
  if (is('+') || is('-') || is(' ')) {
    spec.number.sign = text[at++];
    spec.has_sign = true;
  }
  if (is('#')) {
    spec.number.is_alternate = true;
    ++at;
  }
  if (is('0') && spec.alignment == 0) {
    spec.fill = "0";
    spec.alignment = '=';
    ++at;
  }
  spec.width = parse_digits(text, at);
  if (is(',') || is('_')) spec.number.grouping = text[at++];
  if (is('.')) {
    const size_t begin = ++at;
    spec.number.precision = parse_digits(text, at);
    if (at == begin) fail("Format specifier missing precision");
  }
  if (at < text.size()) spec.number.type = text[at++];
  if (at < text.size()) fail("Invalid format specifier '{}'", text);
  return spec;
}

std::string format_string(Runtime& rt, const Spec& spec, std::string_view text) {
  if (spec.number.type != 0 && spec.number.type != 's') {
    fail("Unknown format code '{}' for object of type 'str'", spec.number.type);
  }
  if (spec.alignment == '=' && spec.fill != "0") {
    fail("'=' alignment not allowed in string format specifier");
  }
  if (spec.number.grouping != 0) fail("Cannot specify '{}' with 's'.", spec.number.grouping);
  if (spec.has_sign) fail("Sign not allowed in string format specifier");
  if (spec.number.precision >= 0) {
    text = text.substr(0, char_offset(text, static_cast<size_t>(spec.number.precision)));
  }
  const char alignment = spec.alignment == 0 || spec.alignment == '=' ? '<' : spec.alignment;
  return align_text(rt, {{}, std::string(text)}, alignment, spec.width, spec.fill);
}

std::string format_value(Runtime& rt, const Value& v, std::string_view spec_text) {
  if (spec_text.empty()) return std::string(to_str(rt, v).text());
  const Spec spec = parse_spec(spec_text);
  if (v.is_string()) return format_string(rt, spec, v.text());
  const char type = spec.number.type;
  const char alignment = spec.alignment == 0 ? '>' : spec.alignment;
  // bool's own format is that of int, but without a type it shows as text.
  if (v.is_integral() &&
      (type == 0 || std::string_view("bdoxXcn").find(type) != std::string_view::npos)) {
    if (type == 'c') {
      std::string text;
      append_char(text, static_cast<uint32_t>(index_of(v)));
      return align_text(rt, {{}, text}, spec.alignment == 0 ? '<' : alignment, spec.width,
                        spec.fill);
    }
    if (spec.number.precision >= 0) fail("Precision not allowed in integer format specifier");
    return align_text(rt, format_integer(integral(v), spec.number), alignment, spec.width,
                      spec.fill);
  }
  if (v.is_number()) {
    if (type != 0 && std::string_view("eEfFgG%n").find(type) == std::string_view::npos) {
      fail("Unknown format code '{}' for object of type '{}'", type, type_name(v));
    }
    return align_text(rt, format_float(real(v), spec.number), alignment, spec.width, spec.fill);
  }
  fail("unsupported format string passed to {}.__format__", type_name(v));
}

class Formatter {
 public:
  Formatter(Runtime& rt, const CallArgs& args) : rt_(rt), args_(args) {}

  std::string run(std::string_view format, int depth) {
    if (depth < 0) fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        out += c;
        ++at;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        fail("Single '}}' encountered in format string");
      } else {
        out += field(format, at, depth);
      }
      rt_.charge();
      rt_.check_size(static_cast<Int>(out.size()));
    }
    return out;
  }

 private:
  std::string field(std::string_view format, size_t& at, int depth) {
    const size_t begin = ++at;
    int braces = 1;
    for (; at < format.size() && braces > 0; ++at) {
      braces += format[at] == '{' ? 1 : format[at] == '}' ? -1 : 0;
    }
    if (braces != 0) fail("expected '}}' before end of string");
    std::string_view body = format.substr(begin, at - 1 - begin);
    // A bracketed item may hold any character but ']'.
    size_t end = 0;
    for (bool in_item = false; end < body.size(); ++end) {
      if (body[end] == '[') in_item = true;
      if (body[end] == ']') in_item = false;
      if (!in_item && (body[end] == '!' || body[end] == ':')) break;
    }
    Value v = lookup(body.substr(0, end));
    body.remove_prefix(end);
    if (body.starts_with('!')) {
      if (body.size() < 2 || (body.size() > 2 && body[2] != ':')) {
        fail("expected ':' after conversion specifier");
      }
      v = convert(v, body[1]);
      body.remove_prefix(2);
    }
    if (body.starts_with(':')) body.remove_prefix(1);
    return format_value(rt_, v, run(body, depth - 1));
  }

  Value convert(const Value& v, char conversion) {
    if (conversion == 's') return to_str(rt_, v);
    if (conversion == 'r' || conversion == 'a') return rt_.text(repr(rt_, v));
    fail("Unknown conversion specifier {}", conversion);
  }

  Value lookup(std::string_view name) {
    size_t end = std::min(name.find_first_of(".["), name.size());
    number_fields(name);
    // Only a field that is empty as a whole counts up by itself (string.Formatter).
    if (end == 0 && !name.empty()) fail("''");
    Value v = first(name.substr(0, end));
    while (end < name.size()) {
      if (name[end] == '.') {
        const size_t next = std::min(name.find_first_of(".[", end + 1), name.size());
        v = get_attribute(rt_, v, name.substr(end + 1, next - end - 1));
        end = next;
      } else {
        const size_t close = name.find(']', end);
        if (close == std::string_view::npos) fail("Missing ']' in format string");
        v = get_item(rt_, v, key(name.substr(end + 1, close - end - 1)));
        end = close + 1;
        if (end < name.size() && name[end] != '.' && name[end] != '[') {
          fail("Only '.' or '[' may follow ']' in format field specifier");
        }
      }
    }
    return v;
  }

  /// Fields count by themselves or have numbers, not both.
  void number_fields(std::string_view name) {
    const bool is_number =
        !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
    if (name.empty() && is_manual_) {
      fail("cannot switch from manual field specification to automatic field numbering");
    }
    if (is_number && automatic_ > 0) {
      fail("cannot switch from automatic field numbering to manual field specification");
    }
    if (is_number) is_manual_ = true;
  }

  static Value key(std::string_view text) {
    size_t at = 0;
    const int64_t n = parse_digits(text, at);
    return !text.empty() && at == text.size() ? Value::of_int(n) : Value::of_text(text);
  }

  Value first(std::string_view name) {
    const Value k = name.empty() ? Value::of_int(automatic_++) : key(name);
    if (k.is_string()) {
      rt_.charge(static_cast<int64_t>(args_.keywords.size() / 4));
      for (const Keyword& keyword : args_.keywords) {
        if (keyword.name == name) return keyword.value;
      }
      fail("'{}'", name);
    }
    if (static_cast<size_t>(k.integer) >= args_.positional.size()) {
      fail("Replacement index {} out of range for positional args tuple", k.integer);
    }
    return args_.positional[static_cast<size_t>(k.integer)];
  }

  Runtime& rt_;
  const CallArgs& args_;
  int64_t automatic_ = 0;
  bool is_manual_ = false;
};

}  // namespace

Value format_text(Runtime& rt, std::string_view format, const CallArgs& args) {
  rt.charge_bytes(format.size());
  return rt.text(Formatter(rt, args).run(format, 2));
}

}  // namespace ramjet::text::chat

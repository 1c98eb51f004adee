// Filters that make numbers.
#include <array>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "text/chat/filters.h"
#include "text/chat/string_literal.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

Value absolute(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"abs", {}}, call);
  require_defined(v);
  if (v.is(Kind::kFloat)) return Value::of_float(std::abs(v.real));
  if (!v.is_integral()) fail("bad operand type for abs(): '{}'", type_name(v));
  return integral(v) < 0 ? negate(rt, v) : rt.integer(integral(v));
}

/// Digits with single underscores between them; none when `s` is anything else.
std::optional<std::string> plain_digits(std::string_view s, int base) {
  std::string out;
  bool was_digit = false;
  for (const char c : s) {
    if (c == '_' && was_digit) {
      was_digit = false;
    } else if (digit_value(c) < base) {
      out += c;
      was_digit = true;
    } else {
      return std::nullopt;
    }
  }
  if (!was_digit) return std::nullopt;
  return out;
}

int prefix_base(std::string_view s) {
  if (s.size() < 2 || s[0] != '0') return 0;
  switch (s[1] | 0x20) {
    case 'b': return 2;
    case 'o': return 8;
    case 'x': return 16;
    default: return 0;
  }
}

/// int(text, base); none for ValueError.
std::optional<Int> parse_int(std::string_view s, int64_t base) {
  s = strip(s);
  const bool is_negative = s.starts_with('-');
  if (is_negative || s.starts_with('+')) s.remove_prefix(1);
  const int marked = prefix_base(s);
  if (marked != 0 && (base == 0 || base == marked)) {
    base = marked;
    s.remove_prefix(2);
    if (s.starts_with('_')) s.remove_prefix(1);
  } else if (base == 0) {
    base = 10;
    if (s.size() > 1 && s[0] == '0' && s.find_first_not_of("0_") != s.npos) return std::nullopt;
  }
  if (base < 2 || base > 36) return std::nullopt;
  const auto digits = plain_digits(s, static_cast<int>(base));
  if (!digits) return std::nullopt;
  Int n = 0;
  for (const char c : *digits) {
    if (__builtin_mul_overflow(n, Int{base}, &n) ||
        __builtin_add_overflow(n, Int{digit_value(c)}, &n)) {
      fail("integer needs more than 128 bits, which templates here do not support");
    }
  }
  return is_negative ? -n : n;
}

/// float(text); none for ValueError.
std::optional<double> parse_float(std::string_view s) {
  s = strip(s);
  std::string clean;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') {
      clean += s[i];
      continue;
    }
    const bool is_between =
        i > 0 && i + 1 < s.size() && digit_value(s[i - 1]) < 10 && digit_value(s[i + 1]) < 10;
    if (!is_between) return std::nullopt;
  }
  std::string_view body = clean;
  if (body.starts_with('-') || body.starts_with('+')) body.remove_prefix(1);
  const std::string lower = to_lower(body);
  const bool is_word = lower == "inf" || lower == "infinity" || lower == "nan";
  if (!is_word && body.find_first_not_of("0123456789.eE+-") != std::string_view::npos) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double d = std::strtod(clean.c_str(), &end);
  if (clean.empty() || end != clean.c_str() + clean.size()) return std::nullopt;
  return d;
}

/// float(v) for the filters; none for TypeError and ValueError.
std::optional<double> try_float(const Value& v) {
  require_defined(v);
  if (v.is_string()) return parse_float(v.text());
  if (v.is_number()) return real(v);
  return std::nullopt;
}

Value to_int(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"int", {"default", "base"}}, call);
  const Value fallback = args.get(0, Value::of_int(0));
  require_defined(v);
  if (v.is_integral()) return rt.integer(integral(v));
  if (v.is_string()) {
    if (const auto n = parse_int(v.text(), args.integer(1, 10))) return rt.integer(*n);
  } else if (v.is(Kind::kFloat)) {
    if (std::isnan(v.real)) return fallback;
    return rt.integer(truncate_float(v.real));
  }
  const auto d = try_float(v);
  if (!d || !std::isfinite(*d)) return fallback;
  return rt.integer(truncate_float(*d));
}

Value to_float(Runtime&, const Value& v, const CallArgs& call) {
  const Bound args({"float", {"default"}}, call);
  const auto d = try_float(v);
  return d ? Value::of_float(*d) : args.get(0, Value::of_float(0));
}

Value round_filter(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"round", {"precision", "method"}}, call);
  const std::string_view method = args.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    fail("method must be common, ceil or floor");
  }
  if (method == "common") {
    const bool to_int = args.has(0) && args[0].is(Kind::kNone);
    const Value rounded = round_number(rt, v, to_int ? 0 : args.integer(0, 0));
    return to_int ? rt.integer(truncate_float(real(rounded))) : rounded;
  }
  const Value scale = power(rt, Value::of_int(10), args.get(0, Value::of_int(0)));
  const Value scaled = binary(rt, BinaryOp::kMul, v, scale);
  if (!scaled.is_number()) fail("must be real number, not {}", type_name(scaled));
  Value whole = scaled;
  if (scaled.is(Kind::kFloat)) {
    whole = rt.integer(
        truncate_float(method == "ceil" ? std::ceil(scaled.real) : std::floor(scaled.real)));
  }
  return binary(rt, BinaryOp::kDiv, whole, scale);
}

Value file_size(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"filesizeformat", {"binary"}}, call);
  const auto bytes = try_float(v);
  if (!bytes) fail("could not convert to float: {}", repr(rt, v));
  const bool is_binary = args.flag(rt, 0);
  const double base = is_binary ? 1024 : 1000;
  if (*bytes == 1) return Value::of_text("1 Byte");
  if (*bytes < base) return rt.text(int_to_text(truncate_float(*bytes)) + " Bytes");
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  for (size_t i = 0; i < kPrefixes.size(); ++i) {
    unit *= base;
    if (*bytes >= unit && i + 1 < kPrefixes.size()) continue;
    const std::string prefix = is_binary ? std::string(i == 0 ? "K" : kPrefixes.substr(i, 1)) + "i"
                                         : std::string(kPrefixes.substr(i, 1));
    return rt.text(fmt::format("{:.1f} {}B", base * *bytes / unit, prefix));
  }
  return Value();
}

constexpr std::array<FilterEntry, 5> kFilters = {{{"int", to_int},
                                                  {"float", to_float},
                                                  {"round", round_filter},
                                                  {"abs", absolute},
                                                  {"filesizeformat", file_size}}};

}  // namespace

std::span<const FilterEntry> number_filters() { return kFilters; }

}  // namespace ramjet::text::chat

#include "text/chat/number_format.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

constexpr int64_t kMaxPrecision = 1000;

std::string sign_text(bool is_negative, char sign) {
  if (is_negative) return "-";
  return sign == '-' ? std::string() : std::string(1, sign);
}

void insert_grouping(std::string& digits, char separator, size_t group) {
  size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole]))) ++whole;
  if (group == 3) whole = std::min(whole, digits.find_first_not_of("0123456789"));
  whole = std::min(whole, digits.size());
  for (size_t p = whole; p > group;) {
    p -= group;
    digits.insert(p, 1, separator);
  }
}

std::string print_float(double value, char type, int precision, bool is_alternate) {
  const char format[] = {'%',
                         is_alternate ? '#' : '.',
                         is_alternate ? '.' : '*',
                         is_alternate ? '*' : type,
                         is_alternate ? type : '\0',
                         '\0'};
  char small[64];
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wformat-nonliteral"
  const int n = std::snprintf(small, sizeof small, format, precision, value);
  if (n < static_cast<int>(sizeof small)) return std::string(small, static_cast<size_t>(n));
  std::string large(static_cast<size_t>(n) + 1, '\0');
  std::snprintf(large.data(), large.size(), format, precision, value);
#pragma clang diagnostic pop
  large.pop_back();
  return large;
}

}  // namespace

NumberText format_integer(Int value, const NumberFormat& format) {
  const bool is_negative = value < 0;
  const Int magnitude = is_negative ? -value : value;
  const int base = format.type == 'b'                         ? 2
                   : format.type == 'o'                       ? 8
                   : format.type == 'x' || format.type == 'X' ? 16
                                                              : 10;
  std::string digits = int_to_text(magnitude, base);
  if (format.precision > kMaxPrecision) fail("precision {} is too large", format.precision);
  if (static_cast<int64_t>(digits.size()) < format.precision) {
    digits.insert(0, static_cast<size_t>(format.precision) - digits.size(), '0');
  }
  if (format.grouping != 0) insert_grouping(digits, format.grouping, base == 10 ? 3 : 4);
  std::string sign = sign_text(is_negative, format.sign);
  if (format.is_alternate && base != 10) {
    sign += '0';
    sign += format.type;
  }
  if (format.type == 'X') {
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  }
  return {sign, digits};
}

NumberText format_float(double value, const NumberFormat& format) {
  const std::string sign = sign_text(std::signbit(value) && !std::isnan(value), format.sign);
  const double magnitude = std::abs(value);
  const bool is_upper = format.type == 'E' || format.type == 'F' || format.type == 'G';
  if (!std::isfinite(value)) {
    std::string text = std::isnan(value) ? "nan" : "inf";
    if (is_upper) text = to_upper(text);
    if (format.type == '%') text += '%';
    return {sign, text};
  }
  if (format.precision > kMaxPrecision) fail("precision {} is too large", format.precision);
  std::string digits;
  if (format.type == 0 && format.precision < 0) {
    digits = float_repr(magnitude);
  } else {
    const int precision = format.precision < 0 ? 6 : static_cast<int>(format.precision);
    const char type = format.type == 0 || format.type == 'n' ? 'g'
                      : format.type == '%'                   ? 'f'
                                                             : format.type;
    digits = print_float(format.type == '%' ? magnitude * 100 : magnitude, type,
                         type == 'g' || type == 'G' ? std::max(precision, 1) : precision,
                         format.is_alternate);
    const bool is_integer = digits.find_first_of(".eE") == std::string::npos;
    if (format.type == 0 && is_integer) digits += ".0";
    if (format.type == '%') digits += '%';
  }
  if (format.grouping != 0) insert_grouping(digits, format.grouping, 3);
  return {sign, digits};
}

std::string align_text(Runtime& rt, const NumberText& text, char alignment, int64_t width,
                       std::string_view fill) {
  const auto size = static_cast<int64_t>(count_chars(text.sign) + count_chars(text.digits));
  const int64_t extra = std::max<int64_t>(width - size, 0);
  rt.check_size(Int{extra} * static_cast<Int>(fill.size()));
  rt.charge_bytes(static_cast<size_t>(extra));
  const int64_t left = alignment == '<' ? 0 : alignment == '^' ? extra / 2 : extra;
  std::string out;
  if (alignment == '=') out += text.sign;
  for (int64_t i = 0; i < left; ++i) out += fill;
  if (alignment != '=') out += text.sign;
  out += text.digits;
  for (int64_t i = left; i < extra; ++i) out += fill;
  return out;
}

}  // namespace ramjet::text::chat

// Numbers as text by a format specification, for `%` and str.format.
#pragma once

#include <string>
#include <string_view>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct NumberFormat {
  char type = 0;  // d b o x X c e E f F g G % n, or 0 for the default
  int64_t precision = -1;
  bool is_alternate = false;  // '#'
  char sign = '-';            // '-', '+' or ' '
  char grouping = 0;          // ',' or '_'
};

/// The digits without sign; `is_negative` says which sign they had.
struct NumberText {
  std::string sign;  // with 0x and friends
  std::string digits;
};
NumberText format_integer(Int value, const NumberFormat& format);
NumberText format_float(double value, const NumberFormat& format);

/// Pads `text` (characters, not bytes) to a width: '<', '>', '^', or '=' between sign and digits.
std::string align_text(Runtime& rt, const NumberText& text, char alignment, int64_t width,
                       std::string_view fill);

}  // namespace ramjet::text::chat

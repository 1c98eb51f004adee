// Python's textwrap.wrap for one line, for the filter `wordwrap`.
#pragma once

#include <string>
#include <string_view>

#include "text/chat/runtime.h"

namespace ramjet::text::chat {

struct WrapStyle {
  int64_t width = 79;  // in characters
  bool breaks_long_words = true;
  bool breaks_on_hyphens = true;
};

/// The wrapped lines, joined by `separator`.
std::string wrap_line(Runtime& rt, std::string_view line, std::string_view separator,
                      const WrapStyle& style);

}  // namespace ramjet::text::chat

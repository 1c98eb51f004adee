// Escapes of string literals, as Python's unicode_escape codec reads them.
#pragma once

#include <string>
#include <string_view>

namespace ramjet::text::chat {

/// Appends the text that `body` (a literal without its quotes) spells. False with a `problem` for a
/// truncated or unsupported escape (\N{...}, a lone surrogate).
bool unescape_literal(std::string_view body, std::string& out, std::string& problem);

/// 0..35 for a digit or letter, 99 for anything else.
int digit_value(char c);

}  // namespace ramjet::text::chat

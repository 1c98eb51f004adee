// The methods of Python's built-in types.
#pragma once

#include "text/chat/attributes.h"
#include "text/chat/call_args.h"

namespace ramjet::text::chat {

/// Calls a bound method. TypeError and ValueError are thrown as Python raises them; a method that
/// exists in Python but not here throws kUnsupported.
Value call_method(Runtime& rt, const BoundMethod& method, const CallArgs& args);

Value call_text_method(Runtime& rt, const BoundMethod& method, const CallArgs& args);
/// The is...() family of str, or kMissing for another method.
Value call_text_predicate(Method method, std::string_view text);

/// str.strip and friends: `chars` is kMissing or None for whitespace. Shares the text's bytes.
enum class Side { kLeft, kRight, kBoth };
std::string_view strip_chars(Runtime& rt, std::string_view text, const Value& chars, Side side);
Value replace_text(Runtime& rt, std::string_view text, std::string_view from, std::string_view to,
                   int64_t count);
Value join_text(Runtime& rt, std::string_view separator, Iterator* items, bool only_strings);
Value center_text(Runtime& rt, std::string_view text, int64_t width);
/// Splits at line breaks; keeps them where asked to.
Value split_lines(Runtime& rt, std::string_view text, bool keep_ends);
/// str.format with positional and keyword arguments.
Value format_text(Runtime& rt, std::string_view format, const CallArgs& args);
/// markupsafe's striptags and unescape.
Value strip_tags(Runtime& rt, std::string_view text);
std::string unescape_html(std::string_view text);

}  // namespace ramjet::text::chat

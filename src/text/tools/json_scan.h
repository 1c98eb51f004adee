// Reading JSON that a model writes: where a value ends while it still comes, and the texts of its
// members as they stand (numbers and spaces as the model wrote them).
//
// A JsonScanner belongs to one thread; the functions are pure.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace ramjet::text {

/// Finds the end of an object or array in a text that grows. Brackets and strings are followed, and
/// what can stand in no JSON value (a '<' outside of strings) is seen at once; the rest is for a
/// parser to judge. Control characters inside strings are let through.
class JsonScanner {
 public:
  enum class State { kMore, kDone, kBad };

  /// `text` begins with the value and only grows between calls.
  State scan(std::string_view text);
  /// kDone: bytes of the value. kBad: where it went wrong.
  size_t end() const { return position_; }

 private:
  bool step(char c);

  State state_ = State::kMore;
  size_t position_ = 0;
  std::string open_;  // the closing brackets that are due, innermost last
  bool in_string_ = false;
  bool escaped_ = false;
};

std::string_view trim(std::string_view text);
bool is_blank(std::string_view text);

/// `text` as a JSON object that any parser takes: as it stands, or with the control characters in
/// its strings escaped. None if it is no object.
std::optional<std::string> as_json_object(std::string_view text);

/// Calls `visit(key, value text)` for each member of a valid JSON object.
void for_each_member(std::string_view object,
                     const std::function<void(std::string_view, std::string_view)>& visit);
/// Calls `visit(element text)` for each element of a valid JSON array.
void for_each_element(std::string_view array, const std::function<void(std::string_view)>& visit);

/// What a JSON string literal spells; none if `literal` is no string.
std::optional<std::string> unquote(std::string_view literal);
/// `text` as a JSON string literal.
std::string quote(std::string_view text);

}  // namespace ramjet::text

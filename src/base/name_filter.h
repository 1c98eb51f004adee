// A regular expression that chooses by name, for flags like --filter. It is here alone that the
// library's regular expressions are compiled: each file that includes them takes seconds.
//
// Immutable, cheap to copy, thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet {

class NameFilter {
 public:
  /// ECMAScript syntax; an empty pattern matches all. Errors: kInvalidArgument naming `flag`.
  static Result<NameFilter> parse(const std::string& pattern, std::string_view flag);
  /// True iff the pattern is found anywhere in `name`.
  bool matches(std::string_view name) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;  // null: all
};

}  // namespace ramjet

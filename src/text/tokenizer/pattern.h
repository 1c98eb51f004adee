// Pattern: the regex or literal string of a Split pre-tokenizer or Replace normalizer, with the
// meaning Hugging Face's engine (Oniguruma, Ruby syntax, Unicode 16) gives it, run by PCRE2's JIT.
//
// Immutable after compile(); any thread. Matching is bounded: a pattern that backtracks beyond
// the match limit ends in kResourceExhausted, never in a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

struct Match {
  uint32_t begin;
  uint32_t end;
  bool is_match;  // false: the text between two matches
};

class Pattern {
 public:
  /// Errors: kInvalidArgument (does not compile), kUnsupported (a construct we do not translate).
  static Result<Pattern> regex(std::string_view onig_pattern);
  static Pattern literal(std::string text);
  /// {"String": s} or {"Regex": s}. May throw nlohmann exceptions; the loader catches.
  static Result<Pattern> from_json(const nlohmann::json& json);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  /// Covers `text` (valid UTF-8, under 4 GiB) with matches and the gaps between them, in order,
  /// appended to `out`. Nothing for an empty text.
  Status find(std::string_view text, std::vector<Match>& out) const;
  /// Every match replaced by `content`, taken literally.
  Result<std::string> replace(std::string_view text, std::string_view content) const;

 private:
  Pattern();
  Status find_regex(std::string_view text, std::vector<Match>& out) const;
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;  // null for a literal
  std::string literal_;
};

/// Oniguruma (Ruby) syntax to PCRE2 syntax for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE.
Result<std::string> translate_pattern(std::string_view onig_pattern);

}  // namespace ramjet::text

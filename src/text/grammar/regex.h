// Regular expressions to automata: ECMA-262 syntax (as JSON Schema's `pattern`, in Unicode mode)
// without back references, look-around and word boundaries, which are a typed refusal.
//
// Pure functions, bounded in time and memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/dfa.h"

namespace ramjet::text {

/// What matches: the whole text, or a part of it (`pattern`).
enum class RegexMatch { kWhole, kPart };

/// Errors: kInvalidArgument (syntax, with the offset), kUnsupported (the construct),
/// kResourceExhausted.
Result<Dfa> compile_regex(std::string_view pattern, RegexMatch match,
                          size_t max_states = kMaxDfaStates);

/// One of these texts.
Result<Dfa> compile_choice(const std::vector<std::u32string>& texts);

// The tree between, also used by the EBNF reader for its character classes.
struct RegexNode;
using RegexPtr = std::shared_ptr<const RegexNode>;  // shared by the copies a repetition makes

struct RegexNode {
  enum class Kind : uint8_t { kEmpty, kSet, kCat, kAlt, kRepeat, kStart, kEnd };
  Kind kind = Kind::kEmpty;
  CodePointSet set;
  std::vector<RegexPtr> parts;
  int min = 0;
  int max = -1;  // < 0: without end
};

Result<RegexPtr> parse_regex(std::string_view pattern);
Result<Dfa> regex_to_dfa(const RegexPtr& node, RegexMatch match, size_t max_states = kMaxDfaStates);

/// The code points of \p{name}. Errors: kUnsupported.
Result<CodePointSet> unicode_property(std::string_view name);

}  // namespace ramjet::text

// Grammar: which texts may be written. Made from JSON Schema, a regex, an EBNF grammar, a list of
// choices, or from pieces put together; then it says byte by byte what may come next.
//
// A Grammar is made from a spec: JSON text, so that a constraint can travel to the process that
// runs the model. The builders below write specs; compile_grammar() makes the automaton.
//
//   {"json_schema": SCHEMA}   the JSON texts that are valid, see docs/structured-output.md
//   {"json_object": true}     any JSON object
//   {"regex": R}              a whole match (ECMA-262 syntax without back references)
//   {"ebnf": G}               the rule "root" of a GBNF-like grammar
//   {"choice": [S, ...]}      one of these strings
//   {"literal": S}            that text
//   {"sequence": [SPEC, ...]}, {"any_of": [SPEC, ...]}
//   {"repeat": {"of": SPEC, "min": 0, "max": -1}}
//   {"triggered": {"tags": [{"trigger": S, "then": SPEC}, ...], "required": false,
//                  "once": false}}   free text; after each trigger, what `then` says
//   {"special": {"tokens": [S, ...], "of": SPEC}}   where SPEC speaks of these texts outside of
//                  JSON, a special token of that spelling may be written too
//
// Immutable and safe from any thread once compiled. Compiling is bounded in time and memory.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

namespace spec {

std::string json_schema(std::string_view schema);
std::string json_object();
std::string regex(std::string_view pattern);
std::string ebnf(std::string_view grammar);
std::string choice(const std::vector<std::string>& choices);
std::string literal(std::string_view text);
std::string sequence(const std::vector<std::string>& specs);
std::string any_of(const std::vector<std::string>& specs);
/// `max` < 0: without end.
std::string repeat(const std::string& spec, int min, int max);

struct Tag {
  std::string trigger;  // not empty
  std::string then;     // the spec of what follows the trigger
};
/// Free text with tags in it: from a trigger's last byte on, `then` is enforced, after it the text
/// is free again. `required`: it may not end before the first tag. `once`: it ends with a tag.
std::string triggered(const std::vector<Tag>& tags, bool required, bool once);
std::string with_special(const std::vector<std::string>& tokens, const std::string& spec);

}  // namespace spec

struct GrammarImpl;

/// Why a schema cannot be enforced; `keyword` is what `ramjet grammar check` names.
struct GrammarProblem {
  std::string keyword;
};

class Grammar {
 public:
  explicit Grammar(std::unique_ptr<GrammarImpl> impl);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  /// Whether these bytes are a whole text of the language: of a schema, any JSON form of a valid
  /// instance, with members in any order, any white space and any escapes. Errors: kInvalidArgument
  /// when following the text takes more alternatives than a matcher may hold.
  Result<bool> accepts(std::string_view text) const;
  /// The same of the texts that a model is led to: of a schema, compact JSON (at most a space after
  /// ',' and ':') whose declared members come in the schema's order.
  Result<bool> generates(std::string_view text) const;

  /// An error where the language holds nothing that a model could be led to.
  Status can_generate() const;

  GrammarImpl& impl() const { return *impl_; }

 private:
  std::unique_ptr<GrammarImpl> impl_;
};

using GrammarPtr = std::shared_ptr<const Grammar>;  // of the cache and of those who use it

/// Compiles a spec, or finds it in a cache of bounded size (by content).
/// Errors: kInvalidArgument: no spec, schema, regex or grammar; kUnsupported: what cannot be
/// enforced exactly, the message begins with the keyword in quotes; kResourceExhausted: a limit of
/// time or size. `problem`, if given, gets the keyword.
Result<GrammarPtr> compile_grammar(std::string_view spec, GrammarProblem* problem = nullptr);

}  // namespace ramjet::text

// Grammars of answers in which functions may be called, in the way that a format writes calls.
//
// Pure functions; callable from any thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "text/tools/output_format.h"

namespace ramjet::text {

struct OfferedFunction {
  std::string name;
  std::string schema;   // JSON Schema of the arguments
  bool strict = false;  // else any object
};

struct CallRules {
  bool parallel = true;              // else the answer ends with the first call
  bool starts_in_reasoning = false;  // the prompt has opened it
};

/// A spec for compile_grammar(): text is free, but from the beginning of a call on it must be a
/// call of one of the functions, with arguments of its schema. Reasoning is free. Errors:
/// kUnsupported for a format or a schema that this cannot be said of, which it names.
Result<std::string> call_grammar(const OutputFormat& format,
                                 const std::vector<OfferedFunction>& functions,
                                 const CallRules& rules);

struct ParserSetup;
/// Whether an output begins inside of reasoning.
bool opens_reasoning(const ParserSetup& setup);

}  // namespace ramjet::text

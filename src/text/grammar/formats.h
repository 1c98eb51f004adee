// The languages of JSON Schema's `format`, as automata.
//
// Thread-safe; built on first use and kept.
#pragma once

#include <memory>
#include <string_view>

#include "text/grammar/dfa.h"

namespace ramjet::text {

/// Null for a name that the specification does not know: such a format asserts nothing.
/// Errors: kUnsupported for the specification's hostname, idn-hostname and regex.
Result<std::shared_ptr<const Dfa>> format_language(std::string_view name);

}  // namespace ramjet::text

// The grammar of an answer that must be tool calls.
//
// A pure function; callable from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "server/openai/request.h"

namespace ramjet::server {

/// A spec for text::compile_grammar: the arguments of a named function; for a required call
/// [{"name": "f", "parameters": {...}}, ...] with one element unless calls may be parallel.
/// Arguments follow the function's schema; members that it does not declare are not written unless
/// it says so. `tools`: checked, and holding the named function.
std::string tool_call_grammar(const nlohmann::ordered_json& tools, const ToolChoice& choice);

}  // namespace ramjet::server

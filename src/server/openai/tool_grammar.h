// The grammars of answers that must be tool calls, and of those that may be.
//
// Pure functions; callable from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "server/openai/request.h"
#include "text/tools/output_parser.h"

namespace ramjet::server {

/// A spec for text::compile_grammar: the arguments of a named function; for a required call
/// [{"name": "f", "parameters": {...}}, ...] with one element unless calls may be parallel.
/// Arguments follow the function's schema; members that it does not declare are not written unless
/// it says so. `tools`: checked, and holding the named function.
std::string tool_call_grammar(const nlohmann::ordered_json& tools, const ToolChoice& choice);

/// Where the model may call functions and some are `strict`: free text in which every call follows
/// its function's schema. Sets the request's grammar.
std::optional<ApiError> hold_strict_calls(const text::ParserSetup& setup, ChatRequest& request);

}  // namespace ramjet::server

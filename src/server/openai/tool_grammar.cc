#include "server/openai/tool_grammar.h"

#include <vector>

#include "base/json.h"
#include "text/grammar/grammar.h"
#include "text/tools/call_grammar.h"

namespace ramjet::server {
namespace {

namespace spec = text::spec;

std::string dump_ordered(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

/// The schema of a function's arguments, closed where it does not speak of other members.
std::string arguments_schema(const OrderedJson& function) {
  OrderedJson schema = function.contains("parameters") ? function["parameters"] : nullptr;
  if (schema.is_null() || (schema.is_object() && schema.empty())) {
    schema = OrderedJson::object();
    schema["type"] = "object";
    schema["properties"] = OrderedJson::object();
  }
  if (schema.is_object()) {
    bool is_open = !schema.contains("properties");
    for (const char* name : {"additionalProperties", "unevaluatedProperties", "patternProperties",
                             "allOf", "anyOf", "oneOf", "$ref", "if"}) {
      is_open = is_open || schema.contains(name);
    }
    if (!is_open) schema["additionalProperties"] = false;
    if (!schema.contains("type") && schema.contains("properties")) schema["type"] = "object";
  }
  return dump_ordered(schema);
}

bool is_strict(const OrderedJson& function) {
  return function.contains("strict") && function["strict"] == true;
}

}  // namespace

std::optional<ApiError> hold_strict_calls(const text::ParserSetup& setup, ChatRequest& request) {
  const ChatPrompt& prompt = request.prompt;
  if (prompt.tools == nullptr || prompt.tool_choice.kind != ToolChoice::Kind::kAuto ||
      !request.common.grammar.empty()) {
    return std::nullopt;
  }
  std::vector<text::OfferedFunction> functions;
  bool any_strict = false;
  for (const OrderedJson& tool : *prompt.tools) {
    const OrderedJson& function = tool["function"];
    functions.push_back(
        {function["name"].get<std::string>(), arguments_schema(function), is_strict(function)});
    any_strict = any_strict || functions.back().strict;
  }
  if (!any_strict) return std::nullopt;
  const text::CallRules rules{prompt.tool_choice.parallel, text::opens_reasoning(setup)};
  const auto grammar = text::call_grammar(setup.format, functions, rules);
  if (!grammar.ok()) return bad_request("tools", "tools: " + grammar.error().message);
  request.common.grammar = *grammar;
  request.common.grammar_field = "tools";
  return std::nullopt;
}

std::string tool_call_grammar(const OrderedJson& tools, const ToolChoice& choice) {
  std::vector<std::string> calls;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = tool["function"];
    const std::string arguments = spec::json_schema(arguments_schema(function));
    if (choice.kind == ToolChoice::Kind::kNamed) {
      if (function["name"] == choice.function) return arguments;
      continue;
    }
    const std::string head = "{\"name\": " + dump_ordered(function["name"]) + ", \"parameters\": ";
    calls.push_back(spec::sequence({spec::literal(head), arguments, spec::literal("}")}));
  }
  const std::string call = spec::any_of(calls);
  std::vector<std::string> list = {spec::literal("["), call};
  if (choice.parallel) {
    list.push_back(spec::repeat(spec::sequence({spec::literal(", "), call}), 0, -1));
  }
  list.push_back(spec::literal("]"));
  return spec::sequence(list);
}

}  // namespace ramjet::server

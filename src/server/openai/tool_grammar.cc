#include "server/openai/tool_grammar.h"

#include <vector>

#include "base/json.h"
#include "text/grammar/grammar.h"

namespace ramjet::server {
namespace {

namespace spec = text::spec;

std::string dump_ordered(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string arguments_spec(const OrderedJson& function) {
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
  return spec::json_schema(dump_ordered(schema));
}

}  // namespace

std::string tool_call_grammar(const OrderedJson& tools, const ToolChoice& choice) {
  std::vector<std::string> calls;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = tool["function"];
    const std::string arguments = arguments_spec(function);
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

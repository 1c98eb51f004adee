#include "text/tools/call_grammar.h"

#include "base/json.h"
#include "text/grammar/dfa.h"
#include "text/grammar/grammar.h"
#include "text/tools/json_scan.h"
#include "text/tools/output_parser.h"

namespace ramjet::text {
namespace {

using spec::any_of;
using spec::literal;
using spec::regex;
using spec::sequence;

const char* const kSpace = "[ \\t\\n]{0,2}";

/// A pattern of exactly this text.
std::string pattern(std::string_view text) {
  std::string out;
  for (const char32_t c : to_code_points(text)) out += fmt::format("\\u{{{:x}}}", uint32_t{c});
  return out;
}
std::string optional(const std::string& of) { return spec::repeat(of, 0, 1); }
std::string closing(const std::string& marker) {
  return optional(sequence({regex(kSpace), literal(marker)}));
}
/// Text up to the first `marker`, which is part of it.
std::string until(const std::string& marker) {
  return spec::triggered({{marker, literal("")}}, true, true);
}
std::string arguments_of(const OfferedFunction& function) {
  return function.strict ? spec::json_schema(function.schema) : spec::json_object();
}

/// {"name": "f", "arguments": {...}} from behind `begun`, which its first bytes are.
std::string json_call(const OfferedFunction& function, std::string_view begun = "") {
  const std::string id = "(?:\"(?:tool_call_)?id\":[ ]?\"[^\"\\\\]{1,64}\",[ ]?)?";
  const std::string name = "\"(?:tool_)?name\"";
  std::string head;
  if (begun.empty()) head = "\\{" + std::string(kSpace) + id + name;
  if (!begun.empty() && !begun.ends_with("\"name\"")) head = name;
  head += ":[ ]?\"" + pattern(function.name) + "\",[ ]?\"(?:arguments|parameters)\":[ ]?";
  return sequence(
      {regex(head), arguments_of(function),
       regex(std::string("(?:,[ ]?\"id\":[ ]?\"[^\"\\\\]{1,64}\")?") + kSpace + "\\}")});
}

class Rules {
 public:
  Rules(const std::vector<OfferedFunction>& functions, const CallRules& rules)
      : functions_(functions), rules_(rules) {}

  template <class Make>
  std::string each(Make make) const {
    std::vector<std::string> calls;
    for (const OfferedFunction& function : functions_) calls.push_back(make(function));
    return any_of(calls);
  }
  /// One call, or an array of them.
  std::string json_calls() const {
    const std::string call = each([](const OfferedFunction& f) { return json_call(f); });
    const std::string more = sequence({regex(",[ \\n]?"), call});
    std::vector<std::string> list{regex("\\[[ \\n]?"), call};
    if (rules_.parallel) list.push_back(spec::repeat(more, 0, -1));
    list.push_back(regex("[ \\n]?\\]"));
    return any_of({call, sequence(list)});
  }
  /// A name between two texts, then its arguments.
  std::string named(const std::string& before, const std::string& after,
                    const std::string& close) const {
    return each([&](const OfferedFunction& f) {
      return sequence({regex(before + pattern(f.name) + after), arguments_of(f), closing(close)});
    });
  }

 private:
  const std::vector<OfferedFunction>& functions_;
  const CallRules& rules_;
};

/// How a format writes the value of a parameter by itself.
struct ValueWords {
  std::string before_key, after_key;  // patterns
  std::string close;                  // behind the value
  std::string end;                    // of the call
};

bool may_be_text(const OrderedJson& schema) {
  if (!schema.is_object() || !schema.contains("type")) {
    return !schema.is_object() || !(schema.contains("enum") || schema.contains("const"));
  }
  const OrderedJson& type = schema["type"];
  return type == "string" ||
         (type.is_array() && std::find(type.begin(), type.end(), "string") != type.end());
}

Result<std::string> value_of(const OrderedJson& root, const OrderedJson& schema,
                             const ValueWords& words) {
  if (schema.is_object() && schema.contains("enum") && schema["enum"].is_array()) {
    std::vector<std::string> choices;
    for (const OrderedJson& value : schema["enum"]) {
      choices.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    if (choices.empty()) return invalid_argument("'enum' is empty");
    return sequence({spec::choice(choices), regex("\\n?"), literal(words.close)});
  }
  if (may_be_text(schema)) {
    for (const char* name : {"pattern", "format", "minLength", "maxLength", "const", "not", "allOf",
                             "anyOf", "oneOf", "$ref"}) {
      if (!schema.is_object() || !schema.contains(name)) continue;
      return unsupported(
          "'{}' of a parameter that this model writes as bare text cannot be enforced; take it "
          "out, "
          "or ask for the call by 'tool_choice'",
          name);
    }
    return until(words.close);
  }
  OrderedJson whole = schema;
  for (const char* name : {"$defs", "definitions"}) {
    if (root.contains(name)) whole[name] = root[name];
  }
  return sequence({spec::json_schema(whole.dump()), regex("\\n?"), literal(words.close)});
}

/// The parameters in the schema's order, and the call's end.
Result<std::string> parameters_of(const OfferedFunction& function, const ValueWords& words) {
  if (!function.strict) return until(words.end);
  ASSIGN_OR_RETURN(const OrderedJson schema, parse_ordered_json(function.schema));
  std::vector<std::string> parts;
  if (schema.is_object()) {
    for (const char* name : {"anyOf", "oneOf", "allOf", "not", "if", "$ref", "patternProperties",
                             "dependentRequired", "minProperties"}) {
      if (!schema.contains(name)) continue;
      return unsupported("'{}' cannot be enforced on parameters that this model writes one by one",
                         name);
    }
    const OrderedJson empty = OrderedJson::object();
    const OrderedJson& required = schema.contains("required") ? schema["required"] : empty;
    const OrderedJson& properties = schema.contains("properties") ? schema["properties"] : empty;
    for (const auto& [key, value] : properties.items()) {
      ASSIGN_OR_RETURN(std::string spelled, value_of(schema, value, words));
      const std::string head = words.before_key + pattern(key) + words.after_key;
      std::string part = sequence({regex(kSpace + head), std::move(spelled)});
      const bool must = std::find(required.begin(), required.end(), key) != required.end();
      parts.push_back(must ? std::move(part) : optional(part));
    }
  }
  parts.push_back(regex(kSpace));
  parts.push_back(literal(words.end));
  return sequence(parts);
}

/// Calls whose parameters come one by one. `begun`: the call's own marker is written.
Result<std::string> parameter_calls(const std::vector<OfferedFunction>& functions,
                                    const CallBlock& block, bool begun) {
  ValueWords words{"<parameter=", ">\\n?", "</parameter>", "</function>"};
  std::string before = "<function=", after = ">";
  if (block.open.find("minimax") != std::string::npos ||
      block.open.find("invoke") != std::string::npos) {
    words = {"<parameter name=\"", "\">\\n?", "</parameter>", "</invoke>"};
    before = "<invoke name=";
    after = "\">";
    before += begun ? "" : "\"";
    if (begun) before = "\"";
  } else if (begun) {
    before = "";
  }
  if (block.syntax == CallSyntax::kKeyValue) {
    words = {"<arg_key>", "</arg_key>[ \\n]?<arg_value>", "</arg_value>", block.close};
    before = after = "";
  }
  std::vector<std::string> calls;
  for (const OfferedFunction& function : functions) {
    ASSIGN_OR_RETURN(std::string parameters, parameters_of(function, words));
    const std::string head = (begun ? "" : kSpace) + before + pattern(function.name) + after;
    std::vector<std::string> call{regex(head), std::move(parameters)};
    if (block.syntax == CallSyntax::kParameter && !begun) call.push_back(closing(block.close));
    calls.push_back(sequence(call));
  }
  return any_of(calls);
}

/// What comes behind a block's opening marker.
Result<std::string> behind(const CallBlock& block, const Rules& rules,
                           const std::vector<OfferedFunction>& functions) {
  const std::string space = regex(kSpace);
  switch (block.syntax) {
    case CallSyntax::kJson:
      return block.close.empty() ? sequence({space, rules.json_calls()})
                                 : sequence({space, rules.json_calls(), closing(block.close)});
    case CallSyntax::kBareJson: return sequence({space, rules.json_calls()});
    case CallSyntax::kMistral:
      return any_of(
          {sequence({space, rules.json_calls()}),
           rules.named("[ ]?", "(?:\\[CALL_ID\\][A-Za-z0-9_-]{1,40})?(?:\\[ARGS\\])?", "")});
    case CallSyntax::kDeepSeek: {
      const std::string separator = pattern("<｜tool▁sep｜>");
      return any_of(
          {rules.named("", separator, block.close), rules.each([&](const OfferedFunction& f) {
             return sequence({regex("function" + separator + pattern(f.name) + "\\n```json\\n"),
                              arguments_of(f), regex("\\n?```"), closing(block.close)});
           })});
    }
    case CallSyntax::kKimi:
      return rules.named("[ ]?functions\\.",
                         ":[0-9]{1,4}[ ]?" + pattern("<|tool_call_argument_begin|>") + "[ ]?",
                         block.close);
    case CallSyntax::kNamed: return rules.named("", ">[ \\n]?", block.close);
    case CallSyntax::kParameter: {
      const bool begun = block.close.empty();
      return parameter_calls(functions, block, begun);
    }
    case CallSyntax::kKeyValue: return parameter_calls(functions, block, false);
    case CallSyntax::kGemma: break;
  }
  return unsupported(
      "this model's format of tool calls cannot be held to a schema; leave 'strict' out, or ask "
      "for "
      "the call by 'tool_choice'");
}

/// JSON that is a call without any marker.
void add_bare_json(const Rules& rules, std::vector<spec::Tag>& tags) {
  for (const char* begun : {"{\"name\"", "{ \"name\"", "{\"type\": \"function\", "}) {
    tags.push_back(
        {begun, rules.each([&](const OfferedFunction& f) { return json_call(f, begun); })});
  }
}

Result<std::vector<spec::Tag>> tags_of(const OutputFormat& format, const Rules& rules,
                                       const std::vector<OfferedFunction>& functions) {
  std::vector<spec::Tag> tags;
  if (format.is_harmony) {
    const std::string header =
        "[ ]?(?:<\\|channel\\|>[a-z]{1,20}[ ]?)?(?:<\\|constrain\\|>json)?"
        "<\\|message\\|>";
    for (const char* begun :
         {"<|channel|>commentary to=functions.", "<|channel|>analysis to=functions.",
          "<|start|>assistant to=functions."}) {
      tags.push_back({begun, rules.named("", header, "<|call|>")});
    }
    return tags;
  }
  for (const CallBlock& block : format.blocks) {
    ASSIGN_OR_RETURN(std::string then, behind(block, rules, functions));
    tags.push_back({block.open, std::move(then)});
  }
  if (format.takes_bare_json) add_bare_json(rules, tags);
  return tags;
}

}  // namespace

Result<std::string> call_grammar(const OutputFormat& format,
                                 const std::vector<OfferedFunction>& functions,
                                 const CallRules& rules) {
  ASSIGN_OR_RETURN(const std::vector<spec::Tag> tags,
                   tags_of(format, Rules(functions, rules), functions));
  std::string text = spec::triggered(tags, false, !rules.parallel);
  const std::string& close = format.reasoning_close;
  if (!close.empty() && !format.is_harmony && !format.calls_end_reasoning) {
    const std::string reasoning = spec::triggered({{close, text}}, false, true);
    text =
        rules.starts_in_reasoning
            ? reasoning
            : any_of({text, sequence({regex("\\s*" + pattern(format.reasoning_open)), reasoning})});
  }
  return spec::with_special(format.markers(true), text);
}

bool opens_reasoning(const ParserSetup& setup) {
  const std::string& open = setup.format.reasoning_open;
  return setup.starts_in_reasoning || (!open.empty() && trim(setup.prompt_tail).ends_with(open));
}

}  // namespace ramjet::text

#include "text/tools/call_grammar.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/grammar/grammar.h"
#include "text/tools/output_parser.h"

namespace ramjet::text {
namespace {

const char* const kTools = R"([{"function":{"name":"get","parameters":{"type":"object",
  "properties":{"city":{"type":"string"},"days":{"type":"integer"}}}}},{"function":{"name":"put"}}])";

std::vector<OfferedFunction> functions() {
  return {{"get", R"({"type":"object","properties":{"city":{"type":"string"},
             "days":{"type":"integer"}},"required":["city"],"additionalProperties":false})",
           true},
          {"put", R"({"type":"object"})", false}};
}

GrammarPtr grammar_of(const OutputFormat& format, const CallRules& rules = {}) {
  const auto spec = call_grammar(format, functions(), rules);
  EXPECT_TRUE(spec.ok()) << spec.error().message;
  const auto grammar = compile_grammar(*spec);
  EXPECT_TRUE(grammar.ok()) << grammar.error().message;
  return *grammar;
}

/// The calls that the format's parser finds, as name and arguments.
std::string calls_in(const OutputFormat& format, const std::string& text) {
  auto setup = std::make_shared<ParserSetup>();
  setup->format = format;
  setup->tools = std::make_shared<ToolSchemas>(parse_ordered_json(kTools).value());
  const auto parser = make_output_parser(setup);
  MessageDelta message = parser->push(text);
  append(message, parser->finish());
  std::string out;
  for (const CallDelta& call : message.calls) out += call.name + call.arguments;
  return out;
}

struct Case {
  const char* name;
  const char* source;  // of the template
  const char* right;   // a call of get
  const char* wrong;
};

const Case kCases[] = {
    {"Hermes", "<tool_call>",
     "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"B\"}}\n</tool_call>",
     "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"town\": \"B\"}}\n</tool_call>"},
    {"Llama3", "<|python_tag|>", R"({"name": "get", "parameters": {"city": "B"}})",
     R"({"name": "get", "parameters": {"town": "B"}})"},
    {"MistralList", "[TOOL_CALLS]",
     R"([TOOL_CALLS][{"name": "get", "arguments": {"city": "B"}, "id": "123456789"}])",
     R"([TOOL_CALLS][{"name": "get", "arguments": {}}])"},
    {"MistralNamed", "[TOOL_CALLS]", R"([TOOL_CALLS]get[ARGS]{"city": "B"})",
     R"([TOOL_CALLS]get[ARGS]{"city": 5})"},
    {"DeepSeek", "<｜tool▁calls▁begin｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{\"city\": \"B\"}"
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{}<｜tool▁call▁end｜>"},
    {"DeepSeekFenced", "<｜tool▁calls▁begin｜>",
     "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n{\"city\": "
     "\"B\"}\n```<｜tool▁call▁end｜>",
     "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n{}\n```<｜tool▁call▁end｜>"},
    {"Kimi", "<|tool_calls_section_begin|>",
     "<|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>{\"city\": "
     "\"B\"}<|tool_call_end|>",
     "<|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>{}<|tool_call_end|>"},
    {"Harmony", "<|channel|> <|message|>",
     "<|channel|>commentary to=functions.get <|constrain|>json<|message|>{\"city\": \"B\"}<|call|>",
     "<|channel|>commentary to=functions.get <|constrain|>json<|message|>{}<|call|>"},
    {"Qwen3Coder", "<parameter=",
     "<tool_call>\n<function=get>\n<parameter=city>\nB\n</parameter>\n<parameter=days>\n3\n"
     "</parameter>\n</function>\n</tool_call>",
     "<tool_call>\n<function=get>\n<parameter=city>\nB\n</parameter>\n<parameter=days>\nx\n"
     "</parameter>\n</function>\n</tool_call>"},
    {"MiniMax", "<minimax:tool_call>",
     "<minimax:tool_call>\n<invoke name=\"get\">\n<parameter "
     "name=\"city\">B</parameter>\n</invoke>\n"
     "</minimax:tool_call>",
     "<minimax:tool_call>\n<invoke name=\"get\">\n</invoke>\n</minimax:tool_call>"},
    {"Glm", "<arg_key>",
     "<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>B</arg_value>\n</tool_call>",
     "<tool_call>get\n<arg_key>town</arg_key>\n<arg_value>B</arg_value>\n</tool_call>"},
    {"Nemotron", "<TOOLCALL>",
     R"(<TOOLCALL>[{"name": "get", "arguments": {"city": "B"}}]</TOOLCALL>)",
     R"(<TOOLCALL>[{"name": "get", "arguments": {"city": ["B"]}}]</TOOLCALL>)"},
    {"CommandR", "<|START_ACTION|>",
     R"(<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get", "parameters": {"city": "B"}}]<|END_ACTION|>)",
     R"(<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "got", "parameters": {}}]<|END_ACTION|>)"},
};

TEST(CallGrammar, SpeaksEachFormatsLanguage) {
  for (const Case& c : kCases) {
    const OutputFormat format = OutputFormat::of_template(c.source);
    const std::string call = calls_in(format, c.right);
    EXPECT_TRUE(call.starts_with("get{\"city\": \"B\"")) << c.name << ": " << call;
    const GrammarPtr grammar = grammar_of(format);
    EXPECT_TRUE(*grammar->generates(c.right)) << c.name;
    EXPECT_FALSE(*grammar->generates(c.wrong)) << c.name;
    EXPECT_TRUE(*grammar->generates("Just { text, [no] <calls>.")) << c.name;
  }
}

TEST(CallGrammar, CallsMayBeSeveralOrOne) {
  const OutputFormat format = OutputFormat::of_template("<think> <tool_call>");
  const std::string get = R"(<tool_call>{"name":"get","arguments":{"city":"B"}}</tool_call>)";
  const std::string put = R"(<tool_call>{"name":"put","arguments":{"x":[1]}}</tool_call>)";
  EXPECT_TRUE(*grammar_of(format)->generates("Well. " + get + "\n" + put + " Done."));
  EXPECT_FALSE(*grammar_of(format)->generates(get + R"(<tool_call>{"name":"put"}</tool_call>)"));
  const GrammarPtr one = grammar_of(format, {.parallel = false});
  EXPECT_TRUE(*one->generates("Well. " + get));
  EXPECT_FALSE(*one->generates(get + put));
}

TEST(CallGrammar, ReasoningIsFree) {
  const OutputFormat format = OutputFormat::of_template("<think> <tool_call>");
  const std::string bad = R"(<tool_call>{"name":"get","arguments":{}}</tool_call>)";
  EXPECT_TRUE(*grammar_of(format)->generates("<think>Maybe " + bad + "</think>No."));
  EXPECT_FALSE(*grammar_of(format)->generates("<think>Hm.</think>" + bad));
  const GrammarPtr begun = grammar_of(format, {.starts_in_reasoning = true});
  EXPECT_TRUE(*begun->generates(bad + "</think>No."));
  EXPECT_FALSE(*begun->generates("Hm.</think>" + bad));
}

TEST(CallGrammar, WhatCannotBeHeldIsNamed) {
  EXPECT_FALSE(call_grammar(OutputFormat::of_template("<|tool_call>"), functions(), {}).ok());
  const OutputFormat format = OutputFormat::of_template("<parameter=");
  const std::vector<OfferedFunction> list{
      {"f", R"({"type":"object","properties":{"a":{"type":"string","pattern":"x"}}})", true}};
  const auto spec = call_grammar(format, list, {});
  ASSERT_FALSE(spec.ok());
  EXPECT_NE(spec.error().message.find("'pattern'"), std::string::npos);
}

}  // namespace
}  // namespace ramjet::text

#include "text/tools/output_parser.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/json.h"

namespace ramjet::text {
namespace {

constexpr const char* kTools = R"([
  {"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{
    "city":{"type":"string"},"days":{"type":"integer"},"metric":{"type":"boolean"},
    "where":{"$ref":"#/$defs/Place"},"zip":{"type":["string","null"]},"any":{}},
    "$defs":{"Place":{"type":"object"}}}}},
  {"type":"function","function":{"name":"add","parameters":{"type":"object",
    "properties":{"a":{"type":"number"},"b":{"type":"number"}}}}}])";

/// A line a format: what its template would hold.
const std::map<std::string, std::string> kTemplates = {
    {"hermes", "<think> <tool_call>\n{\"name\": </tool_call>"},
    {"llama3", "<|start_header_id|> {\"name\": x, \"parameters\": y}"},
    {"qwen3-coder", "<tool_call>\n<function=x>\n<parameter=y>"},
    {"glm", "<think> <tool_call>{name}<arg_key>"},
    {"mistral", "[TOOL_CALLS] [THINK]"},
    {"deepseek", "<think> <｜tool▁calls▁begin｜>"},
    {"kimi", "<|tool_calls_section_begin|> </think>"},
    {"granite", "<|tool_call|>"},
    {"phi4", "<|tool|>"},
    {"gemma", "<|tool_call>call: <|channel>thought"},
    {"harmony", "<|start|>assistant<|channel|>analysis<|message|>"},
    {"minimax", "<think> <minimax:tool_call>"},
    {"json", "plain"},
};

struct Case {
  const char* format;
  const char* text;
  const char* reasoning;
  const char* content;
  const char* calls;  // name(arguments) each, with its id and '#' in front if the model gave one
};

const Case kCases[] = {
    {"hermes", "Hello.", "", "Hello.", ""},
    {"hermes", "  two\n\n spaces \n", "", "  two\n\n spaces \n", ""},
    {"hermes", "<think>\nHm.\n\nYes.\n</think>\n\nHello.", "Hm.\n\nYes.", "Hello.", ""},
    {"hermes", "<think>Cut off", "Cut off", "", ""},
    {"hermes", "1 < 2 and <b> and <tool", "", "1 < 2 and <b> and <tool", ""},
    {"hermes", "a <think> in the middle", "", "a <think> in the middle", ""},
    {"hermes",
     "<think>\nw\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \"get_weather\", "
     "\"arguments\": {\"city\": \"Zürich\", \"days\": 1.0}}\n</tool_call>\n<tool_call>\n"
     "{\"name\":\"add\",\"arguments\":{}}\n</tool_call>\n",
     "w", "Let me look.", "get_weather({\"city\": \"Zürich\", \"days\": 1.0})add({})"},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>after",
     "", "after", "f({\"a\": 1})"},
    {"hermes",
     "<tool_call>{\"name\": \"f\", \"arguments\": {\"t\": \"</tool_call>\\\"{\"}}</tool_call>", "",
     "", "f({\"t\": \"</tool_call>\\\"{\"})"},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"t\": \"a\nb\"}}}\n</tool_call>", "",
     "", "f({\"t\": \"a\\u000ab\"})"},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "", "",
     "f({\"a\": 1})"},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>", "",
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>", ""},
    {"hermes", "<tool_call>{\"name\": 5}</tool_call> <tool_call>{\"name\":\"f\"}</tool_call>", "",
     "<tool_call>{\"name\": 5}</tool_call>", "f({})"},
    {"hermes", "<tool_call>no</tool_call>", "", "<tool_call>no</tool_call>", ""},
    {"hermes", "<tool_call>{\"name\": \"f\", \"argum", "", "<tool_call>{\"name\": \"f\", \"argum",
     ""},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", "",
     "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", ""},

    {"llama3", "{\"name\": \"add\", \"parameters\": {\"a\": 1, \"b\": 2}}", "", "",
     "add({\"a\": 1, \"b\": 2})"},
    {"llama3",
     "<|python_tag|>{\"type\": \"function\", \"name\": \"add\", \"parameters\": {}}; "
     "{\"name\": \"add\", \"parameters\": {\"a\": 1}}",
     "", "", "add({})add({\"a\": 1})"},
    {"llama3", "<|python_tag|>brave_search.call(query=\"a, \\\"b\\\"\", n=2)", "", "",
     "brave_search({\"query\": \"a, \\\"b\\\"\", \"n\": 2})"},
    {"llama3", "{\"name\": \"unknown\", \"parameters\": {}}", "",
     "{\"name\": \"unknown\", \"parameters\": {}}", ""},
    {"llama3", "{\"answer\": 42}", "", "{\"answer\": 42}", ""},
    {"llama3", "It is {\"name\": \"add\", \"parameters\": {}}", "",
     "It is {\"name\": \"add\", \"parameters\": {}}", ""},
    {"llama3", "<function=add>{\"a\": 1}</function>", "", "", "add({\"a\": 1})"},

    {"qwen3-coder",
     "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n<parameter=metric>\nTrue\n</"
     "parameter>\n<parameter=where>\n"
     "{\"x\": [1]}\n</parameter>\n<parameter=zip>\n01234\n</parameter>\n<parameter=any>\n7\n"
     "</parameter>\n</function>\n</tool_call>",
     "", "I look.",
     "get_weather({\"city\": \"New\\nYork\", \"days\": 3, \"metric\": true, \"where\": {\"x\": "
     "[1]}, "
     "\"zip\": \"01234\", \"any\": 7})"},
    {"qwen3-coder", "<function=add>\n<parameter=a>\n1\n<parameter=b>\n2\n</parameter>\n</function>",
     "", "", "add({\"a\": 1, \"b\": 2})"},
    {"qwen3-coder",
     "<tool_call>\n<function=add>\n</function>\n<function=add>\n</function>\n</tool_call>", "", "",
     "add({})add({})"},
    {"qwen3-coder", "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>", "", "",
     "add({})"},
    {"qwen3-coder", "<tool_call>\n<function=add>\n<parameter=a>\n1", "",
     "<tool_call>\n<function=add>\n<parameter=a>\n1", ""},
    {"qwen3-coder", "use <tool_call> tags", "", "use <tool_call> tags", ""},

    {"glm",
     "<think>t</think>\nOk\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</"
     "arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>12</arg_value>\n</tool_call>\n<tool_call>add\n</"
     "tool_call>",
     "t", "Ok", "get_weather({\"city\": \"12\", \"days\": 12})add({})"},
    {"glm", "<tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>", "", "",
     "add({\"a\": 1})"},
    {"glm", "<tool_call>add<arg_key>a</arg_key>", "", "<tool_call>add<arg_key>a</arg_key>", ""},

    {"mistral",
     "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}]", "", "",
     "abcdefghi#add({\"a\": 1})"},
    {"mistral",
     "[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"f\", "
     "\"arguments\": {}}]",
     "", "", "add({})f({})"},
    {"mistral", "Yes.[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{\"a\": 1}[TOOL_CALLS]add[ARGS]{}", "",
     "Yes.", "123456789#add({\"a\": 1})add({})"},
    {"mistral", "[TOOL_CALLS]add{\"a\": 1}", "", "", "add({\"a\": 1})"},
    {"mistral", "[THINK]why[/THINK]because", "why", "because", ""},
    {"mistral", "[TOOL_CALLS]what is this", "", "[TOOL_CALLS]what is this", ""},

    {"deepseek",
     "<think>\nx\n</"
     "think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n"
     "```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n"
     "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "x", "", "add({\"a\": 1})add({})"},
    {"deepseek",
     "Sure.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": "
     "1}<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜>",
     "", "Sure.", "add({\"a\": 1})"},
    {"deepseek",
     "<think>no "
     "end<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
     "no end", "", "add({})"},

    {"kimi",
     "Ok<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
     "{\"a\": 1}<|tool_call_end|><|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>{}"
     "<|tool_call_end|><|tool_calls_section_end|>",
     "", "Ok", "functions.add:0#add({\"a\": 1})functions.add:1#add({})"},

    {"granite", "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "", "",
     "add({\"a\": 1})"},
    {"granite", "<tool_call>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "", "",
     "add({\"a\": 1})"},
    {"phi4", "functools[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "", "",
     "add({\"a\": 1})"},
    {"phi4", "<|tool_call|>[{\"name\": \"add\", \"parameters\": {}}]<|/tool_call|>", "", "",
     "add({})"},
    {"phi4", "functools.partial", "", "functools.partial", ""},

    {"gemma",
     "<|channel>thought\nhm\n<channel|><|tool_call>call:add{a:1,s:<|\"|>x, "
     "\"y\"}<|\"|>,l:[true,null,"
     "{k:<|\"|><|\"|>}]}<tool_call|>",
     "hm", "", "add({\"a\": 1, \"s\": \"x, \\\"y\\\"}\", \"l\": [true, null, {\"k\": \"\"}]})"},
    {"gemma", "<|tool_call>call:add{a:}<tool_call|>", "", "<|tool_call>call:add{a:}<tool_call|>",
     ""},

    {"harmony",
     "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Hi "
     "there.<|return|>",
     "Think.", "Hi there.", ""},
    {"harmony",
     "<|channel|>analysis<|message|>T.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.add "
     "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
     "T.", "", "add({\"a\": 1})"},
    {"harmony",
     "<|channel|>commentary<|message|>First.<|end|><|start|>assistant to=functions.add"
     "<|channel|>commentary json<|message|>{}",
     "", "First.", "add({})"},
    {"harmony",
     "<|channel|>commentary<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B", "",
     "A\n\nB", ""},
    {"harmony", "<|channel|>commentary to=functions.add<|message|>{\"a\": <|call|>", "",
     "{\"a\": ", ""},
    {"harmony", "Just text.", "", "Just text.", ""},
    {"harmony", "<|channel|>analysis<|message|>cut <|en", "cut <|en", "", ""},

    {"minimax",
     "<think>a</think><minimax:tool_call>\n<invoke name=\"add\">\n<parameter "
     "name=\"a\">1</parameter>\n"
     "</invoke>\n</minimax:tool_call>",
     "a", "", "add({\"a\": 1})"},

    {"json", "{\"name\": \"add\", \"arguments\": {\"a\": 1}}", "", "", "add({\"a\": 1})"},
    {"json", "[{\"name\": \"add\", \"arguments\": {}}]", "", "", "add({})"},
    {"json", "<tool_call>{\"name\": \"add\"}</tool_call>", "", "", "add({})"},
    {"json", "[1, 2]", "", "[1, 2]", ""},
};

std::shared_ptr<const ParserSetup> setup_of(const std::string& format) {
  auto setup = std::make_shared<ParserSetup>();
  setup->format = OutputFormat::of_template(kTemplates.at(format));
  setup->tools = std::make_shared<const ToolSchemas>(parse_ordered_json(kTools).value());
  return setup;
}

MessageDelta parse(const std::shared_ptr<const ParserSetup>& setup,
                   const std::vector<std::string_view>& pieces) {
  const auto parser = make_output_parser(setup);
  MessageDelta message;
  for (std::string_view piece : pieces) append(message, parser->push(piece));
  append(message, parser->finish());
  return message;
}

std::string show(const MessageDelta& message) {
  std::string out = "[" + message.reasoning + "] " + message.content + " ";
  for (const CallDelta& call : message.calls) {
    out += (call.id.empty() ? "" : call.id + "#") + call.name + "(" + call.arguments + ")";
  }
  return out;
}

std::string expected(const Case& c) {
  return "[" + std::string(c.reasoning) + "] " + c.content + " " + c.calls;
}

TEST(OutputParser, WholeTexts) {
  for (const Case& c : kCases) {
    EXPECT_EQ(show(parse(setup_of(c.format), {c.text})), expected(c)) << c.format << ": " << c.text;
  }
}

TEST(OutputParser, EverySplitGivesTheSame) {
  for (const Case& c : kCases) {
    const auto setup = setup_of(c.format);
    const std::string_view text = c.text;
    for (size_t at = 1; at < text.size(); ++at) {
      ASSERT_EQ(show(parse(setup, {text.substr(0, at), text.substr(at)})), expected(c))
          << c.format << ": " << text.substr(0, at) << " | " << text.substr(at);
    }
  }
}

TEST(OutputParser, RandomPiecesGiveTheSame) {
  std::mt19937 random(7);
  for (const Case& c : kCases) {
    const auto setup = setup_of(c.format);
    for (int round = 0; round < 20; ++round) {
      std::vector<std::string_view> pieces;
      std::string_view rest = c.text;
      while (!rest.empty()) {
        const size_t size = std::min<size_t>(rest.size(), random() % (1 + random() % 12));
        pieces.push_back(rest.substr(0, size));
        rest.remove_prefix(size);
      }
      ASSERT_EQ(show(parse(setup, pieces)), expected(c)) << c.format << ": " << c.text;
    }
  }
}

/// Cut off anywhere: arguments are objects, and nothing is lost but markers and space.
TEST(OutputParser, CutOffTextsHaveNoHalfCalls) {
  for (const Case& c : kCases) {
    const auto setup = setup_of(c.format);
    const std::string_view text = c.text;
    for (size_t at = 0; at < text.size(); ++at) {
      const MessageDelta message = parse(setup, {text.substr(0, at)});
      for (const CallDelta& call : message.calls) {
        const auto json = parse_json(call.arguments);
        ASSERT_TRUE(json.ok() && json->is_object()) << text.substr(0, at);
        ASSERT_FALSE(call.name.empty());
      }
    }
  }
}

TEST(OutputParser, ValuesWithZeroBytesAreText) {
  const std::string text = "<tool_call>f<arg_key>a</arg_key><arg_value>" + std::string("1\0", 2) +
                           "</arg_value></tool_call>";
  EXPECT_EQ(show(parse(setup_of("glm"), {text})), "[]  f({\"a\": \"1\\u0000\"})");
}

TEST(OutputParser, PlainTextIsNotHeldBack) {
  const auto parser = make_output_parser(setup_of("hermes"));
  EXPECT_EQ(parser->push("Hello").content, "Hello");
  EXPECT_EQ(parser->push(" world <").content, " world");
  EXPECT_EQ(parser->push("b>").content, " <b>");
}

TEST(OutputParser, ThePromptMayHaveBegunTheReasoning) {
  ParserSetup setup = *setup_of("deepseek");
  setup.prompt_tail = "<｜User｜>x<｜Assistant｜><think>\n";
  auto shared = std::make_shared<const ParserSetup>(setup);
  EXPECT_TRUE(make_output_parser(shared)->is_reasoning());
  EXPECT_EQ(show(parse(shared, {"a</think>b"})), "[a] b ");
  EXPECT_EQ(show(parse(shared, {"<think>\na</think>b"})), "[a] b ");
  setup.prompt_tail = "<｜Assistant｜><think></think>";
  EXPECT_EQ(show(parse(std::make_shared<const ParserSetup>(setup), {"b"})), "[] b ");

  ParserSetup harmony = *setup_of("harmony");
  harmony.prompt_tail = "<|end|><|start|>assistant<|channel|>analysis<|message|>";
  shared = std::make_shared<const ParserSetup>(harmony);
  EXPECT_EQ(show(parse(shared, {"a<|end|><|start|>assistant<|channel|>final<|message|>b"})),
            "[a] b ");
}

TEST(OutputParser, WithoutToolsCallsAreText) {
  ParserSetup setup = *setup_of("hermes");
  setup.tools = nullptr;
  const auto shared = std::make_shared<const ParserSetup>(setup);
  EXPECT_EQ(show(parse(shared, {"<think>a</think><tool_call>{\"name\":\"f\"}</tool_call>"})),
            "[a] <tool_call>{\"name\":\"f\"}</tool_call> ");
}

TEST(OutputParser, HiddenMarkersAreNeverShown) {
  ParserSetup setup = *setup_of("mistral");
  setup.hidden = {"[TOOL_CALLS]", "[ARGS]"};
  const auto shared = std::make_shared<const ParserSetup>(setup);
  EXPECT_EQ(show(parse(shared, {"a[TOOL_CALLS]f[ARGS]nothing[ARGS] b"})), "[] afnothing b ");
}

TEST(OutputParser, CallsBeyondTheLimitAreDropped) {
  ParserSetup setup = *setup_of("mistral");
  setup.max_calls = 1;
  const auto shared = std::make_shared<const ParserSetup>(setup);
  EXPECT_EQ(show(parse(shared, {"[TOOL_CALLS]f{}[TOOL_CALLS]g{}"})), "[]  f({})");
}

TEST(OutputParser, ShapedCallsAreToldAsTheyCome) {
  ParserSetup setup = *setup_of("json");
  setup.shape = ParserSetup::Shape::kCallList;
  auto parser = make_output_parser(std::make_shared<const ParserSetup>(setup));
  EXPECT_TRUE(parser->push("[{\"name\": \"add\", \"parame").empty());
  MessageDelta delta = parser->push("ters\": {\"a\"");
  ASSERT_EQ(delta.calls.size(), 1U);
  EXPECT_TRUE(delta.calls[0].first);
  EXPECT_EQ(delta.calls[0].name + delta.calls[0].arguments, "add{\"a\"");
  delta = parser->push(": \"}\"}}, {\"name\": \"f\", \"parameters\": {}}]");
  ASSERT_EQ(delta.calls.size(), 2U);
  EXPECT_FALSE(delta.calls[0].first);
  EXPECT_EQ(delta.calls[0].arguments, ": \"}\"}");
  EXPECT_EQ(delta.calls[1].index, 1);
  EXPECT_EQ(delta.calls[1].arguments, "{}");

  setup.shape = ParserSetup::Shape::kArguments;
  setup.function = "add";
  EXPECT_EQ(show(parse(std::make_shared<const ParserSetup>(setup), {"{\"a\"", ": 1}"})),
            "[]  add({\"a\": 1})");
}

TEST(OutputFormat, OfPublicTemplates) {
  const std::map<std::string, std::string> formats = {
      {"GLM-4.6", "glm"},
      {"HuggingFaceTB-SmolLM3-3B", "json"},
      {"Kimi-K2-Instruct", "kimi"},
      {"Mistral-Small-3.2-24B-Instruct-2506", "mistral"},
      {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"},
      {"Qwen-Qwen2.5-7B-Instruct", "hermes"},
      {"Qwen-Qwen3-0.6B", "hermes"},
      {"Qwen3-Coder", "qwen3-coder"},
      {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek"},
      {"deepseek-ai-DeepSeek-V3.1", "deepseek"},
      {"google-gemma-4-31B-it", "gemma"},
      {"ibm-granite-granite-4.0", "hermes"},
      {"meta-llama-Llama-3.1-8B-Instruct", "llama3"},
      {"mistralai-Mistral-Nemo-Instruct-2407", "mistral"},
      {"openai-gpt-oss-120b", "harmony"},
  };
  const std::filesystem::path folder = "../shared/data/chat_templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  for (const auto& [name, format] : formats) {
    std::ifstream in(folder / (name + ".jinja"));
    std::stringstream text;
    text << in.rdbuf();
    EXPECT_EQ(OutputFormat::of_template(text.str()).name, format) << name;
  }
}

}  // namespace
}  // namespace ramjet::text

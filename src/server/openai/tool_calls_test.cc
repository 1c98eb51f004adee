// Tool calls and reasoning through the server, with a scripted model: the wire's shapes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "server/openai/sequence_text.h"
#include "server/server.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_model.h"
#include "text/grammar/grammar.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;

constexpr const char* kHermes =
    "{# <think> <tool_call> #}{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kOpenThink =
    "{# <tool_call> #}{% for m in messages %}{{ m.content }}{% endfor %}<think>\n";

Json tools() {
  return Json::parse(R"([{"type":"function","function":{"name":"get","parameters":{"type":"object",
    "properties":{"city":{"type":"string"}}}}},{"type":"function","function":{"name":"put"}}])");
}

/// The answer to a chat whose model says `says_text`.
struct Asked {
  int status = 0;
  std::string body;
  std::string grammar;
};

Asked ask(const std::string& says_text, Json fields, const char* chat_template = kHermes) {
  set_log_level(LogLevel::kError);
  TestModel model = make_test_model({.script = says(says_text)});
  FakeBackend* backend = model.backend;
  auto server = Server::start({}, std::move(model.host));
  fields["messages"] = Json::parse(R"([{"role":"user","content":"hi"}])");
  fields["chat_template"] = chat_template;
  RawClient client((*server)->port());
  const RawResponse response = client.post("/v1/chat/completions", fields.dump());
  return {response.status, response.body, backend->last_request().grammar};
}

/// A streamed message put together as clients do it.
Json joined(const std::string& body) {
  Json message = {
      {"content", ""}, {"reasoning", ""}, {"reasoning_content", ""}, {"tool_calls", Json::array()}};
  for (const std::string& event : sse_data(body)) {
    if (event == "[DONE]") break;
    const Json json = Json::parse(event);
    if (json["choices"].empty()) {
      message["usage"] = json["usage"];
      continue;
    }
    const Json& choice = json["choices"][0];
    const Json& delta = choice["delta"];
    for (const char* name : {"content", "reasoning", "reasoning_content"}) {
      if (delta.contains(name)) {
        message[name] = message[name].get<std::string>() + delta[name].get<std::string>();
      }
    }
    for (const Json& call : delta.value("tool_calls", Json::array())) {
      const size_t index = call["index"];
      if (call.contains("id")) {
        EXPECT_EQ(index, message["tool_calls"].size());
        EXPECT_EQ(call["type"], "function");
        EXPECT_EQ(call["function"]["arguments"], "");
        message["tool_calls"].push_back(call);
      } else {
        std::string& arguments =
            message["tool_calls"][index]["function"]["arguments"].get_ref<std::string&>();
        arguments += call["function"]["arguments"].get<std::string>();
      }
    }
    if (!choice["finish_reason"].is_null()) message["finish_reason"] = choice["finish_reason"];
  }
  return message;
}

constexpr const char* kAnswer =
    "<think>\nWhich city?\n</think>\n\nOne moment.\n<tool_call>\n{\"name\": \"get\", "
    "\"arguments\": "
    "{\"city\": \"Z\xc3\xbcrich\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"put\", \"arguments\": "
    "{}}\n</tool_call>";

TEST(ToolCalls, WholeAnswer) {
  const Asked asked = ask(kAnswer, {{"tools", tools()}});
  ASSERT_EQ(asked.status, 200) << asked.body;
  const Json json = Json::parse(asked.body);
  const Json& choice = json["choices"][0];
  const Json& message = choice["message"];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(message["content"], "One moment.");
  EXPECT_EQ(message["reasoning"], "Which city?");
  EXPECT_EQ(message["reasoning_content"], "Which city?");
  ASSERT_EQ(message["tool_calls"].size(), 2);
  const Json& call = message["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_THAT(call["id"].get<std::string>(), testing::StartsWith("call_"));
  EXPECT_NE(call["id"], message["tool_calls"][1]["id"]);
  EXPECT_EQ(call["function"]["name"], "get");
  EXPECT_EQ(Json::parse(call["function"]["arguments"].get<std::string>())["city"], "Z\xc3\xbcrich");
  // One token a byte: "\nWhich city?\n" and the closing marker but its last byte.
  EXPECT_EQ(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 13 + 7);
}

TEST(ToolCalls, StreamJoinsToTheWhole) {
  const Asked asked =
      ask(kAnswer,
          {{"tools", tools()}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  const Json message = joined(asked.body);
  EXPECT_EQ(message["content"], "One moment.");
  EXPECT_EQ(message["reasoning"], "Which city?");
  EXPECT_EQ(message["reasoning_content"], "Which city?");
  EXPECT_EQ(message["finish_reason"], "tool_calls");
  ASSERT_EQ(message["tool_calls"].size(), 2);
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "get");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{\"city\": \"Z\xc3\xbcrich\"}");
  EXPECT_EQ(message["tool_calls"][1]["function"]["arguments"], "{}");
  EXPECT_EQ(message["usage"]["completion_tokens_details"]["reasoning_tokens"], 20);
}

TEST(ToolCalls, ParallelCallsMayBeForbidden) {
  const Asked asked = ask(kAnswer, {{"tools", tools()}, {"parallel_tool_calls", false}});
  EXPECT_EQ(Json::parse(asked.body)["choices"][0]["message"]["tool_calls"].size(), 1);
}

TEST(ToolCalls, OnlyCallsLeaveNoContent) {
  const Asked asked = ask("<tool_call>{\"name\":\"put\"}</tool_call>", {{"tools", tools()}});
  const Json message = Json::parse(asked.body)["choices"][0]["message"];
  EXPECT_TRUE(message["content"].is_null());
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{}");
}

TEST(ToolCalls, WithoutToolsOrChoiceTheyAreText) {
  const std::string text = "<tool_call>{\"name\":\"put\"}</tool_call>";
  for (const Json& fields : {Json::object(), Json{{"tools", tools()}, {"tool_choice", "none"}}}) {
    const Json choice = Json::parse(ask(text, fields).body)["choices"][0];
    EXPECT_EQ(choice["message"]["content"], text);
    EXPECT_TRUE(choice["message"]["tool_calls"].empty());
    EXPECT_EQ(choice["finish_reason"], "stop");
  }
}

TEST(ToolCalls, MalformedOutputIsContent) {
  const std::string text = "<tool_call>{\"name\": \"get\", \"arguments\": {broken</tool_call>";
  const Json choice = Json::parse(ask(text, {{"tools", tools()}}).body)["choices"][0];
  EXPECT_EQ(choice["message"]["content"], text);
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST(ToolCalls, CutOffByLengthThereIsNoHalfCall) {
  const Asked asked = ask("<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"B",
                          {{"tools", tools()}, {"max_tokens", 40}, {"stream", true}});
  const Json message = joined(asked.body);
  EXPECT_EQ(message["finish_reason"], "length");
  EXPECT_TRUE(message["tool_calls"].empty());
}

bool generates(const std::string& spec, const std::string& text) {
  const auto grammar = text::compile_grammar(spec);
  EXPECT_TRUE(grammar.ok()) << grammar.error().message;
  return grammar.ok() && (*grammar)->generates(text).value();
}

TEST(ToolCalls, ARequiredCallIsShapedByAGrammar) {
  const std::string text =
      R"([{"name": "get", "parameters": {"city": "B"}}, {"name": "put", "parameters": {}}])";
  Json fields = {{"tools", tools()}, {"tool_choice", "required"}};
  Asked asked = ask(text, fields);
  ASSERT_EQ(asked.status, 200) << asked.body;
  const Json choice = Json::parse(asked.body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 2);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], R"({"city": "B"})");
  EXPECT_TRUE(generates(asked.grammar, text));
  EXPECT_FALSE(generates(asked.grammar, "Hello"));
  EXPECT_FALSE(generates(asked.grammar, R"([{"name": "other", "parameters": {}}])"));
  EXPECT_FALSE(generates(asked.grammar, R"([{"name": "get", "parameters": {"x": 1}}])"));
  EXPECT_FALSE(generates(asked.grammar, "[]"));

  fields["stream"] = true;
  const Json message = joined(ask(text, fields).body);
  EXPECT_EQ(message["finish_reason"], "tool_calls");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"city": "B"})");
  EXPECT_EQ(message["tool_calls"][1]["function"]["name"], "put");

  fields["parallel_tool_calls"] = false;
  asked = ask(text, fields);
  EXPECT_FALSE(generates(asked.grammar, text));
}

Json strict_tools() {
  Json list = tools();
  list[0]["function"]["strict"] = true;
  list[0]["function"]["parameters"]["required"] = {"city"};
  return list;
}

TEST(ToolCalls, StrictArgumentsAreHeldUnderAuto) {
  const std::string call = R"(<tool_call>
{"name": "get", "arguments": {"city": "B"}}
</tool_call>)";
  const std::string other = R"(<tool_call>{"name":"put","arguments":{"any":[1]}}</tool_call>)";
  Json fields = {{"tools", strict_tools()}};
  Asked asked = ask("Well. " + call + other, fields);
  ASSERT_EQ(asked.status, 200) << asked.body;
  const Json choice = Json::parse(asked.body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "Well.");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 2);
  EXPECT_TRUE(generates(asked.grammar, "Well. " + call + other));
  EXPECT_TRUE(generates(asked.grammar, "No call, <tool is a word."));
  EXPECT_TRUE(generates(asked.grammar, "<think>maybe <tool_call> {}</think>" + call));
  EXPECT_FALSE(generates(asked.grammar, R"(<tool_call>{"name":"get","arguments":{}}</tool_call>)"));
  EXPECT_FALSE(generates(asked.grammar, R"(<tool_call>{"name":"got","arguments":{}}</tool_call>)"));
  EXPECT_FALSE(generates(asked.grammar,
                         "<think>x</think>"
                         R"(<tool_call>{"name":"get","arguments":
      {"city":5}}</tool_call>)"));
  fields["parallel_tool_calls"] = false;
  asked = ask(call, fields);
  EXPECT_TRUE(generates(asked.grammar, call));
  EXPECT_FALSE(generates(asked.grammar, call + other));
  EXPECT_TRUE(ask("x", {{"tools", tools()}}).grammar.empty()) << "nothing is strict";
}

TEST(ToolCalls, WhatStrictCannotHoldIsRefused) {
  const Asked gemma = ask("x", {{"tools", strict_tools()}}, "<|tool_call>");
  EXPECT_EQ(gemma.status, 400);
  EXPECT_EQ(Json::parse(gemma.body)["error"]["param"], "tools");
  Json list = strict_tools();
  list[0]["function"]["parameters"]["properties"]["city"]["format"] = "hostname";
  EXPECT_EQ(ask("x", {{"tools", list}}).status, 400);
  list[0]["function"]["strict"] = "yes";
  EXPECT_EQ(ask("x", {{"tools", list}}).status, 400);
}

TEST(ToolCalls, ANamedFunctionGetsItsArguments) {
  const Json choice = {{"type", "function"}, {"function", {{"name", "get"}}}};
  Json fields = {{"tools", tools()}, {"tool_choice", choice}};
  Asked asked = ask(R"({"city": "B"})", fields);
  const Json answer = Json::parse(asked.body)["choices"][0];
  EXPECT_EQ(answer["finish_reason"], "stop");
  ASSERT_EQ(answer["message"]["tool_calls"].size(), 1);
  EXPECT_EQ(answer["message"]["tool_calls"][0]["function"]["name"], "get");
  EXPECT_EQ(answer["message"]["tool_calls"][0]["function"]["arguments"], R"({"city": "B"})");
  EXPECT_TRUE(generates(asked.grammar, R"({"city":"B"})"));
  EXPECT_FALSE(generates(asked.grammar, R"({"city":5})"));
  fields["stream"] = true;
  const Json message = joined(ask(R"({"city": "B"})", fields).body);
  EXPECT_EQ(message["finish_reason"], "stop");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"city": "B"})");
}

TEST(ToolCalls, WrongChoicesAreNamed) {
  const auto param = [](Json fields) {
    const Asked asked = ask("x", std::move(fields));
    EXPECT_EQ(asked.status, 400) << asked.body;
    return Json::parse(asked.body)["error"]["param"];
  };
  const Json other = {{"type", "function"}, {"function", {{"name", "other"}}}};
  EXPECT_EQ(param({{"tool_choice", "required"}}), "tool_choice");
  EXPECT_EQ(param({{"tools", tools()}, {"tool_choice", other}}), "tool_choice");
  EXPECT_EQ(param({{"tools", tools()}, {"tool_choice", {{"type", "function"}}}}), "tool_choice");
  EXPECT_EQ(param({{"tools", tools()}, {"tool_choice", 5}}), "tool_choice");
}

TEST(Reasoning, ThePromptMayBeginIt) {
  const Json message =
      Json::parse(ask("Hm.\n</think>\n\nYes.", {}, kOpenThink).body)["choices"][0]["message"];
  EXPECT_EQ(message["reasoning"], "Hm.");
  EXPECT_EQ(message["content"], "Yes.");
}

/// A marker that is a special token reaches the parser, and never the client.
TEST(Reasoning, SpecialMarkersReachTheParserOnly) {
  const auto tokenizer = make_test_tokenizer();
  auto setup = std::make_shared<text::ParserSetup>();
  setup->format = text::OutputFormat::of_template("[TOOL_CALLS]");
  setup->tools = std::make_shared<text::ToolSchemas>();
  setup->hidden = {"[TOOL_CALLS]"};
  auto plan = std::make_shared<OutputPlan>();
  plan->setup = setup;
  plan->markers = {{258, "[TOOL_CALLS]"}};
  const auto message_of = [&](const std::string& call) {
    SequenceText sequence(*tokenizer, {},
                          std::make_shared<const text::StopSet>(std::vector<std::string>{}), {}, 0);
    sequence.parse_by(plan);
    RequestOutput output;
    output.ids = byte_ids("a");
    output.ids.push_back(258);
    for (int32_t id : byte_ids(call)) output.ids.push_back(id);
    output.ids.push_back(259);  // another special token
    output.finish = FinishReason::kStop;
    Delta delta;
    sequence.push(output, delta);
    return delta;
  };
  const Delta call = message_of("get[ARGS]{}");
  EXPECT_EQ(call.text, "a");
  ASSERT_EQ(call.calls.size(), 1);
  EXPECT_EQ(call.calls[0].name, "get");
  EXPECT_EQ(call.calls[0].id.size(), 9);
  EXPECT_EQ(call.finish, "tool_calls");
  EXPECT_EQ(message_of(" no").text, "a no");
}

}  // namespace
}  // namespace ramjet::server

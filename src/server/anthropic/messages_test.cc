// The Anthropic Messages API, with a scripted model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "server/server.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_model.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;

// Shows what it got, and what its own format is.
constexpr const char* kTemplate =
    "{# <think> <tool_call> #}{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is "
    "string "
    "else m.content | map(attribute='text') | join('+') if m.content else '' }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]"
    "{% endfor %}{{ m.reasoning_content }}{% endfor %}{{ enable_thinking }}";

struct Asked {
  int status = 0;
  std::string body;
  std::string prompt;
};

Asked ask(const std::string& says_text, Json fields, const char* path = "/v1/messages") {
  set_log_level(LogLevel::kError);
  TestModel model = make_test_model({.script = says(says_text)});
  FakeBackend* backend = model.backend;
  auto server = Server::start({}, std::move(model.host));
  fields["chat_template"] = kTemplate;
  RawClient client((*server)->port());
  const RawResponse response = client.post(path, fields.dump());
  Asked asked{response.status, response.body, {}};
  for (int32_t id : backend->last_request().prompt_ids) asked.prompt += static_cast<char>(id);
  return asked;
}

Json basic() {
  return Json::parse(R"({"model":"test-model","max_tokens":100,
    "messages":[{"role":"user","content":"hi"}]})");
}

TEST(Messages, WholeAnswer) {
  const Asked asked = ask("Hello.", basic());
  ASSERT_EQ(asked.status, 200) << asked.body;
  const Json json = Json::parse(asked.body);
  EXPECT_THAT(json["id"].get<std::string>(), testing::StartsWith("msg_"));
  EXPECT_EQ(json["type"], "message");
  EXPECT_EQ(json["role"], "assistant");
  EXPECT_EQ(json["content"], Json::parse(R"([{"type":"text","text":"Hello."}])"));
  EXPECT_EQ(json["stop_reason"], "end_turn");
  EXPECT_TRUE(json["stop_sequence"].is_null());
  EXPECT_EQ(json["usage"]["output_tokens"], 6);
  EXPECT_EQ(json["usage"]["input_tokens"], asked.prompt.size());
}

TEST(Messages, HistoryReachesTheTemplate) {
  Json body = basic();
  body["system"] = Json::parse(R"([{"type":"text","text":"Be brief."}])");
  body["messages"] = Json::parse(R"([{"role":"user","content":[{"type":"text","text":"a"},
      {"type":"text","text":"b"}]},
    {"role":"assistant","content":[{"type":"thinking","thinking":"T","signature":""},
      {"type":"text","text":"c"},{"type":"tool_use","id":"x1","name":"f","input":{"k":1}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"x1","content":"r"},
      {"type":"text","text":"d"}]}])");
  body["thinking"] = {{"type", "enabled"}, {"budget_tokens", 100}};
  const Asked asked = ask("ok", body);
  ASSERT_EQ(asked.status, 200) << asked.body;
  EXPECT_EQ(asked.prompt,
            "<system>Be brief.<user>a+b<assistant>c[f {\"k\": 1}]T<tool>r<user>dTrue");
}

Json with_tools(Json body) {
  body["tools"] = Json::parse(R"([{"name":"get","description":"d","input_schema":{"type":"object",
    "properties":{"city":{"type":"string"}}}}])");
  return body;
}

constexpr const char* kCall =
    "<think>Hm</think>Look\n<tool_call>{\"name\":\"get\",\"arguments\":{\"city\":\"B\"}}</"
    "tool_call>";

TEST(Messages, ThinkingAndToolUse) {
  const Json json = Json::parse(ask(kCall, with_tools(basic())).body);
  ASSERT_EQ(json["content"].size(), 3) << json;
  EXPECT_EQ(json["content"][0]["thinking"], "Hm");
  EXPECT_EQ(json["content"][1]["text"], "Look");
  EXPECT_EQ(json["content"][2]["type"], "tool_use");
  EXPECT_EQ(json["content"][2]["name"], "get");
  EXPECT_EQ(json["content"][2]["input"], Json({{"city", "B"}}));
  EXPECT_EQ(json["stop_reason"], "tool_use");
}

TEST(Messages, StreamJoinsToTheWhole) {
  Json body = with_tools(basic());
  body["stream"] = true;
  const Asked asked = ask(kCall, body);
  std::vector<std::string> types;
  std::vector<Json> blocks;
  std::string partial;
  Json end;
  for (const std::string& event : sse_data(asked.body)) {
    const Json json = Json::parse(event);
    const std::string type = json["type"];
    if (types.empty() || types.back() != type) types.push_back(type);
    if (type == "content_block_start") {
      EXPECT_EQ(json["index"], blocks.size());
      blocks.push_back(json["content_block"]);
    }
    if (type == "message_delta") end = json;
    if (type != "content_block_delta") continue;
    EXPECT_EQ(json["index"], blocks.size() - 1);
    const Json& delta = json["delta"];
    Json& block = blocks.back();
    if (delta["type"] == "input_json_delta") partial += delta["partial_json"].get<std::string>();
    for (const char* name : {"text", "thinking"}) {
      if (delta.contains(name))
        block[name] = block[name].get<std::string>() + delta[name].get<std::string>();
    }
  }
  ASSERT_GE(types.size(), 2U) << asked.body;
  EXPECT_EQ(types.front(), "message_start");
  EXPECT_EQ(types[1], "ping");
  EXPECT_EQ(types.back(), "message_stop");
  ASSERT_EQ(blocks.size(), 3);
  EXPECT_EQ(blocks[0]["thinking"], "Hm");
  EXPECT_EQ(blocks[1]["text"], "Look");
  EXPECT_EQ(blocks[2]["name"], "get");
  EXPECT_EQ(partial, "{\"city\":\"B\"}");
  EXPECT_EQ(end["delta"]["stop_reason"], "tool_use");
  EXPECT_GT(end["usage"]["output_tokens"], 10);
  EXPECT_THAT(asked.body, testing::StartsWith("event: message_start\ndata: "));
}

TEST(Messages, StopSequencesAndLimits) {
  Json body = basic();
  body["stop_sequences"] = {"END"};
  Json json = Json::parse(ask("a END b", body).body);
  EXPECT_EQ(json["stop_reason"], "stop_sequence");
  EXPECT_EQ(json["stop_sequence"], "END");
  body["max_tokens"] = 1;
  json = Json::parse(ask("a END b", body).body);
  EXPECT_EQ(json["stop_reason"], "max_tokens");
}

TEST(Messages, ErrorsHaveTheirShape) {
  const auto error = [](Json body) {
    const Asked asked = ask("x", std::move(body));
    const Json json = Json::parse(asked.body);
    EXPECT_EQ(json["type"], "error");
    return std::to_string(asked.status) + " " + json["error"]["type"].get<std::string>();
  };
  Json body = basic();
  body.erase("max_tokens");
  EXPECT_EQ(error(body), "400 invalid_request_error");
  body = basic();
  body["model"] = "other";
  EXPECT_EQ(error(body), "404 not_found_error");
  body = basic();
  body["messages"] = Json::parse(R"([{"role":"user","content":[{"type":"image","source":{}}]}])");
  EXPECT_EQ(error(body), "400 invalid_request_error");
  body["messages"] = Json::parse(R"([{"role":"system","content":"x"}])");
  EXPECT_EQ(error(body), "400 invalid_request_error");
  body = with_tools(basic());
  body["tool_choice"] = {{"type", "tool"}, {"name", "other"}};
  EXPECT_EQ(error(body), "400 invalid_request_error");
}

TEST(Messages, TokensAreCounted) {
  Json body = basic();
  body.erase("max_tokens");
  const Asked asked = ask("x", body, "/v1/messages/count_tokens");
  EXPECT_EQ(Json::parse(asked.body)["input_tokens"], std::string("<user>hi").size());
}

}  // namespace
}  // namespace ramjet::server

// The Responses API, with a scripted model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "server/responses/responses.h"
#include "server/server.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_model.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;

constexpr const char* kTemplate =
    "{# <think> <tool_call> #}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}{% endfor %}";

struct Running {
  explicit Running(const std::string& text) {
    set_log_level(LogLevel::kError);
    TestModel model = make_test_model({.script = says(text)});
    backend = model.backend;
    server = std::move(Server::start({}, std::move(model.host))).value();
  }
  RawResponse post(Json body) {
    body["chat_template"] = kTemplate;
    return RawClient(server->port()).post("/v1/responses", body.dump());
  }
  std::string prompt() const {
    std::string text;
    for (int32_t id : backend->last_request().prompt_ids) text += static_cast<char>(id);
    return text;
  }
  FakeBackend* backend;
  std::unique_ptr<Server> server;
};

Json with_tools(Json body) {
  body["tools"] = Json::parse(
      R"([{"type":"function","name":"get","parameters":{"type":"object","properties":{}}}])");
  return body;
}

constexpr const char* kCall =
    "<think>Hm</think>Look\n<tool_call>{\"name\":\"get\",\"arguments\":{}}</tool_call>";

TEST(Responses, WholeAnswerIsStored) {
  Running r("Hello.");
  const RawResponse response = r.post({{"input", "hi"}, {"instructions", "Be kind."}});
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = Json::parse(response.body);
  EXPECT_EQ(r.prompt(), "<system>Be kind.<user>hi");
  EXPECT_EQ(json["object"], "response");
  EXPECT_EQ(json["status"], "completed");
  EXPECT_EQ(json["instructions"], "Be kind.");
  ASSERT_EQ(json["output"].size(), 1);
  EXPECT_EQ(json["output"][0]["content"][0]["text"], "Hello.");
  EXPECT_EQ(json["usage"]["output_tokens"], 6);
  const std::string id = json["id"];
  RawClient client(r.server->port());
  EXPECT_EQ(Json::parse(client.get("/v1/responses/" + id).body), json);
  EXPECT_EQ(client.get("/v1/responses/other").status, 404);
  EXPECT_EQ(client.post("/v1/responses/" + id + "/cancel", "").status, 400);

  r.post({{"input", "more"}, {"previous_response_id", id}});
  EXPECT_EQ(r.prompt(), "<user>hi<assistant>Hello.<user>more");
  EXPECT_EQ(r.post({{"input", "x"}, {"previous_response_id", "no"}}).status, 404);
  const Json unstored = Json::parse(r.post({{"input", "x"}, {"store", false}}).body);
  EXPECT_EQ(client.get("/v1/responses/" + unstored["id"].get<std::string>()).status, 404);
}

TEST(Responses, ItemsOfAllKinds) {
  Running r(kCall);
  Json body = with_tools({});
  body["input"] = Json::parse(R"([{"role":"user","content":[{"type":"input_text","text":"a"}]},
    {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"t"}]},
    {"type":"function_call","call_id":"c1","name":"get","arguments":"{}"},
    {"type":"function_call_output","call_id":"c1","output":"o"}])");
  const RawResponse response = r.post(body);
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_THAT(r.prompt(), testing::StartsWith("<user>a<assistant>"));
  EXPECT_THAT(r.prompt(), testing::EndsWith("[get]<tool>o"));
  const Json output = Json::parse(response.body)["output"];
  ASSERT_EQ(output.size(), 3);
  EXPECT_EQ(output[0]["type"], "reasoning");
  EXPECT_EQ(output[0]["content"][0]["text"], "Hm");
  EXPECT_EQ(output[1]["content"][0]["text"], "Look");
  EXPECT_EQ(output[2]["type"], "function_call");
  EXPECT_EQ(output[2]["arguments"], "{}");
}

TEST(Responses, EventsBuildTheResponse) {
  Running r(kCall);
  Json body = with_tools({{"input", "hi"}, {"stream", true}});
  const auto events = sse_data(r.post(body).body);
  std::string text;
  Json last;
  for (size_t i = 0; i < events.size(); ++i) {
    last = Json::parse(events[i]);
    EXPECT_EQ(last["sequence_number"], i);
    if (last["type"] == "response.output_text.delta") text += last["delta"].get<std::string>();
  }
  EXPECT_EQ(text, "Look");
  ASSERT_EQ(last["type"], "response.completed");
  ASSERT_EQ(last["response"]["output"].size(), 3);
  EXPECT_EQ(last["response"]["output"][2]["name"], "get");
  EXPECT_EQ(Json::parse(events[0])["type"], "response.created");
}

TEST(Responses, LimitsAndErrors) {
  Running r("Hello.");
  const Json cut = Json::parse(r.post({{"input", "hi"}, {"max_output_tokens", 2}}).body);
  EXPECT_EQ(cut["status"], "incomplete");
  EXPECT_EQ(cut["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(r.post(Json::object()).status, 400);
  EXPECT_EQ(r.post({{"input", Json::array({5})}}).status, 400);
  EXPECT_EQ(r.post({{"input", "x"}, {"background", true}}).status, 501);
}

TEST(ResponseStore, IsBounded) {
  ResponseStore store;
  for (size_t i = 0; i <= ResponseStore::kMaxResponses; ++i)
    store.put(std::to_string(i), {"{}", "[]"});
  EXPECT_FALSE(store.find("0"));
  EXPECT_TRUE(store.find("1"));
  store.put("big", {std::string(ResponseStore::kMaxBytes - 10000, 'x'), ""});
  EXPECT_FALSE(store.find("1"));
  EXPECT_TRUE(store.find("big"));
  EXPECT_TRUE(store.erase("big"));
  EXPECT_FALSE(store.erase("big"));
}

}  // namespace
}  // namespace ramjet::server

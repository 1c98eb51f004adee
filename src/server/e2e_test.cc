// The server over loopback, with a scripted model behind it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "server/server.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_model.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

struct Running {
  FakeBackend* backend;
  std::unique_ptr<Server> server;
  int port() const { return server->port(); }
};

Running start(FakeBehavior behavior, ServerOptions options = {}, std::string config = {}) {
  set_log_level(LogLevel::kError);
  if (!behavior.script) behavior.script = says("Hello, w\xc3\xb6rld!");
  TestModel model = make_test_model(std::move(behavior), std::move(config));
  auto server = Server::start(std::move(options), std::move(model.host));
  EXPECT_TRUE(server.ok()) << server.error().message;
  return {model.backend, std::move(server).value()};
}

bool eventually(const std::function<bool()>& condition, double timeout_s = 5) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

/// The last event of a stream; empty if nothing came in time.
std::string last_event(const std::string& body) {
  const auto events = sse_data(body);
  return events.empty() ? std::string() : std::string(events.back());
}

std::string long_script() { return std::string(4000, 'x'); }

// Completions and chat.

TEST(Completions, WholeAnswerHasTheShape) {
  Running r = start({});
  RawClient client(r.port());
  const RawResponse response =
      client.post("/v1/completions", R"({"model":"test-model","prompt":"ab","max_tokens":100})");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  const Json json = Json::parse(response.body);
  EXPECT_THAT(json["id"].get<std::string>(), testing::StartsWith("cmpl-"));
  EXPECT_EQ(json["object"], "text_completion");
  EXPECT_EQ(json["model"], "test-model");
  EXPECT_TRUE(json["system_fingerprint"].is_string());
  EXPECT_EQ(json["choices"][0]["index"], 0);
  EXPECT_EQ(json["choices"][0]["text"], "Hello, w\xc3\xb6rld!");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(json["choices"][0]["stop_reason"].is_null());
  EXPECT_TRUE(json["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(json["usage"], Json::parse(R"({"prompt_tokens":2,"completion_tokens":14,
    "total_tokens":16,"prompt_tokens_details":{"cached_tokens":0},
    "completion_tokens_details":{"reasoning_tokens":0}})"));
}

TEST(Completions, DefaultIsSixteenTokens) {
  Running r = start({.script = says(long_script())});
  RawClient client(r.port());
  const Json json = Json::parse(client.post("/v1/completions", R"({"prompt":"ab"})").body);
  EXPECT_EQ(json["choices"][0]["text"], std::string(16, 'x'));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 16);
}

TEST(Completions, ManyPromptsTimesN) {
  Running r = start({.script = [](const Request& request, int index) {
    return byte_ids(std::string(1, static_cast<char>(request.prompt_ids[0])) +
                    std::to_string(index));
  }});
  RawClient client(r.port());
  const Json json =
      Json::parse(client.post("/v1/completions", R"({"prompt":["a","b",  "c"],"n":2})").body);
  std::vector<std::string> texts;
  for (const Json& choice : json["choices"]) {
    EXPECT_EQ(choice["index"], texts.size());
    texts.push_back(choice["text"]);
  }
  EXPECT_THAT(texts, testing::ElementsAre("a0", "a1", "b0", "b1", "c0", "c1"));
  EXPECT_EQ(json["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  const Json ids =
      Json::parse(client.post("/v1/completions", R"({"prompt":[[100,101],[102]]})").body);
  EXPECT_EQ(ids["choices"][0]["text"], "d0");
  EXPECT_EQ(ids["choices"][1]["text"], "f0");
}

TEST(Completions, LogprobsAndEcho) {
  Running r = start({.script = says("\xc3\xa4z")});
  RawClient client(r.port());
  const Json json = Json::parse(
      client.post("/v1/completions", R"({"prompt":"p\u00e4","echo":true,"logprobs":2})").body);
  const Json& choice = json["choices"][0];
  EXPECT_EQ(choice["text"], "p\xc3\xa4\xc3\xa4z");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"],
            Json({"p", "bytes:\\xc3", "bytes:\\xa4", "bytes:\\xc3", "bytes:\\xa4", "z"}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 1, 2, 2, 3}));
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["token_logprobs"][5], -0.25);
  EXPECT_EQ(logprobs["top_logprobs"][5], Json({{"z", -0.25}, {"{", -1.0}}));
  EXPECT_EQ(r.backend->last_request().sampling.prompt_logprobs, 2);
}

TEST(Completions, EchoWithoutOutputScoresThePrompt) {
  Running r = start({});
  RawClient client(r.port());
  const Json json = Json::parse(
      client.post("/v1/completions", R"({"prompt":"abc","echo":true,"logprobs":0,"max_tokens":0})")
          .body);
  EXPECT_EQ(json["choices"][0]["text"], "abc");
  EXPECT_EQ(json["choices"][0]["logprobs"]["tokens"], Json({"a", "b", "c"}));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 0);
}

TEST(Completions, BestOfPicksTheLikeliest) {
  Running r = start({.script = [](const Request&, int index) {
    return byte_ids(std::string(1, static_cast<char>('a' + index)));
  }});
  RawClient client(r.port());
  const Json json =
      Json::parse(client.post("/v1/completions", R"({"prompt":"p","n":1,"best_of":3})").body);
  ASSERT_EQ(json["choices"].size(), 1);
  EXPECT_TRUE(json["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(json["usage"]["completion_tokens"], 3);
  EXPECT_EQ(r.backend->last_request().n, 3);
  EXPECT_EQ(r.backend->last_request().sampling.logprobs, 0);
}

TEST(Completions, StopStringTrimsAndCancels) {
  Running r = start({.script = says("one two STOP three" + long_script()), .step_s = 0.001});
  RawClient client(r.port());
  const Json json = Json::parse(
      client
          .post("/v1/completions",
                R"({"prompt":"p","max_tokens":1000,"stop":["STOP","zzz"],"logprobs":0})")
          .body);
  const Json& choice = json["choices"][0];
  EXPECT_EQ(choice["text"], "one two ");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["stop_reason"], "STOP");
  EXPECT_EQ(choice["logprobs"]["tokens"].size(), 8);
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  EXPECT_TRUE(eventually([&] { return r.backend->running() == 0; }));
  EXPECT_EQ(r.backend->cancelled, 1);
  const Json kept =
      Json::parse(client
                      .post("/v1/completions", R"({"prompt":"p","max_tokens":1000,"stop":"STOP",
        "include_stop_str_in_output":true})")
                      .body);
  EXPECT_EQ(kept["choices"][0]["text"], "one two STOP");
}

TEST(Completions, AStopStringEndsOneOfNAndTheOthersGoOn) {
  Running r =
      start({.script =
                 [](const Request&, int index) {
                   return byte_ids(index == 1 ? "ab STOP" + long_script() : std::string(300, 'y'));
                 },
             .step_s = 0.001});
  RawClient client(r.port());
  const Json json = Json::parse(
      client.post("/v1/completions", R"({"prompt":"p","max_tokens":300,"stop":"STOP","n":3})")
          .body);
  EXPECT_EQ(json["choices"][1]["text"], "ab ");
  EXPECT_EQ(json["choices"][1]["finish_reason"], "stop");
  for (const int other : {0, 2}) {
    EXPECT_EQ(json["choices"][other]["text"], std::string(300, 'y'));
    EXPECT_EQ(json["choices"][other]["finish_reason"], "length");
  }
  EXPECT_EQ(json["usage"]["completion_tokens"], 607);
  EXPECT_EQ(r.backend->cancelled_sequences, 1);
  EXPECT_EQ(r.backend->cancelled, 0);
  EXPECT_TRUE(eventually([&] { return r.backend->running() == 0; }));
}

TEST(Completions, StopTokenIdIsReported) {
  Running r = start({.script = says("ab!cd")});
  RawClient client(r.port());
  const Json json =
      Json::parse(client.post("/v1/completions", R"({"prompt":"p","stop_token_ids":[33]})").body);
  EXPECT_EQ(json["choices"][0]["text"], "ab");
  EXPECT_EQ(json["choices"][0]["stop_reason"], 33);
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
}

TEST(Completions, TokenIdsAndPromptLogprobs) {
  Running r = start({.script = says("ok")});
  RawClient client(r.port());
  const Json json = Json::parse(
      client
          .post("/v1/completions", R"({"prompt":"ab","return_token_ids":true,"prompt_logprobs":1})")
          .body);
  const Json& choice = json["choices"][0];
  EXPECT_EQ(choice["prompt_token_ids"], Json({97, 98}));
  EXPECT_EQ(choice["token_ids"], Json({111, 107}));
  EXPECT_TRUE(choice["prompt_logprobs"][0].is_null());
  EXPECT_EQ(choice["prompt_logprobs"][1]["98"]["decoded_token"], "b");
  EXPECT_EQ(choice["prompt_logprobs"][1]["98"]["rank"], 1);
}

TEST(Completions, StreamJoinsToTheWhole) {
  Running r = start({.script = says("caf\xc3\xa9 \xf0\x9f\x9a\x80 done")});
  RawClient client(r.port());
  const RawResponse response = client.post(
      "/v1/completions",
      R"({"prompt":"p","stream":true,"max_tokens":50,"stream_options":{"include_usage":true}})");
  EXPECT_THAT(response.headers.at("content-type"), HasSubstr("text/event-stream"));
  const auto events = sse_data(response.body);
  ASSERT_GE(events.size(), 4);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string text;
  int finishes = 0;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const Json json = Json::parse(events[i]);
    EXPECT_EQ(json["object"], "text_completion");
    EXPECT_TRUE(json["usage"].is_null());
    text += json["choices"][0]["text"].get<std::string>();
    if (!json["choices"][0]["finish_reason"].is_null()) ++finishes;
  }
  EXPECT_EQ(text, "caf\xc3\xa9 \xf0\x9f\x9a\x80 done");
  EXPECT_EQ(finishes, 1);
  const Json usage = Json::parse(events[events.size() - 2]);
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 15);
}

TEST(Chat, WholeAnswerHasTheShape) {
  Running r = start({});
  RawClient client(r.port());
  const RawResponse response =
      client.post("/v1/chat/completions",
                  R"({"model":"test-model","messages":[{"role":"user","content":"hi"}]})");
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = Json::parse(response.body);
  EXPECT_THAT(json["id"].get<std::string>(), testing::StartsWith("chatcmpl-"));
  EXPECT_EQ(json["object"], "chat.completion");
  const Json& message = json["choices"][0]["message"];
  EXPECT_EQ(message["role"], "assistant");
  EXPECT_EQ(message["content"], "Hello, w\xc3\xb6rld!");
  EXPECT_TRUE(message.contains("refusal") && message["refusal"].is_null());
  EXPECT_TRUE(message["tool_calls"].empty());
  EXPECT_TRUE(message.contains("reasoning") && message.contains("reasoning_content"));
  // <|bos|> <|user|> h i <|end|> <|assistant|>
  EXPECT_EQ(json["usage"]["prompt_tokens"], 6);
  EXPECT_EQ(r.backend->last_request().prompt_ids,
            (std::vector<int32_t>{256, 258, 'h', 'i', 257, 259}));
  EXPECT_EQ(r.backend->last_request().sampling.temperature, 1.0f);
  EXPECT_EQ(r.backend->last_request().sampling.stop.max_tokens, -1);
}

TEST(Chat, DefaultsComeFromGenerationConfig) {
  Running r = start({}, {}, R"({"temperature":0.6,"top_k":20,"top_p":0.95,"do_sample":true})");
  RawClient client(r.port());
  client.post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"top_k":5})");
  EXPECT_FLOAT_EQ(r.backend->last_request().sampling.temperature, 0.6f);
  EXPECT_FLOAT_EQ(r.backend->last_request().sampling.top_p, 0.95f);
  EXPECT_EQ(r.backend->last_request().sampling.top_k, 5);
}

TEST(Chat, StreamBeginsWithTheRoleAndEndsOnce) {
  Running r = start({});
  RawClient client(r.port());
  const RawResponse response =
      client.post("/v1/chat/completions",
                  R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"n":3,
          "stream_options":{"include_usage":true,"continuous_usage_stats":true}})");
  const auto events = sse_data(response.body);
  ASSERT_GT(events.size(), 9);
  EXPECT_EQ(events.back(), "[DONE]");
  std::map<int, std::string> text;
  std::map<int, int> roles, finishes;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const Json json = Json::parse(events[i]);
    EXPECT_EQ(json["object"], "chat.completion.chunk");
    EXPECT_EQ(json["usage"]["prompt_tokens"], 6);
    const Json& choice = json["choices"][0];
    const int index = choice["index"];
    if (choice["delta"].contains("role")) {
      EXPECT_EQ(text.count(index), 0);
      EXPECT_EQ(choice["delta"], Json({{"role", "assistant"}, {"content", ""}}));
      ++roles[index];
    } else if (!choice["finish_reason"].is_null()) {
      EXPECT_TRUE(choice["delta"].empty());
      ++finishes[index];
    } else {
      text[index] += choice["delta"]["content"].get<std::string>();
    }
  }
  for (int index : {0, 1, 2}) {
    EXPECT_EQ(text[index], "Hello, w\xc3\xb6rld!");
    EXPECT_EQ(roles[index], 1);
    EXPECT_EQ(finishes[index], 1);
  }
  EXPECT_TRUE(Json::parse(events[events.size() - 2])["choices"].empty());
}

TEST(Chat, LogprobsShape) {
  Running r = start({.script = says("a\xc3\xa9")});
  RawClient client(r.port());
  const Json json =
      Json::parse(client
                      .post("/v1/chat/completions",
                            R"({"messages":[{"role":"user","content":"hi"}],"logprobs":true,
                      "top_logprobs":2})")
                      .body);
  const Json& content = json["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["bytes"], Json({97}));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "b");
  EXPECT_EQ(content[1]["bytes"], Json({0xc3}));
}

TEST(Chat, StreamedLogprobsArriveWithTheirText) {
  Running r = start({.script = says("ab STO ok")});
  RawClient client(r.port());
  const RawResponse response =
      client.post("/v1/chat/completions",
                  R"({"messages":[{"role":"user","content":"hi"}],"logprobs":true,"stream":true,
          "stop":"STOP"})");
  std::string text, tokens;
  for (const std::string& event : sse_data(response.body)) {
    if (event == "[DONE]") break;
    const Json choice = Json::parse(event)["choices"][0];
    if (choice["delta"].contains("content")) text += choice["delta"]["content"];
    if (choice["logprobs"].is_null()) continue;
    for (const Json& token : choice["logprobs"]["content"]) tokens += token["token"];
    EXPECT_EQ(text, tokens);
  }
  EXPECT_EQ(text, "ab STO ok");
}

TEST(Chat, ToolsAndEffortReachTheTemplate) {
  Running r = start({});
  RawClient client(r.port());
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}])";
  const auto prompt = [&](const std::string& more) {
    const RawResponse response = client.post(
        "/tokenize", R"({"messages":[{"role":"user","content":"x"}],)" + tools + more + "}");
    return Json::parse(response.body)["count"].get<int>();
  };
  const int with = prompt("");
  EXPECT_EQ(prompt(R"(,"tool_choice":"auto")"), with);
  EXPECT_EQ(prompt(R"(,"tool_choice":"none")"), with - 2);
  EXPECT_EQ(prompt(R"(,"reasoning_effort":"low")"), with + 4);
}

TEST(Chat, RefusalsNameTheField) {
  Running r = start({});
  RawClient client(r.port());
  const auto error = [&](const std::string& more) {
    const RawResponse response = client.post(
        "/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}],)" + more + "}");
    Json json = Json::parse(response.body)["error"];
    json["status"] = response.status;
    return json;
  };
  for (const char* field : {R"("response_format":{"type":"json_object"})",
                            R"("structured_outputs":{"regex":"a"})", R"("tool_choice":"required")",
                            R"("tool_choice":{"type":"function","function":{"name":"f"}})"}) {
    const Json json = error(field);
    EXPECT_EQ(json["status"], 501) << field;
    EXPECT_EQ(json["type"], "not_supported_error");
    EXPECT_THAT(field, HasSubstr(json["param"].get<std::string>()));
  }
  EXPECT_EQ(error(R"("temperature":3)")["param"], "temperature");
  EXPECT_THAT(error(R"("temperature":3)")["message"].get<std::string>(), HasSubstr("[0, 2]"));
  EXPECT_EQ(error(R"("temperature":"hot")")["status"], 400);
  EXPECT_EQ(error(R"("model":"other")")["status"], 404);
  EXPECT_EQ(error(R"("model":"other")")["code"], "model_not_found");
  EXPECT_EQ(error(R"("stream_options":{"include_usage":true})")["status"], 400);
  EXPECT_EQ(error(R"("chat_template":"{% bad")")["param"], "chat_template");
}

TEST(Chat, TooLongGivesBothNumbers) {
  Running r = start({.max_seq_len = 50});
  RawClient client(r.port());
  const std::string body =
      R"({"messages":[{"role":"user","content":")" + std::string(100, 'a') + R"("}]})";
  const RawResponse response = client.post("/v1/chat/completions", body);
  EXPECT_EQ(response.status, 400);
  const Json error = Json::parse(response.body)["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("50"));
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("104"));
  const RawResponse more = client.post("/v1/completions", R"({"prompt":"abc","max_tokens":48})");
  EXPECT_EQ(more.status, 400);
  EXPECT_THAT(more.body, HasSubstr("51"));
}

TEST(Completions, AnswersOfTooManyLogprobsAreRefused) {
  Running r = start({.max_seq_len = 4000});
  RawClient client(r.port());
  const std::string many = R"("n":128,"max_tokens":2000,)";
  const RawResponse whole =
      client.post("/v1/completions", R"({"prompt":"x",)" + many + R"("logprobs":20})");
  EXPECT_EQ(whole.status, 400) << whole.body;
  EXPECT_THAT(whole.body, HasSubstr("5376000 logprobs"));
  const std::string chat = R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,)";
  EXPECT_EQ(client.post("/v1/chat/completions", chat + many + R"("top_logprobs":20})").status, 400);
  std::string prompts;
  for (int i = 0; i < 200; ++i) prompts += '"' + std::string(1000, 'a') + "\",";
  const std::string echo =
      R"({"prompt":[)" + prompts + R"("a"],"max_tokens":1,"prompt_logprobs":20})";
  EXPECT_EQ(client.post("/v1/completions", echo).status, 400);
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":"x","n":2,"logprobs":20})").status, 200);
}

// Other routes.

TEST(Routes, ModelsHealthVersionTokenize) {
  Running r = start({});
  RawClient client(r.port());
  const Json models = Json::parse(client.get("/v1/models").body);
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "test-model");
  EXPECT_EQ(models["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(Json::parse(client.get("/v1/models/alias%2Fof%20model").body)["root"], "test-model");
  EXPECT_EQ(client.get("/v1/models/nope").status, 404);
  EXPECT_EQ(client.get("/health").status, 200);
  EXPECT_TRUE(Json::parse(client.get("/version").body).contains("version"));
  EXPECT_THAT(client.get("/").body, HasSubstr("/v1/chat/completions"));
  EXPECT_EQ(Json::parse(client.get("/load").body)["server_load"], 0);
  const Json tokens = Json::parse(
      client.post("/tokenize", R"({"prompt":"a b<|end|>","return_token_strs":true})").body);
  EXPECT_EQ(tokens["tokens"], Json({97, 32, 98, 257}));
  EXPECT_EQ(tokens["count"], 4);
  EXPECT_EQ(tokens["token_strs"], Json({"a", "\xc4\xa0", "b", "<|end|>"}));
  EXPECT_EQ(Json::parse(client.post("/detokenize", R"({"tokens":[97,32,98,257]})").body)["prompt"],
            "a b<|end|>");
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":[9999]})").status, 400);
}

TEST(Routes, UnknownRoutesMethodsAndTypes) {
  Running r = start({});
  RawClient client(r.port());
  EXPECT_EQ(client.get("/nope").status, 404);
  const RawResponse wrong = client.get("/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST, OPTIONS");
  client.send("OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n");
  const RawResponse options = client.receive();
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("access-control-allow-origin"), "*");
  client.send(
      "POST /v1/completions HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
      "\r\n{}");
  EXPECT_EQ(client.receive().status, 415);
  client.send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.receive_until("\r\n\r\n"), HasSubstr("200 OK"));
  EXPECT_THAT(client.receive_until("\r\n\r\n"), HasSubstr("200 OK"));
}

TEST(Routes, BadBodies) {
  Running r = start({});
  RawClient client(r.port());
  const std::string deep = std::string(100000, '[');
  for (const std::string& body :
       {std::string(""), std::string("{"), std::string("[]"), std::string("null"),
        std::string("{\"prompt\":\"\xff\xfe\"}"), std::string("{\"prompt\":\"\\ud800\"}"),
        "{\"prompt\":" + deep, std::string("{\"prompt\":{}}"), std::string("{\"prompt\":[]}"),
        std::string("{\"prompt\":[1.5]}"), std::string("{\"prompt\":[99999]}"),
        std::string("{\"prompt\":[\"a\",1]}"), std::string("{\"prompt\":[-1]}")}) {
    const RawResponse response = client.post("/v1/completions", body);
    EXPECT_EQ(response.status, 400) << body.substr(0, 60);
    EXPECT_EQ(Json::parse(response.body)["error"]["type"], "invalid_request_error");
  }
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":"still here"})").status, 200);
}

TEST(Routes, ApiKeys) {
  Running r = start({}, {.api_keys = {"first", "second"}});
  RawClient client(r.port());
  EXPECT_EQ(client.get("/v1/models").status, 401);
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer first\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/models", "authorization: bearer second\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/models", "X-Api-Key: second\r\n").status, 200);
  EXPECT_EQ(client.get("/metrics").status, 401);
  for (const char* open : {"/health", "/version", "/"}) EXPECT_EQ(client.get(open).status, 200);
  EXPECT_EQ(Json::parse(client.get("/load").body)["error"]["type"], "authentication_error");
}

TEST(Routes, RequestIdIsEchoedAndUsed) {
  Running r = start({});
  RawClient client(r.port());
  const RawResponse response =
      client.post("/v1/completions", R"({"prompt":"p"})", "X-Request-Id: abc-1\r\n");
  EXPECT_EQ(response.headers.at("x-request-id"), "abc-1");
  EXPECT_EQ(Json::parse(response.body)["id"], "cmpl-abc-1");
  const RawResponse odd = client.get("/health", "X-Request-Id: a b<c>\r\n");
  EXPECT_EQ(odd.headers.at("x-request-id").size(), 32);
}

// The life of connections.

TEST(Http, KeepAlivePipeliningAndChunkedBodies) {
  Running r = start({});
  RawClient client(r.port());
  std::string both = post_text("/v1/completions", R"({"prompt":"p"})");
  both +=
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"promp\r\n8\r\nt\":\"ab\"}\r\n0\r\n\r\n";
  both += "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(both);
  EXPECT_EQ(Json::parse(client.receive().body)["usage"]["prompt_tokens"], 1);
  EXPECT_EQ(Json::parse(client.receive().body)["usage"]["prompt_tokens"], 2);
  EXPECT_THAT(client.receive().body, HasSubstr("version"));
}

TEST(Http, ExpectContinue) {
  Running r = start({});
  RawClient client(r.port());
  client.send(
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
      "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n");
  EXPECT_THAT(client.receive_until("\r\n\r\n"), HasSubstr("100 Continue"));
  client.send(R"({"prompt":"a"})");
  EXPECT_EQ(client.receive().status, 200);
}

TEST(Http, Http10ClosesAfterTheAnswer) {
  Running r = start({});
  RawClient client(r.port());
  const std::string body = R"({"prompt":"p","stream":true})";
  client.send(
      "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const RawResponse response = client.receive(2);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(last_event(response.body), "[DONE]");
}

TEST(Http, LimitsOnSize) {
  ServerOptions options;
  options.http.limits.max_body_bytes = 1000;
  Running r = start({}, options);
  {
    RawClient client(r.port());
    EXPECT_EQ(client.post("/v1/completions", std::string(2000, ' ')).status, 413);
    EXPECT_TRUE(client.closed_within(3));
  }
  {
    RawClient client(r.port());
    client.send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" +
                std::string(0x800, ' ') + "\r\n0\r\n\r\n");
    EXPECT_EQ(client.receive().status, 413);
  }
  {
    RawClient client(r.port());
    client.send("GET / HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n");
    EXPECT_EQ(client.receive().status, 431);
  }
  const std::string extension = "2;" + std::string(100000, 'x') + "\r\n{}\r\n0\r\n\r\n";
  std::string trailers = "2\r\n{}\r\n0\r\n";
  while (trailers.size() < 100000) trailers += "X: y\r\n";
  for (const std::string& body : {extension, trailers + "\r\n"}) {
    RawClient client(r.port());
    client.send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
    EXPECT_EQ(client.receive(3).status, 431);
  }
  RawClient client(r.port());
  EXPECT_EQ(client.get("/health").status, 200);
}

TEST(Http, GarbageIsRefusedAndHarmless) {
  Running r = start({});
  uint64_t seed = 88172645463325252ull;
  for (int i = 0; i < 50; ++i) {
    std::string bytes;
    for (int j = 0; j < 200; ++j) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      bytes += static_cast<char>(seed);
    }
    RawClient client(r.port());
    client.send(bytes + "\r\n\r\n");
    const int status = client.receive(2).status;
    EXPECT_TRUE(status == 400 || status == 505) << status;
  }
  RawClient client(r.port());
  EXPECT_EQ(client.get("/health").status, 200);
}

TEST(Http, SlowHeadersAndBodiesTimeOut) {
  ServerOptions options;
  options.http.limits.header_timeout_s = 0.3;
  options.http.limits.body_timeout_s = 0.3;
  options.http.limits.idle_timeout_s = 0.5;
  Running r = start({}, options);
  RawClient slow(r.port());
  slow.send("GET / HT");
  RawClient dripping(r.port());
  dripping.send("GET / HTTP/1.1\r\n");
  RawClient body(r.port());
  body.send("POST /tokenize HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
  RawClient idle(r.port());
  for (int i = 0; i < 8; ++i) {  // a byte now and then must not prolong it
    dripping.send("X");
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  }
  EXPECT_EQ(slow.receive(2).status, 408);
  EXPECT_EQ(dripping.receive(2).status, 408);
  EXPECT_EQ(body.receive(2).status, 408);
  EXPECT_TRUE(idle.closed_within(2));
}

TEST(Http, TooManyConnectionsAreTurnedAway) {
  ServerOptions options;
  options.http.limits.max_connections = 3;
  Running r = start({}, options);
  RawClient a(r.port()), b(r.port());
  EXPECT_EQ(a.get("/health").status, 200);
  EXPECT_EQ(b.get("/health").status, 200);
  {
    RawClient c(r.port());
    EXPECT_EQ(c.get("/health").status, 200);
    RawClient d(r.port());
    EXPECT_EQ(d.receive(2).status, 503);
  }
  EXPECT_TRUE(eventually([&] { return RawClient(r.port()).get("/health").status == 200; }));
}

TEST(Http, SilentStreamsGetComments) {
  ServerOptions options;
  options.http.limits.keep_alive_comment_s = 0.1;
  Running r = start({}, options);
  r.backend->paused = true;
  RawClient client(r.port());
  client.send(post_text("/v1/completions", R"({"prompt":"p","stream":true})"));
  EXPECT_NE(client.receive_until(": keep-alive\n\n"), "");
  EXPECT_NE(client.receive_until(": keep-alive\n\n"), "");
  r.backend->paused = false;
  EXPECT_NE(client.receive_until("data: [DONE]\n\n"), "");
}

// Clients that leave, crawl or come in crowds.

TEST(Cancel, DisconnectEndsStreamsAndWholeAnswers) {
  for (const char* stream : {"true", "false"}) {
    Running r = start({.script = says(long_script()), .step_s = 0.005});
    RawClient client(r.port());
    client.send(
        post_text("/v1/completions",
                  std::string(R"({"prompt":"p","max_tokens":4000,"stream":)") + stream + "}"));
    ASSERT_TRUE(eventually([&] { return r.backend->running() == 1; }));
    client.close();
    EXPECT_TRUE(eventually([&] { return r.backend->running() == 0; }, 2)) << stream;
    EXPECT_EQ(r.backend->cancelled, 1);
  }
}

TEST(Cancel, DisconnectEndsEveryPromptOfARequest) {
  Running r = start({.script = says(long_script()), .step_s = 0.005});
  RawClient client(r.port());
  client.send(post_text("/v1/completions",
                        R"({"prompt":["a","b","c"],"n":2,"max_tokens":4000,"stream":true})"));
  ASSERT_TRUE(eventually([&] { return r.backend->running() == 3; }));
  client.close();
  EXPECT_TRUE(eventually([&] { return r.backend->running() == 0; }, 2));
}

TEST(Cancel, SlowReaderIsCutOffAndOthersAreNot) {
  ServerOptions options;
  options.http.limits.stream_buffer_bytes = 64 << 10;
  FakeBehavior behavior{.script = says(std::string(60000, 'x')), .max_seq_len = 70000};
  Running r = start(behavior, options);
  RawClient slow(r.port(), 4096);
  slow.send(post_text("/v1/completions", R"({"prompt":"p","max_tokens":60000,"stream":true})"));
  ASSERT_TRUE(eventually([&] { return r.backend->submitted == 1; }));
  RawClient good(r.port());
  good.send(post_text("/v1/completions", R"({"prompt":"p","max_tokens":3000,"stream":true})"));
  const RawResponse response = good.receive(30);
  EXPECT_EQ(last_event(response.body), "[DONE]");
  EXPECT_TRUE(eventually([&] { return r.backend->cancelled == 1; }, 20));
  EXPECT_TRUE(eventually([&] { return r.backend->running() == 0; }));
}

TEST(Load, ManyConcurrentStreams) {
  Running r = start({.script = says("0123456789abcdef"), .step_s = 0.001});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 256; ++i) clients.push_back(std::make_unique<RawClient>(r.port()));
  for (auto& client : clients) {
    client->send(post_text("/v1/completions", R"({"prompt":"p","stream":true,"max_tokens":16})"));
  }
  int complete = 0;
  for (auto& client : clients) {
    std::string text;
    for (const std::string& event : sse_data(client->receive(20).body)) {
      if (event != "[DONE]") text += Json::parse(event)["choices"][0]["text"].get<std::string>();
    }
    if (text == "0123456789abcdef") ++complete;
  }
  EXPECT_EQ(complete, 256);
}

TEST(Load, FullQueueIs429) {
  FakeBehavior behavior{.script = says(long_script()), .step_s = 0.01, .max_running = 2};
  Running r = start(behavior);
  RawClient a(r.port()), b(r.port()), c(r.port());
  const std::string body = R"({"prompt":"p","max_tokens":4000})";
  a.send(post_text("/v1/completions", body));
  b.send(post_text("/v1/completions", body));
  ASSERT_TRUE(eventually([&] { return r.backend->running() == 2; }));
  const RawResponse full = c.post("/v1/completions", body);
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  EXPECT_EQ(Json::parse(full.body)["error"]["type"], "rate_limit_error");
  // A batch that does not fit leaves nothing behind.
  a.close();
  ASSERT_TRUE(eventually([&] { return r.backend->running() == 1; }));
  EXPECT_EQ(c.post("/v1/completions", R"({"prompt":["x","y"]})").status, 429);
  EXPECT_TRUE(eventually([&] { return r.backend->running() == 1; }));
}

TEST(Faults, EngineFailureIs500WithoutInternals) {
  Running r = start({.script = says(long_script()), .fail_after = 3});
  RawClient client(r.port());
  const RawResponse response = client.post("/v1/completions", R"({"prompt":"p"})");
  EXPECT_EQ(response.status, 500);
  EXPECT_THAT(response.body, testing::Not(HasSubstr("secret")));
  const RawResponse stream = client.post("/v1/completions", R"({"prompt":"p","stream":true})");
  const auto events = sse_data(stream.body);
  ASSERT_GE(events.size(), 2);
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(Json::parse(events[events.size() - 2])["error"]["type"], "server_error");
}

TEST(Faults, AThrowingHandlerIs500AndTheNextRequestIsServed) {
  Running r = start({.script = [](const Request& request, int) -> std::vector<int32_t> {
    if (request.prompt_ids.size() == 3) throw std::runtime_error("at /secret/path");
    return byte_ids("fine");
  }});
  set_log_level(LogLevel::kOff);
  RawClient client(r.port());
  const RawResponse broken = client.post("/v1/completions", R"({"prompt":"abc"})");
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(Json::parse(broken.body)["error"]["type"], "server_error");
  EXPECT_THAT(broken.body, testing::Not(HasSubstr("/secret/path")));
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":"ab"})").status, 200);
}

TEST(Faults, HealthFollowsTheBackend) {
  Running r = start({});
  RawClient client(r.port());
  r.backend->healthy = false;
  const RawResponse response = client.get("/health");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(Json::parse(response.body)["error"]["type"], "unavailable_error");
}

TEST(Drain, RunningRequestsFinishAndNewOnesAreRefused) {
  Running r = start({.script = says(std::string(100, 'x')), .step_s = 0.003});
  RawClient client(r.port()), other(r.port());
  EXPECT_EQ(other.get("/health").status, 200);
  client.send(post_text("/v1/completions", R"({"prompt":"p","max_tokens":100})"));
  ASSERT_TRUE(eventually([&] { return r.backend->running() == 1; }));
  std::thread drain([&] { r.server->drain(10); });
  ASSERT_TRUE(eventually([&] { return other.get("/health").status == 503; }));
  EXPECT_EQ(other.post("/v1/completions", R"({"prompt":"p"})").status, 503);
  EXPECT_EQ(Json::parse(client.receive().body)["choices"][0]["text"], std::string(100, 'x'));
  drain.join();
  EXPECT_TRUE(other.closed_within(2));
}

TEST(Drain, DeadlineEndsWhatStillRuns) {
  Running r = start({.script = says(long_script()), .step_s = 0.01});
  RawClient client(r.port());
  client.send(post_text("/v1/completions", R"({"prompt":"p","max_tokens":4000,"stream":true})"));
  ASSERT_NE(client.receive_until("data: "), "");
  r.server->drain(0.2);
  const std::string rest = client.receive_until("data: [DONE]\n\n", 2);
  EXPECT_THAT(rest, HasSubstr("unavailable_error"));
}

TEST(Metrics, CountWhatHappened) {
  Running r = start({});
  RawClient client(r.port());
  client.post("/v1/completions", R"({"prompt":"p","max_tokens":50,"n":2})");
  client.post("/v1/completions", R"({"prompt":"p","max_tokens":2})");
  const std::string text = client.get("/metrics").body;
  const std::string label = R"({model_name="test-model"})";
  EXPECT_THAT(text, HasSubstr(R"(finished_reason="stop"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(finished_reason="length"} 1)"));
  EXPECT_THAT(text, HasSubstr("ramjet:time_to_first_token_seconds_count" + label + " 2\n"));
  EXPECT_THAT(text, HasSubstr("ramjet:request_generation_tokens_sum" + label + " 30\n"));
  EXPECT_THAT(text, HasSubstr("ramjet:kv_cache_usage_perc" + label + " 0.25\n"));
  EXPECT_THAT(text, HasSubstr("trtllm_kv_cache_tokens_per_block" + label + " 16\n"));
}

}  // namespace
}  // namespace ramjet::server

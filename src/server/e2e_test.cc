// Completions and chat over loopback, with a scripted model behind them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/testing/running_server.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

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
  for (const char* field : {R"("structural_tag":{})", R"("use_beam_search":true)"}) {
    const Json json = error(field);
    EXPECT_EQ(json["status"], 501) << field;
    EXPECT_EQ(json["type"], "not_supported_error");
    EXPECT_THAT(field, HasSubstr(json["param"].get<std::string>()));
  }
  const Json bad = error(
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{"$ref":"http://x/y"}}})");
  EXPECT_EQ(bad["status"], 400);
  EXPECT_EQ(bad["param"], "response_format");
  EXPECT_THAT(bad["message"].get<std::string>(), HasSubstr("'$ref'"));
  EXPECT_EQ(error(R"("guided_regex":"(")")["param"], "guided_regex");
  EXPECT_EQ(error(R"("structured_outputs":{"choice":[]})")["param"], "structured_outputs.choice");
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

}  // namespace
}  // namespace ramjet::server

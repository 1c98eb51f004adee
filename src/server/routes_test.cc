// Other routes, HTTP itself, limits, cancels, load, faults, drain and metrics, over loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/testing/running_server.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

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
  const auto page = client.get("/");
  EXPECT_THAT(page.body, HasSubstr("page/app.js"));
  EXPECT_THAT(client.get("/page/app.js").body, HasSubstr("startChat"));
  EXPECT_THAT(client.get("/page/style.css").body, HasSubstr("prefers-color-scheme"));
  EXPECT_EQ(client.get("/page/../app_state.h").status, 404);
  EXPECT_EQ(client.get("/page/none.js").status, 404);
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

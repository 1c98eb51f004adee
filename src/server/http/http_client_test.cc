#include "server/http/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "server/http/http_server.h"

namespace ramjet::server {
namespace {

std::unique_ptr<HttpServer> serve(HttpServer::Handler handler) {
  auto server = HttpServer::start({.threads = 1}, std::move(handler));
  EXPECT_TRUE(server.ok());
  return std::move(server).value();
}

std::unique_ptr<HttpClient> client_of(const HttpServer& server, const std::string& path = {}) {
  auto client = HttpClient::create("http://127.0.0.1:" + std::to_string(server.port()) + path);
  EXPECT_TRUE(client.ok());
  return std::move(client).value();
}

TEST(HttpClient, FetchesManyTimesOverOneConnection) {
  const auto server = serve([](const std::shared_ptr<Exchange>& exchange) {
    const HttpRequest& request = exchange->request();
    exchange->respond({.status = 201, .body = request.method + request.path + request.body});
  });
  const auto client = client_of(*server, "/base/");
  for (int i = 0; i < 20; ++i) {
    const auto response = client->fetch({.method = "POST", .path = "/x", .body = "abc"});
    ASSERT_TRUE(response.ok()) << response.error().message;
    EXPECT_EQ(response->status, 201);
    EXPECT_EQ(response->body, "POST/base/xabc");
  }
  EXPECT_EQ(server->stats().connections, 1);
}

TEST(HttpClient, TakesStreamsAndLargeBodies) {
  const std::string large(5 << 20, 'y');
  const auto server = serve([&](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().path == "/large") return exchange->respond({.body = large});
    exchange->begin_stream({.content_type = "text/event-stream"});
    for (int i = 0; i < 3; ++i) exchange->send("data: " + std::to_string(i) + "\n\n");
    exchange->end();
  });
  const auto client = client_of(*server);
  EXPECT_EQ(client->fetch({.path = "/large"})->body, large);
  EXPECT_EQ(client->fetch({.path = "/s"})->body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

TEST(HttpClient, SurvivesAServerThatClosedAKeptConnection) {
  HttpServer::Options options{.threads = 1};
  options.limits.idle_timeout_s = 0.1;
  auto server = HttpServer::start(options, [](const std::shared_ptr<Exchange>& exchange) {
    exchange->respond({.body = "ok"});
  });
  const auto client = client_of(**server);
  EXPECT_EQ(client->fetch({.path = "/"})->body, "ok");
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_EQ(client->fetch({.path = "/"})->body, "ok");
}

TEST(HttpClient, FailuresAreErrors) {
  std::promise<std::shared_ptr<Exchange>> kept;
  auto server = serve([&](const std::shared_ptr<Exchange>& e) { kept.set_value(e); });
  const auto client = client_of(*server);
  const auto late = client->fetch({.path = "/", .timeout_s = 0.2});
  EXPECT_EQ(late.error().code, ErrorCode::kDeadlineExceeded);
  const auto exchange = kept.get_future().get();
  for (int i = 0; i < 200 && !exchange->gone(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(exchange->gone());
  server->stop(0);
  EXPECT_EQ(client->fetch({.path = "/"}).error().code, ErrorCode::kUnavailable);
}

TEST(HttpServer, AHandlerThatForgetsIsA500) {
  const auto server = serve([](const std::shared_ptr<Exchange>&) {});
  const auto response = client_of(*server)->fetch({.path = "/"});
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->status, 500);
}

TEST(HttpServer, PortInUseIsAnError) {
  const auto server = serve([](const std::shared_ptr<Exchange>&) {});
  const auto second = HttpServer::start({.port = server->port()}, {});
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  const auto nowhere = HttpServer::start({.host = "no.such.host.invalid"}, {});
  EXPECT_EQ(nowhere.error().code, ErrorCode::kInvalidArgument);
}

TEST(Urls, Parse) {
  EXPECT_EQ(parse_url("http://h:81/a/")->path, "/a");
  EXPECT_EQ(parse_url("http://h")->port, "80");
  EXPECT_EQ(parse_url("http://[::1]:9")->host, "::1");
  EXPECT_TRUE(parse_url("https://h/x")->tls);
  EXPECT_EQ(parse_url("https://h/x")->port, "443");
  EXPECT_EQ(parse_url("ftp://h").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(parse_url("h:80").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(parse_url("http://:80").error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace ramjet::server

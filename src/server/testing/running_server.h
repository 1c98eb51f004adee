// For tests: the server over loopback, with a scripted model behind it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/log.h"
#include "server/server.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_model.h"

namespace ramjet::server {

struct Running {
  FakeBackend* backend;
  std::unique_ptr<Server> server;
  int port() const { return server->port(); }
};

inline Running start(FakeBehavior behavior, ServerOptions options = {}, std::string config = {}) {
  set_log_level(LogLevel::kError);
  if (!behavior.script) behavior.script = says("Hello, w\xc3\xb6rld!");
  TestModel model = make_test_model(std::move(behavior), std::move(config));
  auto server = Server::start(std::move(options), std::move(model.host));
  EXPECT_TRUE(server.ok()) << server.error().message;
  return {model.backend, std::move(server).value()};
}

inline bool eventually(const std::function<bool()>& condition, double timeout_s = 5) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

/// The last event of a stream; empty if nothing came in time.
inline std::string last_event(const std::string& body) {
  const auto events = sse_data(body);
  return events.empty() ? std::string() : std::string(events.back());
}

inline std::string long_script() { return std::string(4000, 'x'); }

}  // namespace ramjet::server

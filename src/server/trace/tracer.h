// Tracer: a span of each request to an OpenTelemetry collector, as OTLP over HTTP in JSON.
//
// Thread-safe. record() never waits: spans go to a bounded queue, and one thread sends them in
// batches, each with a time limit; what the queue has no room for, or the collector does not take,
// is dropped and counted. A span continues the trace of the request's `traceparent` header (W3C).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ramjet::server {

class HttpClient;

struct TracerOptions {
  std::string endpoint;  // http[s]://host:port; /v1/traces is added unless it has a path
  std::string service = "ramjet";
  size_t max_queue = 4096;
  size_t max_batch = 512;
  double flush_s = 1;  // the longest that a span waits for others
  double timeout_s = 5;
};

struct Span {
  std::string name;
  std::string traceparent;  // of the request; may be empty or anything
  double seconds = 0;       // it ends now
  int status = 0;           // of HTTP
  std::vector<std::pair<std::string, std::string>> texts;  // attributes
  std::vector<std::pair<std::string, int64_t>> numbers;
};

class Tracer {
 public:
  /// Errors: kInvalidArgument for the endpoint. It need not be there yet.
  static Result<std::unique_ptr<Tracer>> create(TracerOptions options);
  /// Sends what it holds, once, within a second.
  ~Tracer();
  void record(Span span);
  uint64_t dropped() const { return dropped_; }

 private:
  struct Stamped {
    Span span;
    int64_t end_ns = 0;  // Unix time
  };
  Tracer(TracerOptions options, std::unique_ptr<HttpClient> client);
  void run();
  void send(const std::vector<Stamped>& batch, double timeout_s);

  const TracerOptions options_;
  const std::unique_ptr<HttpClient> client_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Stamped> queue_;
  bool stopping_ = false;
  bool complained_ = false;  // of the thread
  std::atomic<uint64_t> dropped_{0};
  std::thread thread_;
};

}  // namespace ramjet::server

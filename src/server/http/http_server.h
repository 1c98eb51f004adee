// HttpServer: HTTP/1.1 over TCP. It reads requests, hands each to a handler as an Exchange, and
// writes what the handler puts there.
//
// Thread-safety: all methods may be called from any thread. The handler is called on an I/O
// thread and must not block; it may answer later from anywhere. Requests of one connection are
// handled one after the other, so that pipelined answers keep their order. Every wait for a peer
// has a limit (HttpLimits).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/http/exchange.h"

namespace ramjet::server {

struct HttpLimits {
  size_t max_body_bytes = size_t{32} << 20;      // above: 413
  size_t max_header_bytes = size_t{32} << 10;    // above: 431
  size_t max_bodies_bytes = size_t{1} << 30;     // of all requests being read; above: 503
  size_t stream_buffer_bytes = size_t{1} << 20;  // unsent bytes of a stream before it is cut off
  int max_connections = 4096;                    // above: 503 and closed
  double header_timeout_s = 10;       // first byte of a request to the end of its headers
  double body_timeout_s = 30;         // between two pieces of a body
  double body_total_timeout_s = 300;  // for the whole body
  double idle_timeout_s = 75;         // between two requests of a connection
  double write_timeout_s = 30;        // without progress in sending
  double keep_alive_comment_s = 15;   // silence in an event stream before a comment
};

struct HttpServerStats {
  int connections = 0;
  uint64_t connections_refused = 0;
  uint64_t bad_requests = 0;  // answered by the HTTP layer itself: 400, 408, 413, 431, ...
};

class HttpServer {
 public:
  using Handler = std::function<void(const std::shared_ptr<Exchange>&)>;
  struct Options {
    std::string host = "127.0.0.1";  // a name or an address
    int port = 0;                    // 0: picked by the system
    int threads = 2;
    bool reuse_port = false;       // another process may listen on the same port
    std::string certificate, key;  // PEM files: TLS; empty: none
    HttpLimits limits;
  };

  /// Binds and starts. Errors: kInvalidArgument (host), kUnavailable (port in use).
  static Result<std::unique_ptr<HttpServer>> start(Options options, Handler handler);
  /// stop(0).
  ~HttpServer();

  int port() const;
  HttpServerStats stats() const;
  /// Takes no more connections. Those that there are end with their next answer.
  void stop_accepting();
  /// Accepts no more, lets answers in progress finish for up to `grace_s`, then closes all and
  /// joins the threads. Idempotent.
  void stop(double grace_s);

  struct Impl;

 private:
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::server

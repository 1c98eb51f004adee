// Server: a model behind HTTP. Ties the HTTP core, the routes, the workers and the metrics.
//
// Thread-safe. Owns everything below it, the model host and its backend included.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/http/http_server.h"
#include "server/key_gate.h"
#include "server/model_host.h"

namespace ramjet::server {

struct ServerOptions {
  HttpServer::Options http;
  std::vector<std::string> api_keys;  // none: everyone is let in
  int workers = 2;                    // of each of the two pools
  bool log_requests = true;
  KeyLimits key_limits;
  bool admin_routes = false;
  std::string otlp_endpoint;  // of a collector of traces; empty: none
  std::string otlp_service = "ramjet";
};

class Server {
 public:
  /// Listens. Until serve(), every route but /version answers 503: the model is loading.
  static Result<std::unique_ptr<Server>> listen(ServerOptions options);
  /// Answers with this model from now on. Once only.
  void serve(std::unique_ptr<ModelHost> host);
  /// Both.
  static Result<std::unique_ptr<Server>> start(ServerOptions options,
                                               std::unique_ptr<ModelHost> host);
  /// drain(0) if that was not called.
  ~Server();

  int port() const;
  /// /health and new work get 503 from now on.
  void begin_drain();
  /// For when another process serves the same port: accepts no more connections, and answers those
  /// that there are, each for a last time, until none is left or for `deadline_s`.
  void hand_over(double deadline_s);
  /// begin_drain(), waits up to `deadline_s` for running requests, ends the rest with an error,
  /// and closes. Idempotent.
  void drain(double deadline_s);

  struct Impl;

 private:
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::server

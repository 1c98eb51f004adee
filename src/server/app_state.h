// AppState: what all routes of a server share. And the helpers by which routes answer.
//
// Thread-safe: its members are immutable, atomic or themselves thread-safe. The Server owns it and
// destroys it after everything that borrows it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/auth.h"
#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/key_gate.h"
#include "server/metrics/server_metrics.h"
#include "server/model_host.h"
#include "server/openai/api_error.h"
#include "server/openai/generation.h"
#include "server/trace/tracer.h"
#include "server/worker_pool.h"

namespace ramjet::server {

struct AppState {
  struct Options {
    std::vector<std::string> api_keys;
    KeyLimits key_limits;
    int workers = 2;
  };
  AppState(std::unique_ptr<ModelHost> model, const Options& options)
      : gate(options.api_keys.size(), options.key_limits),
        heavy(options.workers),
        light(options.workers),
        host(std::move(model)),
        metrics(host->name(), host->max_model_len()),
        keys(options.api_keys) {}
  /// Ends the workers' tasks before what they use; the backend's last events then go nowhere.
  ~AppState() {
    heavy.stop();
    light.stop();
    slow.stop();
  }

  KeyGate gate;  // outlives the requests' tickets
  const double start_s = steady_s();
  WorkerPool slow{1};  // sleep and wake
  WorkerPool heavy;    // parsing, templates, tokenizing
  WorkerPool light;    // detokenizing and everything short
  std::atomic<bool> draining{false};
  std::atomic<int> active{0};  // generations between submit and end
  bool log_requests = true;
  std::unique_ptr<ModelHost> host;
  ServerMetrics metrics;
  ApiKeys keys;
  std::function<HttpServerStats()> http_stats;
  Tracer* tracer = nullptr;    // the server's; null: no traces
  std::vector<AppState*> all;  // of the server's models, this one among them

  GenerationServices services() { return {*host, metrics, light}; }
};

/// What the request log says beside method, path, status and time.
struct LogFacts {
  std::string id;
  const Usage* usage = nullptr;
  std::string finish;
};

void log_request(const AppState& state, const RequestContext& context, int status,
                 const LogFacts& facts = {});
/// Answers and logs.
void reply(const AppState& state, const RequestContext& context, HttpResponse response);
void reply_error(const AppState& state, const RequestContext& context, const ApiError& error);

// One function a family of routes; each adds its rows to the table. `state` must outlive `router`.
void add_ops_routes(Router& router, AppState& state);         // health, metrics, version, load
void add_page_routes(Router& router, AppState& state);        // / and what it loads
void add_models_routes(Router& router, AppState& state);      // /v1/models
void add_completion_routes(Router& router, AppState& state);  // /v1/completions
void add_chat_routes(Router& router, AppState& state);        // /v1/chat/completions
void add_messages_routes(Router& router, AppState& state);    // /v1/messages
void add_responses_routes(Router& router, AppState& state);   // /v1/responses
void add_tokenize_routes(Router& router, AppState& state);    // /tokenize, /detokenize
void add_kserve_routes(Router& router, AppState& state);      // /v2: KServe
void add_embed_routes(Router& router, AppState& state);       // /v1/embeddings, /classify
void add_admin_routes(Router& router, AppState& state);       // /sleep and others
void add_score_routes(Router& router, AppState& state);       // /score, /rerank

}  // namespace ramjet::server

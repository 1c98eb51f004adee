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
#include "server/metrics/server_metrics.h"
#include "server/model_host.h"
#include "server/openai/api_error.h"
#include "server/openai/generation.h"
#include "server/worker_pool.h"

namespace ramjet::server {

struct AppState {
  AppState(std::unique_ptr<ModelHost> model, const std::vector<std::string>& api_keys, int workers)
      : heavy(workers),
        light(workers),
        host(std::move(model)),
        metrics(host->name(), host->max_model_len()),
        keys(api_keys) {}
  /// Ends the workers' tasks before what they use; the backend's last events then go nowhere.
  ~AppState() {
    heavy.stop();
    light.stop();
  }

  WorkerPool heavy;  // parsing, templates, tokenizing
  WorkerPool light;  // detokenizing and everything short
  std::atomic<bool> draining{false};
  std::atomic<int> active{0};  // generations between submit and end
  bool log_requests = true;
  std::unique_ptr<ModelHost> host;
  ServerMetrics metrics;
  ApiKeys keys;
  std::function<HttpServerStats()> http_stats;

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

}  // namespace ramjet::server

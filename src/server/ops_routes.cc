#include <ramjet/version.h>

#include <utility>

#include "base/json.h"
#include "server/app_state.h"

namespace ramjet::server {
namespace {

void health(AppState& state, const RequestContext& context) {
  if (state.draining) {
    return reply_error(state, context, error_of_status(503, "the server is shutting down"));
  }
  const Status status = state.host->backend().health();
  if (!status.ok()) {
    return reply_error(state, context, error_of_status(503, status.error().message));
  }
  reply(state, context, {.body = R"({"status":"ok"})"});
}

void load(AppState& state, const RequestContext& context) {
  const ExecutorStats stats = state.host->backend().stats();
  const OrderedJson json = {
      {"server_load", state.active.load()},         {"running", stats.requests_running},
      {"waiting", stats.requests_waiting},          {"kv_blocks_total", stats.kv_blocks_total},
      {"kv_blocks_active", stats.kv_blocks_active}, {"integrity_checks", stats.integrity_checks},
      {"integrity_errors", stats.integrity_errors}};
  reply(state, context, {.body = json.dump()});
}

void metrics(AppState& state, const RequestContext& context) {
  const HttpServerStats http = state.http_stats ? state.http_stats() : HttpServerStats{};
  reply(state, context,
        {.content_type = "text/plain; version=0.0.4; charset=utf-8",
         .body = state.metrics.render(state.host->backend().stats(), http)});
}

}  // namespace

void add_ops_routes(Router& router, AppState& state) {
  const auto get = [&](std::string path, bool needs_key,
                       void (*handler)(AppState&, const RequestContext&)) {
    router.add({.method = "GET",
                .pattern = std::move(path),
                .needs_key = needs_key,
                .handler = [&state, handler](RequestContext c) { handler(state, c); }});
  };
  get("/health", false, health);
  get("/load", true, load);
  get("/metrics", true, metrics);
  get("/version", false, [](AppState& s, const RequestContext& context) {
    reply(s, context, {.body = R"({"version":")" RAMJET_VERSION "\"}"});
  });
}

}  // namespace ramjet::server

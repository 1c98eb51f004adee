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
  bool sleeping = true;
  for (const AppState* each : state.all) {
    const Status status = each->host->backend().health();
    if (!status.ok()) {
      return reply_error(state, context, error_of_status(503, status.error().message));
    }
    sleeping = sleeping && each->host->backend().sleeping();
  }
  reply(state, context, {.body = sleeping ? R"({"status":"sleeping"})" : R"({"status":"ok"})"});
}

void load(AppState& state, const RequestContext& context) {
  ExecutorStats stats;
  int active = 0;
  for (const AppState* each : state.all) {
    const ExecutorStats mine = each->host->backend().stats();
    stats.requests_running += mine.requests_running;
    stats.requests_waiting += mine.requests_waiting;
    stats.kv_blocks_total += mine.kv_blocks_total;
    stats.kv_blocks_active += mine.kv_blocks_active;
    stats.integrity_checks += mine.integrity_checks;
    stats.integrity_errors += mine.integrity_errors;
    active += each->active;
  }
  const OrderedJson json = {{"server_load", active},
                            {"running", stats.requests_running},
                            {"waiting", stats.requests_waiting},
                            {"kv_blocks_total", stats.kv_blocks_total},
                            {"kv_blocks_active", stats.kv_blocks_active},
                            {"integrity_checks", stats.integrity_checks},
                            {"integrity_errors", stats.integrity_errors}};
  reply(state, context, {.body = json.dump()});
}

void metrics(AppState& state, const RequestContext& context) {
  const HttpServerStats http = state.http_stats ? state.http_stats() : HttpServerStats{};
  std::vector<std::string> renders;
  for (AppState* each : state.all) {
    renders.push_back(each->metrics.render(each->host->backend().stats(), http));
  }
  reply(state, context,
        {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = merged(renders)});
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

// Routes for who runs the server, there only with --admin-routes: /sleep, /wake_up, /is_sleeping,
// /reset_prefix_cache, /server_info.
#include <ramjet/version.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/json.h"
#include "server/app_state.h"

namespace ramjet::server {
namespace {

constexpr double kDefaultSleepDrainS = 30;
constexpr double kMaxSleepDrainS = 3600;

/// The value of `name` in a query like "level=1&timeout=2"; empty if it is not there.
std::string_view query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part.starts_with(name) && part.substr(name.size()).starts_with('=')) {
      return part.substr(name.size() + 1);
    }
  }
  return {};
}

/// A number of the query, or `fallback` where it is absent; an error out of the range.
std::optional<ApiError> read_query(std::string_view query, std::string_view name, double max,
                                   double& value) {
  const std::string_view text = query_value(query, name);
  if (text.empty()) return std::nullopt;
  double read = -1;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), read);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() ||
      !(read >= 0 && read <= max)) {
    return bad_request(std::string(name),
                       fmt::format("'{}' must be a number from 0 to {}", name, max));
  }
  value = read;
  return std::nullopt;
}

void answer(const AppState& state, const RequestContext& context, const Status& status) {
  if (!status.ok()) {
    return reply_error(state, context, from_error(status.error(), context.request_id));
  }
  reply(state, context, {.body = R"({"status":"ok"})"});
}

/// Levels 1 and 2 of others are one: weights come back from the engine file either way.
void sleep(AppState& state, const RequestContext& context) {
  double level = 1, drain_s = kDefaultSleepDrainS;
  const std::string& query = context.request().query;
  auto error = read_query(query, "level", 2, level);
  if (!error) error = read_query(query, "timeout", kMaxSleepDrainS, drain_s);
  if (!error && level != 1 && level != 2) {
    error = bad_request("level", "'level' must be 1 or 2; both give back weights and KV memory");
  }
  if (error) return reply_error(state, context, *error);
  answer(state, context, state.host->backend().sleep(drain_s));
}

void wake_up(AppState& state, const RequestContext& context) {
  answer(state, context, state.host->backend().wake_up());
}

void is_sleeping(AppState& state, const RequestContext& context) {
  reply(state, context,
        {.body = fmt::format(R"({{"is_sleeping":{}}})", state.host->backend().sleeping())});
}

void reset_prefix_cache(AppState& state, const RequestContext& context) {
  answer(state, context, state.host->backend().reset_prefix_cache());
}

void server_info(AppState& state, const RequestContext& context) {
  const ModelHost& host = *state.host;
  const ExecutorStats stats = host.backend().stats();
  const OrderedJson json = {{"version", RAMJET_VERSION},
                            {"model",
                             {{"names", host.names()},
                              {"architecture", host.info().architecture},
                              {"parameters", host.info().parameters},
                              {"vocab_size", host.vocab_size()},
                              {"max_model_len", host.max_model_len()},
                              {"encoder", host.encoder() != nullptr}}},
                            {"limits",
                             {{"max_batch_size", host.limits().max_batch_size},
                              {"max_num_tokens", host.limits().max_num_tokens}}},
                            {"device", stats.device},
                            {"kv",
                             {{"bytes", stats.kv_bytes},
                              {"blocks", stats.kv_blocks_total},
                              {"block_tokens", stats.block_tokens}}},
                            {"fingerprint", host.fingerprint()},
                            {"created", host.created()},
                            {"uptime_s", steady_s() - state.start_s},
                            {"is_sleeping", host.backend().sleeping()},
                            {"draining", state.draining.load()}};
  reply(state, context, {.body = json.dump()});
}

}  // namespace

void add_admin_routes(Router& router, AppState& state) {
  const auto add = [&](const char* method, const char* path,
                       void (*handler)(AppState&, const RequestContext&)) {
    router.add({.method = method,
                .pattern = path,
                .slow = true,
                .handler = [&state, handler](RequestContext c) { handler(state, c); }});
  };
  add("POST", "/sleep", sleep);
  add("POST", "/wake_up", wake_up);
  add("POST", "/reset_prefix_cache", reset_prefix_cache);
  router.add({.method = "GET", .pattern = "/is_sleeping", .handler = [&state](RequestContext c) {
                is_sleeping(state, c);
              }});
  router.add({.method = "GET", .pattern = "/server_info", .handler = [&state](RequestContext c) {
                server_info(state, c);
              }});
}

}  // namespace ramjet::server

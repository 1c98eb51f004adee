#include "server/app_state.h"

#include <utility>

#include "base/log.h"

namespace ramjet::server {

namespace {

/// Its name is the path: ids of stored things have been cut off with what the route calls {rest}.
void trace_request(const AppState& state, const RequestContext& context, int status,
                   const LogFacts& facts) {
  const HttpRequest& request = context.request();
  const std::string_view whole = request.path;
  const std::string route(
      whole.substr(0, whole.size() - std::min(whole.size(), context.rest.size())));
  Span span;
  span.name = request.method + " " + route;
  span.traceparent = request.header("traceparent");
  span.seconds = steady_s() - context.start_s;
  span.status = status;
  span.texts = {{"http.request.method", request.method},
                {"http.route", route},
                {"ramjet.request.id", facts.id.empty() ? context.request_id : facts.id},
                {"gen_ai.provider.name", "ramjet"},
                {"gen_ai.request.model", state.host->name()}};
  span.numbers = {{"http.response.status_code", status}};
  if (!facts.finish.empty()) {
    span.texts.emplace_back("gen_ai.response.finish_reasons", facts.finish);
  }
  if (facts.usage != nullptr) {
    span.numbers.emplace_back("gen_ai.usage.input_tokens", facts.usage->prompt_tokens);
    span.numbers.emplace_back("gen_ai.usage.output_tokens", facts.usage->completion_tokens);
    span.numbers.emplace_back("gen_ai.usage.cached_tokens", facts.usage->cached_tokens);
  }
  state.tracer->record(std::move(span));
}

}  // namespace

void log_request(const AppState& state, const RequestContext& context, int status,
                 const LogFacts& facts) {
  const std::string& target = context.request().path;
  const bool is_probe = target == "/health" || target == "/metrics";
  if (state.tracer != nullptr && !is_probe) trace_request(state, context, status, facts);
  if (!state.log_requests) return;
  const HttpRequest& request = context.request();
  // The path and the id come from outside: nothing but printable ASCII reaches the log.
  std::string path = request.path.substr(0, 80);
  for (char& c : path) {
    if (c < 0x21 || c > 0x7e) c = '?';
  }
  std::string line = fmt::format("{} {} {} {:.1f} ms id={}", request.method.substr(0, 10), path,
                                 status, (steady_s() - context.start_s) * 1e3,
                                 facts.id.empty() ? context.request_id : facts.id);
  if (facts.usage != nullptr) {
    line += fmt::format(" prompt={} cached={} output={}", facts.usage->prompt_tokens,
                        facts.usage->cached_tokens, facts.usage->completion_tokens);
  }
  if (context.ticket != nullptr && !state.keys.empty()) {
    line += fmt::format(" key={}", context.ticket->key());  // its place, never itself
  }
  if (!facts.finish.empty()) line += " finish=" + facts.finish;
  // Probes come every few seconds and say nothing new.
  log_at(is_probe && status == 200 ? LogLevel::kDebug : LogLevel::kInfo, "{}", line);
}

void reply(const AppState& state, const RequestContext& context, HttpResponse response) {
  const int status = response.status;
  if (context.ticket != nullptr) context.ticket->leave();
  context.exchange->respond(std::move(response));
  log_request(state, context, status);
}

void reply_error(const AppState& state, const RequestContext& context, const ApiError& error) {
  reply(state, context, error_response(error));
}

}  // namespace ramjet::server

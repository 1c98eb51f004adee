#include "server/app_state.h"

#include <utility>

#include "base/log.h"

namespace ramjet::server {

void log_request(const AppState& state, const RequestContext& context, int status,
                 const LogFacts& facts) {
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
  if (!facts.finish.empty()) line += " finish=" + facts.finish;
  // Probes come every few seconds and say nothing new.
  const bool probe = path == "/health" || path == "/metrics";
  log_at(probe && status == 200 ? LogLevel::kDebug : LogLevel::kInfo, "{}", line);
}

void reply(const AppState& state, const RequestContext& context, HttpResponse response) {
  const int status = response.status;
  context.exchange->respond(std::move(response));
  log_request(state, context, status);
}

void reply_error(const AppState& state, const RequestContext& context, const ApiError& error) {
  reply(state, context, error_response(error));
}

}  // namespace ramjet::server

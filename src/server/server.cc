#include "server/server.h"

#include <ramjet/version.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "base/log.h"
#include "server/app_state.h"

namespace ramjet::server {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;
constexpr double kIdleHandOverS = 2;  // then connections that ask nothing are closed

std::string random_id() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

/// Ids go into headers and logs, so only plain ones are taken over.
bool is_plain_id(std::string_view id) {
  if (id.empty() || id.size() > kMaxRequestIdBytes) return false;
  for (char c : id) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == ':';
    if (!plain) return false;
  }
  return true;
}

/// KServe's tensors come as bytes behind JSON, with or without a type.
bool takes_json(const HttpRequest& request) {
  if (request.path.starts_with("/v2/")) return true;
  const std::string type = lower_case(request.header("content-type"));
  if (type.empty()) return true;
  const std::string media = type.substr(0, type.find(';'));
  return media.find("application/json") != std::string::npos || media.ends_with("+json");
}

}  // namespace

struct Server::Impl {
  ServerOptions options;
  std::unique_ptr<Tracer> tracer;  // outlives the state
  std::unique_ptr<AppState> state;
  Router router;
  std::atomic<bool> ready{false};  // state and router are filled
  std::unique_ptr<HttpServer> http;
  bool drained = false;

  void handle(const std::shared_ptr<Exchange>& exchange);
  void handle_options(const RequestContext& context, const Router::Match& match) const;
  void run_route(const Route& route, RequestContext context) const;
  bool let_in(RequestContext& context, size_t key) const;
  static void answer_while_loading(Exchange& exchange);
};

void Server::Impl::handle_options(const RequestContext& context, const Router::Match& match) const {
  reply(*state, context,
        {.status = 204,
         .headers = {{"Allow", match.allow},
                     {"Access-Control-Allow-Methods", match.allow},
                     {"Access-Control-Allow-Headers", "*, Authorization"},
                     {"Access-Control-Max-Age", "86400"}}});
}

/// What a handler throws (no memory, say) is this request's failure alone.
void Server::Impl::run_route(const Route& route, RequestContext context) const {
  const RequestContext kept = context;  // the handler consumes its own
  std::string what = "something unnamed";
  try {
    route.handler(std::move(context));
    return;
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  const Error error = internal_error("the handler of {} threw: {}", route.pattern, what);
  reply_error(*state, kept, from_error(error, kept.request_id));
}

void Server::Impl::answer_while_loading(Exchange& exchange) {
  if (exchange.request().path == "/version") {
    return exchange.respond({.body = R"({"version":")" RAMJET_VERSION "\"}"});
  }
  exchange.respond(error_response(error_of_status(503, "the model is loading")));
}

/// By the key's limits; else answered.
bool Server::Impl::let_in(RequestContext& context, size_t key) const {
  KeyRefusal refusal;
  context.ticket = state->gate.enter(key, context.start_s, refusal);
  if (context.ticket != nullptr) return true;
  HttpResponse response = error_response(error_of_status(429, refusal.message));
  for (auto& [name, value] : response.headers) {
    if (name == "Retry-After") value = std::to_string(refusal.retry_after_s);
  }
  reply(*state, context, std::move(response));
  return false;
}

/// Runs on an I/O thread: looks up the route and hands over.
void Server::Impl::handle(const std::shared_ptr<Exchange>& exchange) {
  if (!ready) return answer_while_loading(*exchange);
  RequestContext context{.exchange = exchange, .start_s = steady_s()};
  const HttpRequest& request = exchange->request();
  const std::string_view id = request.header("x-request-id");
  context.client_chose_id = is_plain_id(id);
  context.request_id = context.client_chose_id ? std::string(id) : random_id();
  exchange->add_header("X-Request-Id", context.request_id);
  exchange->add_header("Access-Control-Allow-Origin", "*");

  Router::Match match = router.find(request.method, request.path);
  if (!match.path_known) {
    return reply_error(*state, context,
                       error_of_status(404, "there is no such route; see / for those there are"));
  }
  if (request.method == "OPTIONS") return handle_options(context, match);
  if (match.route == nullptr) {
    HttpResponse response =
        error_response(error_of_status(405, "this route takes only " + match.allow));
    response.headers.emplace_back("Allow", match.allow);
    return reply(*state, context, std::move(response));
  }
  const std::optional<size_t> key = state->keys.find(request);
  if (match.route->needs_key && !key) {
    ApiError error = error_of_status(401, "a valid API key is needed: Authorization: Bearer KEY");
    error.code = "invalid_api_key";
    return reply_error(*state, context, error);
  }
  if (request.method == "POST" && !takes_json(request)) {
    return reply_error(*state, context,
                       error_of_status(415, "the Content-Type must be application/json"));
  }
  context.rest = std::move(match.rest);
  if (match.route->heavy && key && !let_in(context, *key)) return;
  WorkerPool& pool = match.route->slow    ? state->slow
                     : match.route->heavy ? state->heavy
                                          : state->light;
  pool.post([this, route = match.route, context = std::move(context)]() mutable {
    run_route(*route, std::move(context));
  });
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::listen(ServerOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  if (!impl->options.otlp_endpoint.empty()) {
    TracerOptions tracing;
    tracing.endpoint = impl->options.otlp_endpoint;
    tracing.service = impl->options.otlp_service;
    ASSIGN_OR_RETURN(impl->tracer, Tracer::create(std::move(tracing)));
  }
  auto http = HttpServer::start(
      impl->options.http,
      [raw = impl.get()](const std::shared_ptr<Exchange>& exchange) { raw->handle(exchange); });
  if (!http.ok()) return std::move(http).error();
  impl->http = std::move(http).value();
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

void Server::serve(std::unique_ptr<ModelHost> host) {
  const ServerOptions& options = impl_->options;
  impl_->state = std::make_unique<AppState>(
      std::move(host), AppState::Options{options.api_keys, options.key_limits, options.workers});
  AppState& state = *impl_->state;
  state.log_requests = options.log_requests;
  state.all = {&state};
  state.tracer = impl_->tracer.get();
  state.http_stats = [http = impl_->http.get()] { return http->stats(); };
  add_ops_routes(impl_->router, state);
  add_page_routes(impl_->router, state);
  add_models_routes(impl_->router, state);
  add_completion_routes(impl_->router, state);
  add_chat_routes(impl_->router, state);
  add_messages_routes(impl_->router, state);
  add_responses_routes(impl_->router, state);
  add_tokenize_routes(impl_->router, state);
  add_kserve_routes(impl_->router, state);
  add_embed_routes(impl_->router, state);
  add_score_routes(impl_->router, state);
  if (options.admin_routes) add_admin_routes(impl_->router, state);
  impl_->ready = true;
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options,
                                              std::unique_ptr<ModelHost> host) {
  auto server = listen(std::move(options));
  if (server.ok()) (*server)->serve(std::move(host));
  return server;
}

Server::~Server() { drain(0); }

int Server::port() const { return impl_->http->port(); }

void Server::begin_drain() {
  if (impl_->ready) impl_->state->draining = true;
}

void Server::hand_over(double deadline_s) {
  if (impl_->drained) return;
  impl_->http->stop_accepting();
  const double begin_s = steady_s();
  double quiet_s = begin_s;  // since when nothing is generated
  while (impl_->http->stats().connections > 0) {
    const double now_s = steady_s();
    if (impl_->ready && impl_->state->active > 0) quiet_s = now_s;
    if (now_s > begin_s + deadline_s || now_s > quiet_s + kIdleHandOverS) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void Server::drain(double deadline_s) {
  if (std::exchange(impl_->drained, true)) return;
  if (!impl_->ready) return impl_->http->stop(0);
  begin_drain();
  const double end_s = steady_s() + deadline_s;
  const auto wait = [this](double until_s) {
    while (impl_->state->active > 0 && steady_s() < until_s) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  wait(end_s);
  const Status drained = impl_->state->host->backend().drain(std::max(0.0, end_s - steady_s()));
  if (!drained.ok()) log_warn("drain: {}", drained.error().message);
  wait(steady_s() + 5);  // the last events are on their way
  impl_->http->stop(2);
}

}  // namespace ramjet::server

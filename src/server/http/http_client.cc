#include "server/http/http_client.h"

#include <fmt/core.h>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "base/log.h"
#include "server/http/asio.h"

namespace ramjet::server {
namespace {

namespace http = boost::beast::http;
using tcp = net::ip::tcp;
constexpr size_t kReadBytes = 16 << 10;

Error transport_error(std::string_view what, const error_code& ec) {
  return make_error(ErrorCode::kUnavailable, "{}: {}", what, ec.message());
}

}  // namespace

Result<ParsedUrl> parse_url(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://")) {
    return unsupported("{}: https is not supported here; use a local proxy that ends TLS", url);
  }
  if (!url.starts_with(kScheme)) return invalid_argument("'{}' does not begin with http://", url);
  std::string_view rest = url.substr(kScheme.size());
  ParsedUrl out;
  const size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) out.path = rest.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();
  const size_t bracket = authority.find(']');
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  out.port = has_port ? std::string(authority.substr(colon + 1)) : "80";
  out.host = has_port ? authority.substr(0, colon) : authority;
  if (out.host.starts_with('[') && out.host.ends_with(']')) {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.host.empty() || out.port.empty()) return invalid_argument("'{}' names no host", url);
  return out;
}

struct HttpClient::Impl {
  /// One request under way: its socket, so that a timeout or the end can close it.
  struct Call {
    explicit Call(net::io_context& io) : socket(io), timer(io) {}
    tcp::socket socket;
    net::steady_timer timer;
    ClientRequest request;
    ClientEvents events;
    bool timed_out = false;
    bool reused = false;
    bool answered = false;  // a byte of the answer came
  };

  ParsedUrl url;
  net::io_context io{1};
  net::executor_work_guard<net::io_context::executor_type> work = net::make_work_guard(io);
  std::vector<tcp::socket> idle;
  std::set<std::shared_ptr<Call>> calls;
  std::vector<tcp::endpoint> endpoints;
  bool stopping = false;
  std::thread thread;

  net::awaitable<void> run(std::shared_ptr<Call> call);
  net::awaitable<Status> attempt(Call& call);
  net::awaitable<Status> connect(Call& call);
  net::awaitable<Status> read_answer(Call& call, bool& keep_alive);
  std::string request_text(const ClientRequest& request) const;
};

std::string HttpClient::Impl::request_text(const ClientRequest& request) const {
  std::string text = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\n", request.method, url.path,
                                 request.path, url.host, url.port);
  for (const auto& [name, value] : request.headers) text += fmt::format("{}: {}\r\n", name, value);
  if (request.method != "GET") text += fmt::format("Content-Length: {}\r\n", request.body.size());
  return text + "\r\n" + request.body;
}

net::awaitable<Status> HttpClient::Impl::connect(Call& call) {
  call.reused = !idle.empty();
  if (call.reused) {
    call.socket = std::move(idle.back());
    idle.pop_back();
    co_return ok_status();
  }
  error_code ec;
  if (endpoints.empty()) {
    tcp::resolver resolver(io);
    const auto found = co_await resolver.async_resolve(url.host, url.port, awaiting(ec));
    if (ec) co_return transport_error("cannot resolve the host", ec);
    for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  }
  ec = net::error::host_not_found;
  for (const tcp::endpoint& endpoint : endpoints) {
    if (call.timed_out) break;
    error_code ignored;
    call.socket.close(ignored);
    co_await call.socket.async_connect(endpoint, awaiting(ec));
    if (!ec) break;
  }
  if (ec) co_return transport_error("cannot connect", ec);
  error_code ignored;
  call.socket.set_option(tcp::no_delay(true), ignored);
  co_return ok_status();
}

net::awaitable<Status> HttpClient::Impl::read_answer(Call& call, bool& keep_alive) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(uint64_t{1} << 62);  // boost::none means no byte at all in Boost 1.74
  std::string input;
  std::unique_ptr<char[]> buffer(new char[kReadBytes]);
  bool told = false;
  while (!parser.is_done()) {
    error_code ec;
    const size_t n =
        co_await call.socket.async_read_some(net::buffer(buffer.get(), kReadBytes), awaiting(ec));
    if (ec == net::error::eof && told) {
      parser.put_eof(ec);
      if (ec) co_return transport_error("the answer ended early", ec);
      break;
    }
    if (ec) co_return transport_error("reading the answer", ec);
    call.answered = true;
    input.append(buffer.get(), n);
    while (!input.empty() && !parser.is_done()) {
      input.erase(0, parser.put(net::buffer(input), ec));
      if (ec == http::error::need_more) break;
      if (ec) co_return transport_error("the answer is not HTTP", ec);
      if (parser.is_header_done() && !told) {
        told = true;
        if (call.events.on_status) call.events.on_status(parser.get().result_int());
      }
      std::string& body = parser.get().body();
      if (!body.empty() && call.events.on_data) call.events.on_data(body);
      body.clear();
    }
  }
  keep_alive = parser.keep_alive() && input.empty();
  co_return ok_status();
}

net::awaitable<Status> HttpClient::Impl::attempt(Call& call) {
  Status status = co_await connect(call);
  if (!status.ok()) co_return status;
  const std::string text = request_text(call.request);
  size_t done = 0;
  while (done < text.size()) {
    error_code ec;
    done += co_await call.socket.async_write_some(
        net::buffer(text.data() + done, text.size() - done), awaiting(ec));
    if (ec) co_return transport_error("sending the request", ec);
  }
  bool keep_alive = false;
  status = co_await read_answer(call, keep_alive);
  if (status.ok() && keep_alive && !call.timed_out && !stopping) {
    idle.push_back(std::move(call.socket));
  }
  co_return status;
}

net::awaitable<void> HttpClient::Impl::run(std::shared_ptr<Call> call) {
  calls.insert(call);
  Status status = ok_status();
  if (stopping) {
    status = make_error(ErrorCode::kCancelled, "the client is closing");
  } else {
    call->timer.expires_after(
        std::chrono::microseconds(static_cast<int64_t>(call->request.timeout_s * 1e6)));
    call->timer.async_wait([weak = std::weak_ptr<Call>(call)](error_code ec) {
      const auto alive = weak.lock();
      if (ec || !alive) return;
      alive->timed_out = true;
      error_code ignored;
      alive->socket.close(ignored);
    });
    status = co_await attempt(*call);
    // A kept connection may have been closed by the server meanwhile: once more, on a new one.
    while (!status.ok() && call->reused && !call->answered && !call->timed_out && !stopping) {
      error_code ignored;
      call->socket.close(ignored);
      status = co_await attempt(*call);
    }
    call->timer.cancel();
  }
  if (!status.ok() && call->timed_out) {
    status =
        make_error(ErrorCode::kDeadlineExceeded, "no answer within {} s", call->request.timeout_s);
  }
  calls.erase(call);
  if (call->events.on_done) call->events.on_done(status);
}

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->thread = std::thread([this] { impl_->io.run(); });
}

HttpClient::~HttpClient() {
  net::post(impl_->io, [this] {
    impl_->stopping = true;
    impl_->idle.clear();
    for (const auto& call : impl_->calls) {
      error_code ignored;
      call->socket.close(ignored);
    }
    impl_->work.reset();
  });
  impl_->thread.join();
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(std::string_view base_url) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->url, parse_url(base_url));
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

void HttpClient::send(ClientRequest request, ClientEvents events) {
  auto call = std::make_shared<Impl::Call>(impl_->io);
  call->request = std::move(request);
  call->events = std::move(events);
  net::co_spawn(
      impl_->io, [this, call] { return impl_->run(call); }, net::detached);
}

Result<ClientResponse> HttpClient::fetch(ClientRequest request) {
  ClientResponse response;
  std::promise<Status> done;
  send(std::move(request), {.on_status = [&](int status) { response.status = status; },
                            .on_data = [&](std::string_view bytes) { response.body += bytes; },
                            .on_done = [&](const Status& status) { done.set_value(status); }});
  const Status status = done.get_future().get();
  if (!status.ok()) return status.error();
  return response;
}

}  // namespace ramjet::server

#include "server/http/http_client.h"

#include <fmt/core.h>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
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

Headers headers_of(const http::response<http::string_body>& message) {
  Headers out;
  for (const auto& field : message) {
    const auto name = field.name_string(), value = field.value();
    out.emplace_back(lower_case({name.data(), name.size()}),
                     std::string(value.data(), value.size()));
  }
  return out;
}

/// A connection: TCP, and TLS over it for https.
struct Link {
  explicit Link(net::io_context& io) : socket(io) {}
  tcp::socket socket;
  std::unique_ptr<net::ssl::stream<tcp::socket&>> tls;

  void close() {
    error_code ignored;
    socket.close(ignored);
  }
  net::awaitable<size_t> read_some(net::mutable_buffer buffer, error_code& ec) {
    if (tls) co_return co_await tls->async_read_some(buffer, awaiting(ec));
    co_return co_await socket.async_read_some(buffer, awaiting(ec));
  }
  net::awaitable<size_t> write_some(net::const_buffer buffer, error_code& ec) {
    if (tls) co_return co_await tls->async_write_some(buffer, awaiting(ec));
    co_return co_await socket.async_write_some(buffer, awaiting(ec));
  }
};

/// The system's authorities: OpenSSL's own places, and those of distributions that differ.
void trust_system(net::ssl::context& context) {
  error_code ignored;
  context.set_default_verify_paths(ignored);
  for (const char* bundle : {"/etc/ssl/certs/ca-certificates.crt",
                             "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
    context.load_verify_file(bundle, ignored);
  }
  context.set_verify_mode(net::ssl::verify_peer, ignored);
}

}  // namespace

Result<ParsedUrl> parse_url(std::string_view url) {
  ParsedUrl out;
  out.tls = url.starts_with("https://");
  const std::string_view scheme = out.tls ? "https://" : "http://";
  if (!url.starts_with(scheme)) {
    return invalid_argument("'{}' begins with neither http:// nor https://", url);
  }
  std::string_view rest = url.substr(scheme.size());
  const size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) out.path = rest.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();
  const size_t bracket = authority.find(']');
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  out.port = has_port ? std::string(authority.substr(colon + 1)) : out.tls ? "443" : "80";
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
    explicit Call(net::io_context& io) : link(std::make_unique<Link>(io)), timer(io) {}
    std::unique_ptr<Link> link;
    net::steady_timer timer;
    ClientRequest request;
    ClientEvents events;
    bool timed_out = false;
    bool aborted = false;
    bool reused = false;
    bool answered = false;  // a byte of the answer came
  };

  ParsedUrl url;
  net::io_context io{1};
  net::executor_work_guard<net::io_context::executor_type> work = net::make_work_guard(io);
  std::unique_ptr<net::ssl::context> tls;  // for https
  std::vector<std::unique_ptr<Link>> idle;
  std::set<std::shared_ptr<Call>> calls;
  std::vector<tcp::endpoint> endpoints;
  bool stopping = false;
  std::thread thread;

  net::awaitable<void> run(std::shared_ptr<Call> call);
  net::awaitable<Status> attempt(Call& call);
  net::awaitable<Status> connect(Call& call);
  net::awaitable<Status> shake_hands(Call& call);
  net::awaitable<Status> read_answer(Call& call, bool& keep_alive);
  std::string request_text(const ClientRequest& request) const;
  void close_calls() {
    for (const auto& call : calls) {
      call->aborted = true;
      if (call->link) call->link->close();
    }
  }
};

std::string HttpClient::Impl::request_text(const ClientRequest& request) const {
  const bool usual_port = url.port == (url.tls ? "443" : "80");
  std::string text = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}{}\r\n", request.method, url.path,
                                 request.path, url.host, usual_port ? "" : ":" + url.port);
  for (const auto& [name, value] : request.headers) text += fmt::format("{}: {}\r\n", name, value);
  const bool bodiless = request.method == "GET" || request.method == "HEAD";
  if (!bodiless) text += fmt::format("Content-Length: {}\r\n", request.body.size());
  return text + "\r\n" + request.body;
}

net::awaitable<Status> HttpClient::Impl::connect(Call& call) {
  call.reused = !idle.empty();
  if (call.reused) {
    call.link = std::move(idle.back());
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
    call.link->close();
    co_await call.link->socket.async_connect(endpoint, awaiting(ec));
    if (!ec) break;
  }
  if (ec) co_return transport_error("cannot connect", ec);
  error_code ignored;
  call.link->socket.set_option(tcp::no_delay(true), ignored);
  if (tls) co_return co_await shake_hands(call);
  co_return ok_status();
}

net::awaitable<Status> HttpClient::Impl::shake_hands(Call& call) {
  auto stream = std::make_unique<net::ssl::stream<tcp::socket&>>(call.link->socket, *tls);
  error_code ec;
  stream->set_verify_callback(net::ssl::host_name_verification(url.host), ec);
  ::SSL_set_tlsext_host_name(stream->native_handle(), url.host.c_str());
  if (!ec) co_await stream->async_handshake(net::ssl::stream_base::client, awaiting(ec));
  if (ec) co_return transport_error("no TLS connection with " + url.host, ec);
  call.link->tls = std::move(stream);
  co_return ok_status();
}

net::awaitable<Status> HttpClient::Impl::read_answer(Call& call, bool& keep_alive) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(uint64_t{1} << 62);  // boost::none means no byte at all in Boost 1.74
  parser.skip(call.request.method == "HEAD");
  std::string input;
  std::unique_ptr<char[]> buffer(new char[kReadBytes]);
  bool told = false;
  while (!parser.is_done()) {
    error_code ec;
    const size_t n = co_await call.link->read_some(net::buffer(buffer.get(), kReadBytes), ec);
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
        if (call.events.on_headers) call.events.on_headers(headers_of(parser.get()));
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
    done += co_await call.link->write_some(net::buffer(text.data() + done, text.size() - done), ec);
    if (ec) co_return transport_error("sending the request", ec);
  }
  bool keep_alive = false;
  status = co_await read_answer(call, keep_alive);
  if (status.ok() && keep_alive && !call.timed_out && !stopping) {
    idle.push_back(std::move(call.link));
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
      if (alive->link) alive->link->close();
    });
    status = co_await attempt(*call);
    // A kept connection may have been closed by the server meanwhile: once more, on a new one.
    while (!status.ok() && call->reused && !call->answered && !call->timed_out && !call->aborted) {
      call->link = std::make_unique<Link>(io);
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
    impl_->close_calls();
    impl_->work.reset();
  });
  impl_->thread.join();
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(std::string_view base_url) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->url, parse_url(base_url));
  if (impl->url.tls) {
    impl->tls = std::make_unique<net::ssl::context>(net::ssl::context::tls_client);
    trust_system(*impl->tls);
  }
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

void HttpClient::abort() {
  net::post(impl_->io, [this] { impl_->close_calls(); });
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
                            .on_headers = [&](const Headers& h) { response.headers = h; },
                            .on_data = [&](std::string_view bytes) { response.body += bytes; },
                            .on_done = [&](const Status& status) { done.set_value(status); }});
  const Status status = done.get_future().get();
  if (!status.ok()) return status.error();
  return response;
}

}  // namespace ramjet::server

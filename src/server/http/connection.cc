#include "server/http/connection.h"

#include <fmt/core.h>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"

namespace ramjet::server {
namespace http = boost::beast::http;
namespace {

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kPipelineBytes = 64 << 10;  // read ahead while an answer is being made

Connection::TimePoint now() { return net::steady_timer::clock_type::now(); }

std::chrono::nanoseconds seconds(double s) {
  return std::chrono::nanoseconds(static_cast<int64_t>(s * 1e9));
}

std::string error_body(int status, std::string_view message) {
  const char* type = status == 503   ? "unavailable_error"
                     : status == 500 ? "server_error"
                                     : "invalid_request_error";
  nlohmann::ordered_json error = {
      {"message", message}, {"type", type}, {"param", nullptr}, {"code", nullptr}};
  return nlohmann::ordered_json{{"error", std::move(error)}}.dump();
}

/// What the client is told for a request that does not parse.
std::pair<int, std::string> parse_failure(error_code ec, const HttpLimits& limits) {
  if (ec == http::error::body_limit) {
    return {413, fmt::format("the request body is larger than {} bytes", limits.max_body_bytes)};
  }
  if (ec == http::error::header_limit) {
    return {431, fmt::format("the request line and headers are larger than {} bytes",
                             limits.max_header_bytes)};
  }
  if (ec == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  return {400, "the request is not valid HTTP: " + ec.message()};
}

}  // namespace

struct Connection::Parser {
  http::request_parser<http::string_body> http;
};

Connection::Connection(net::io_context& io, net::ip::tcp::socket socket,
                       std::shared_ptr<ConnectionShared> shared)
    : count_(shared), shared_(std::move(shared)), io_(io), socket_(std::move(socket)), event_(io) {
  if (shared_->tls != nullptr) tls_ = std::make_unique<TlsSession>(*shared_->tls);
}

Connection::~Connection() { shared_->body_bytes -= charged_; }

void Connection::start() {
  net::co_spawn(
      io_, [self = shared_from_this()] { return self->run(); }, net::detached);
}

net::awaitable<void> Connection::run() {
  const auto self = shared_from_this();
  try {
    while (!closed_ && co_await serve_one()) {
    }
  } catch (const std::exception& e) {
    log_error("connection ended by an exception: {}", e.what());
  }
  if (exchange_) {
    exchange_->detach();
    exchange_->set_gone();
    exchange_.reset();
  }
  close();
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  wake();
}

void Connection::begin_stop() {
  if (!exchange_ && !writing_) close();
}

void Connection::sweep(TimePoint time) {
  const bool given_up = exchange_ && exchange_->gone();  // or its buffer is full
  if (writing_ && (given_up || time > write_deadline_)) {
    if (exchange_) exchange_->set_gone();
    close();
  }
  // The handler dropped its share without finishing.
  if (exchange_ && exchange_.use_count() == 1) {
    exchange_->respond({.status = 500, .body = error_body(500, "the request was not answered")});
    exchange_->end();
  }
}

void Connection::wake() {
  woken_ = true;
  event_.cancel();
}

/// Returns at the next wake() or at the deadline. Spurious returns are possible.
net::awaitable<void> Connection::wait(TimePoint deadline) {
  if (!woken_) {
    error_code ec;
    event_.expires_at(deadline);
    co_await event_.async_wait(awaiting(ec));
  }
  woken_ = false;
}

void Connection::start_read() {
  const size_t cap = exchange_ ? kPipelineBytes : shared_->limits.max_header_bytes + kReadBytes;
  if (reading_ || eof_ || closed_ || input_.size() >= cap) return;
  if (!read_buffer_) read_buffer_ = std::make_unique<char[]>(kReadBytes);
  reading_ = true;
  socket_.async_read_some(net::buffer(read_buffer_.get(), kReadBytes),
                          [self = shared_from_this()](error_code ec, size_t n) {
                            self->reading_ = false;
                            if (ec || !self->take_bytes(n)) {
                              self->eof_ = true;
                              if (self->exchange_) self->exchange_->set_gone();
                            } else if (self->exchange_) {
                              self->start_read();
                            }
                            self->wake();
                          });
}

/// What was read into the buffer. False: the peer ends, or breaks, the TLS session.
bool Connection::take_bytes(size_t count) {
  const std::string_view bytes(read_buffer_.get(), count);
  if (tls_ == nullptr) {
    input_.append(bytes);
    return true;
  }
  const bool goes_on = tls_->receive(bytes, input_, tls_out_);
  flush_tls();
  return goes_on;
}

/// Sends what there is of tls_out_; wakes the connection after each part.
void Connection::flush_tls() {
  if (tls_out_.empty() || tls_writing_ || closed_) return;
  tls_writing_ = writing_ = true;
  write_deadline_ = now() + seconds(shared_->limits.write_timeout_s);
  auto bytes = std::make_shared<std::string>(std::move(tls_out_));  // with its handler
  tls_out_.clear();
  socket_.async_write_some(net::buffer(*bytes),
                           [self = shared_from_this(), bytes](error_code ec, size_t n) {
                             self->tls_writing_ = self->writing_ = false;
                             if (ec) return self->close();
                             self->tls_out_.insert(0, *bytes, n, std::string::npos);
                             self->flush_tls();
                             self->wake();
                           });
}

net::awaitable<bool> Connection::write_tls(std::string_view bytes) {
  if (closed_ || !tls_->send(bytes, tls_out_)) co_return false;
  flush_tls();
  while (!closed_ && (tls_writing_ || !tls_out_.empty())) {
    co_await wait(now() + seconds(shared_->limits.write_timeout_s));
  }
  woken_ = true;  // for who waits for what also came
  co_return !closed_;
}

net::awaitable<Connection::ReadResult> Connection::read_more(TimePoint deadline) {
  const size_t before = input_.size();
  while (true) {
    if (closed_) co_return ReadResult::kClosed;
    if (input_.size() > before) co_return ReadResult::kOk;
    if (eof_) co_return ReadResult::kClosed;
    if (now() >= deadline) co_return ReadResult::kTimeout;
    start_read();
    co_await wait(deadline);
  }
}

net::awaitable<bool> Connection::write(std::string bytes) {
  if (tls_ != nullptr) co_return co_await write_tls(bytes);
  size_t done = 0;
  while (done < bytes.size()) {
    if (closed_) co_return false;
    error_code ec;
    writing_ = true;
    write_deadline_ = now() + seconds(shared_->limits.write_timeout_s);
    done += co_await socket_.async_write_some(net::buffer(bytes.data() + done, bytes.size() - done),
                                              awaiting(ec));
    writing_ = false;
    if (ec) co_return false;
  }
  co_return !closed_;
}

/// Answers for the HTTP layer itself and ends the connection.
net::awaitable<void> Connection::refuse(int status, std::string message) {
  ++shared_->bad_requests;
  HttpResponse response{.status = status, .body = error_body(status, message)};
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  response.headers.emplace_back("Content-Length", std::to_string(response.body.size()));
  if (co_await write(head_text(response, false, true) + response.body)) co_await linger();
}

/// Lets the peer read our last answer before the socket closes: unread input would turn the close
/// into a reset that discards it.
net::awaitable<void> Connection::linger() {
  error_code ignored;
  if (tls_ != nullptr) {
    tls_->close(tls_out_);
    co_await write_tls({});
  }
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  const TimePoint deadline = now() + std::chrono::seconds(2);
  size_t left = 2 * shared_->limits.max_body_bytes;
  while (left > 0) {
    input_.clear();
    if (co_await read_more(deadline) != ReadResult::kOk) break;
    left -= std::min(left, input_.size());
  }
}

std::string Connection::head_text(const HttpResponse& head, bool chunked, bool close) const {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", head.status, status_text(head.status));
  if (head.status != 204) text += fmt::format("Content-Type: {}\r\n", head.content_type);
  if (chunked) text += "Transfer-Encoding: chunked\r\n";
  for (const auto& [name, value] : head.headers) text += fmt::format("{}: {}\r\n", name, value);
  if (close) {
    text += "Connection: close\r\n";
  } else if (client_is_http10_) {
    text += "Connection: keep-alive\r\n";
  }
  return text + "\r\n";
}

/// Counts body bytes of all requests, so that many large ones cannot take all memory.
bool Connection::charge_body(size_t bytes) {
  if (bytes <= charged_) return true;
  const size_t more = bytes - charged_;
  charged_ = bytes;
  return shared_->body_bytes.fetch_add(more) + more <= shared_->limits.max_bodies_bytes;
}

/// Feeds the parser until its headers are complete. False: the connection is to close.
net::awaitable<bool> Connection::read_header(Parser& parser) {
  const HttpLimits& limits = shared_->limits;
  bool started = !input_.empty();
  TimePoint deadline = now() + seconds(started ? limits.header_timeout_s : limits.idle_timeout_s);
  while (!parser.http.is_header_done()) {
    error_code ec;
    if (!input_.empty()) {
      if (!started) deadline = now() + seconds(limits.header_timeout_s);
      started = true;
      const size_t used = parser.http.put(net::buffer(input_), ec);
      input_.erase(0, used);
      if (ec && ec != http::error::need_more) {
        auto [status, message] = parse_failure(ec, limits);
        co_await refuse(status, std::move(message));
        co_return false;
      }
      if (parser.http.is_header_done()) break;
    }
    if (shared_->stopping) co_return false;
    const ReadResult read = co_await read_more(deadline);
    if (read == ReadResult::kTimeout && started) {
      co_await refuse(408, fmt::format("the request's headers did not arrive within {} s",
                                       limits.header_timeout_s));
    }
    if (read != ReadResult::kOk) co_return false;
  }
  co_return true;
}

net::awaitable<bool> Connection::read_body(Parser& parser) {
  const HttpLimits& limits = shared_->limits;
  const auto length = parser.http.content_length();
  const TimePoint total = now() + seconds(limits.body_total_timeout_s);
  if (length && *length > limits.max_body_bytes) {
    auto [status, message] = parse_failure(http::error::body_limit, limits);
    co_await refuse(status, std::move(message));
    co_return false;
  }
  if (!parser.http.is_done() && parser.http.get()[http::field::expect] == "100-continue") {
    if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
  }
  while (!parser.http.is_done()) {
    error_code ec;
    if (!input_.empty()) {
      const size_t used = parser.http.put(net::buffer(input_), ec);
      input_.erase(0, used);
    }
    if (ec && ec != http::error::need_more) {
      auto [status, message] = parse_failure(ec, limits);
      co_await refuse(status, std::move(message));
      co_return false;
    }
    if (!charge_body(parser.http.get().body().size())) {
      co_await refuse(503, "too many large requests at once; try again");
      co_return false;
    }
    if (parser.http.is_done()) break;
    if (!ec && !input_.empty()) continue;
    if (input_.size() >= limits.max_header_bytes) {  // all that is read ahead, and no body yet
      co_await refuse(431, fmt::format("chunk extensions or trailers are larger than {} bytes",
                                       limits.max_header_bytes));
      co_return false;
    }
    const TimePoint deadline = std::min(total, now() + seconds(limits.body_timeout_s));
    const ReadResult read = co_await read_more(deadline);
    if (read == ReadResult::kTimeout) {
      co_await refuse(408, "the request's body did not arrive in time");
    }
    if (read != ReadResult::kOk) co_return false;
  }
  co_return true;
}

/// One request and its answer. False: the connection is to close.
net::awaitable<bool> Connection::serve_one() {
  HttpRequest request;
  bool keep_alive = false;
  {
    Parser parser;
    parser.http.header_limit(static_cast<uint32_t>(shared_->limits.max_header_bytes));
    parser.http.body_limit(shared_->limits.max_body_bytes);
    if (!co_await read_header(parser)) co_return false;
    if (!co_await read_body(parser)) co_return false;
    auto message = parser.http.release();
    request.method = std::string(message.method_string());
    const std::string target(message.target());
    const size_t mark = target.find('?');
    if (mark != std::string::npos) request.query = target.substr(mark + 1);
    if (!percent_decode(std::string_view(target).substr(0, mark), request.path)) {
      co_await refuse(400, "the request's path is not well-formed");
      co_return false;
    }
    request.version = static_cast<int>(message.version());
    for (const auto& field : message.base()) {
      request.headers.emplace_back(
          lower_case({field.name_string().data(), field.name_string().size()}),
          std::string(field.value()));
    }
    request.body = std::move(message.body());
    keep_alive = message.keep_alive();
  }
  client_is_http10_ = request.version < 11;
  exchange_ = std::make_shared<Exchange>(std::move(request), shared_->limits.stream_buffer_bytes,
                                         [&io = io_, weak = weak_from_this()] {
                                           if (auto self = weak.lock())
                                             net::post(io, [self] { self->wake(); });
                                         });
  start_read();  // notices a client that goes away while it waits
  shared_->handler(exchange_);
  keep_alive = co_await answer(exchange_->request(), keep_alive);
  exchange_->detach();
  exchange_.reset();
  shared_->body_bytes -= std::exchange(charged_, 0);
  if (!keep_alive && !closed_ && !eof_) co_await linger();
  co_return keep_alive;
}

/// Writes what the handler produces. True: the connection may take another request.
net::awaitable<bool> Connection::answer(const HttpRequest& request, bool keep_alive) {
  const bool head_only = request.method == "HEAD";
  bool chunked = false;
  bool event_stream = false;
  bool head_written = false;
  TimePoint silence = TimePoint::max();
  while (true) {
    Exchange::Output out = exchange_->take();
    if (closed_ || eof_ || out.too_slow) {
      exchange_->set_gone();
      co_return false;
    }
    std::string bytes;
    if (out.has_head) {
      head_written = true;
      keep_alive = keep_alive && !shared_->stopping && !shared_->last_answers;
      chunked = out.streaming && request.version >= 11 && !head_only;
      if (out.streaming && !chunked) keep_alive = false;
      event_stream = out.streaming && out.head.content_type.starts_with("text/event-stream");
      const bool has_length = !out.streaming && out.head.status != 204;
      if (has_length) {
        out.head.headers.emplace_back("Content-Length", std::to_string(out.bytes.size()));
      }
      bytes = head_text(out.head, chunked, !keep_alive);
    }
    const bool comment = event_stream && out.bytes.empty() && !out.ended && now() >= silence;
    if (comment) out.bytes = ": keep-alive\n\n";
    if (head_written && !head_only && !out.bytes.empty()) {
      bytes += chunked ? fmt::format("{:x}\r\n{}\r\n", out.bytes.size(), out.bytes) : out.bytes;
    }
    if (out.ended && chunked) bytes += "0\r\n\r\n";
    if (!bytes.empty()) {
      if (!co_await write(std::move(bytes))) co_return false;
      silence = now() + seconds(shared_->limits.keep_alive_comment_s);
    }
    if (out.ended && head_written) co_return keep_alive;
    co_await wait(event_stream ? silence : TimePoint::max());
  }
}

}  // namespace ramjet::server

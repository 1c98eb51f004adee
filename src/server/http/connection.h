// Connection: the life of one client's socket. Internal to http/.
//
// Everything here runs on the one thread of its io_context, except what Exchange hides. The
// connection keeps itself alive while its coroutine or a read is pending; `Shared` outlives all.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "server/http/asio.h"
#include "server/http/http_server.h"
#include "server/http/tls.h"

namespace ramjet::server {

/// What all connections of a server share.
struct ConnectionShared {
  HttpLimits limits;
  HttpServer::Handler handler;
  std::atomic<int> connections{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> bad_requests{0};
  std::atomic<size_t> body_bytes{0};  // of requests being read or handled
  std::atomic<bool> stopping{false};
  std::atomic<bool> last_answers{false};  // each connection closes after its next
  std::shared_ptr<TlsContext> tls;        // with the sessions; null: none
};

/// Counts its owner among the connections; the owner's first member, so that the count falls last.
class ConnectionCount {
 public:
  explicit ConnectionCount(std::shared_ptr<ConnectionShared> shared) : shared_(std::move(shared)) {
    ++shared_->connections;
  }
  ~ConnectionCount() { --shared_->connections; }
  ConnectionCount(const ConnectionCount&) = delete;
  ConnectionCount& operator=(const ConnectionCount&) = delete;

 private:
  const std::shared_ptr<ConnectionShared> shared_;  // with the server and the other connections
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using TimePoint = net::steady_timer::clock_type::time_point;

  Connection(net::io_context& io, net::ip::tcp::socket socket,
             std::shared_ptr<ConnectionShared> shared);
  ~Connection();

  /// Spawns the coroutine that serves until either side closes.
  void start();
  /// Called about four times a second: ends stalled writes and abandoned exchanges.
  void sweep(TimePoint now);
  /// The server is stopping: idle connections close, busy ones after their answer.
  void begin_stop();
  void close();

 private:
  struct Parser;
  enum class ReadResult { kOk, kClosed, kTimeout };

  net::awaitable<void> run();
  net::awaitable<bool> serve_one();
  net::awaitable<bool> read_header(Parser& parser);
  net::awaitable<bool> read_body(Parser& parser);
  net::awaitable<bool> answer(const HttpRequest& request, bool keep_alive);
  net::awaitable<ReadResult> read_more(TimePoint deadline);
  net::awaitable<void> wait(TimePoint deadline);
  net::awaitable<bool> write(std::string bytes);
  net::awaitable<void> refuse(int status, std::string message);
  net::awaitable<void> linger();

  void start_read();
  bool take_bytes(size_t count);
  void flush_tls();
  net::awaitable<bool> write_tls(std::string_view bytes);
  void wake();
  bool charge_body(size_t bytes);
  std::string head_text(const HttpResponse& head, bool chunked, bool close) const;

  const ConnectionCount count_;
  const std::shared_ptr<ConnectionShared> shared_;  // with the server and the other connections
  net::io_context& io_;
  net::ip::tcp::socket socket_;
  net::steady_timer event_;
  std::shared_ptr<Exchange> exchange_;  // shared with its handler
  std::string input_;                   // bytes read and not yet parsed
  std::unique_ptr<char[]> read_buffer_;
  size_t charged_ = 0;               // bytes counted in shared_->body_bytes
  std::unique_ptr<TlsSession> tls_;  // null: none
  std::string tls_out_;              // encrypted and not yet sent
  bool tls_writing_ = false;
  bool reading_ = false;
  bool eof_ = false;
  bool woken_ = false;
  bool closed_ = false;
  bool writing_ = false;
  bool client_is_http10_ = false;
  TimePoint write_deadline_{};
};

}  // namespace ramjet::server

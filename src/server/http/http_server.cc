#include "server/http/http_server.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/log.h"
#include "server/http/asio.h"
#include "server/http/connection.h"
#include "server/http/tls.h"

namespace ramjet::server {
namespace {

using tcp = net::ip::tcp;
constexpr auto kSweepInterval = std::chrono::milliseconds(250);
constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    "Content-Length: 111\r\nConnection: close\r\n\r\n"
    R"({"error":{"message":"the server has too many connections",)"
    R"("type":"unavailable_error","param":null,"code":null}})";

/// One thread, its io_context and the connections that live there.
struct IoLane {
  net::io_context io{1};
  net::executor_work_guard<net::io_context::executor_type> work = net::make_work_guard(io);
  net::steady_timer sweep_timer{io};
  std::vector<std::weak_ptr<Connection>> connections;
  std::thread thread;
  bool sweeping = false;

  void adopt(std::shared_ptr<Connection> connection) {
    connections.push_back(connection);
    connection->start();
    if (!sweeping) schedule_sweep();
  }
  void schedule_sweep() {
    sweeping = true;
    sweep_timer.expires_after(kSweepInterval);
    sweep_timer.async_wait([this](error_code ec) {
      sweeping = false;
      if (ec) return;
      const auto now = net::steady_timer::clock_type::now();
      std::erase_if(connections, [&](const std::weak_ptr<Connection>& weak) {
        const auto connection = weak.lock();
        if (connection) connection->sweep(now);
        return !connection;
      });
      if (!connections.empty()) schedule_sweep();  // an idle server sleeps
    });
  }
  template <class F>
  void for_each(F f) {
    for (const auto& weak : connections) {
      if (auto connection = weak.lock()) f(*connection);
    }
  }
};

void set_socket_options(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(tcp::socket::keep_alive(true), ignored);
  // A peer that vanished without a word is noticed after about a minute and a half.
  const int fd = socket.native_handle();
  const int idle_s = 60, interval_s = 10, probes = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

}  // namespace

struct HttpServer::Impl {
  std::shared_ptr<ConnectionShared> shared = std::make_shared<ConnectionShared>();
  std::vector<std::unique_ptr<IoLane>> lanes;
  std::unique_ptr<tcp::acceptor> acceptor;
  int port = 0;
  bool stopped = false;

  Status listen(const Options& options);
  net::awaitable<void> accept_loop();
  void take(IoLane& lane, tcp::socket socket);
  bool wait_for_connections(double deadline_s);
};

Status HttpServer::Impl::listen(const Options& options) {
  const std::string& host = options.host;
  const int wanted_port = options.port;
  error_code ec;
  tcp::resolver resolver(lanes[0]->io);
  const auto found =
      resolver.resolve(host, std::to_string(wanted_port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    return invalid_argument("cannot listen on host '{}': {}", host, ec.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor = std::make_unique<tcp::acceptor>(lanes[0]->io);
  acceptor->open(endpoint.protocol(), ec);
  if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);
  const int on = 1;
  if (!ec && options.reuse_port) {
    ::setsockopt(acceptor->native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  }
  if (!ec) acceptor->bind(endpoint, ec);
  if (!ec) acceptor->listen(net::socket_base::max_listen_connections, ec);
  if (ec) {
    return make_error(ErrorCode::kUnavailable, "cannot listen on {} port {}: {}", host, wanted_port,
                      ec.message());
  }
  port = acceptor->local_endpoint(ec).port();
  return ok_status();
}

void HttpServer::Impl::take(IoLane& lane, tcp::socket socket) {
  if (shared->connections >= shared->limits.max_connections) {
    ++shared->refused;
    if (shared->tls != nullptr) return;  // it would not understand
    ::send(socket.native_handle(), kFull.data(), kFull.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  set_socket_options(socket);
  auto connection = std::make_shared<Connection>(lane.io, std::move(socket), shared);
  net::post(lane.io, [&lane, connection = std::move(connection)]() mutable {
    lane.adopt(std::move(connection));
  });
}

net::awaitable<void> HttpServer::Impl::accept_loop() {
  for (size_t next = 0; acceptor->is_open(); ++next) {
    IoLane& lane = *lanes[next % lanes.size()];
    error_code ec;
    tcp::socket socket = co_await acceptor->async_accept(lane.io, awaiting(ec));
    if (!ec) {
      take(lane, std::move(socket));
    } else if (acceptor->is_open()) {
      // Out of descriptors, most likely: others will close theirs.
      log_warn("accept failed: {}", ec.message());
      net::steady_timer pause(lanes[0]->io, std::chrono::milliseconds(100));
      co_await pause.async_wait(awaiting(ec));
    }
  }
}

bool HttpServer::Impl::wait_for_connections(double deadline_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(deadline_s);
  while (shared->connections > 0) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { stop(0); }

Result<std::unique_ptr<HttpServer>> HttpServer::start(Options options, Handler handler) {
  auto impl = std::make_unique<Impl>();
  impl->shared->limits = options.limits;
  impl->shared->handler = std::move(handler);
  for (int i = 0; i < std::max(1, options.threads); ++i) {
    impl->lanes.push_back(std::make_unique<IoLane>());
  }
  if (!options.certificate.empty() || !options.key.empty()) {
    ASSIGN_OR_RETURN(impl->shared->tls, TlsContext::load(options.certificate, options.key));
  }
  RETURN_IF_ERROR(impl->listen(options));
  net::co_spawn(impl->lanes[0]->io, impl->accept_loop(), net::detached);
  for (auto& lane : impl->lanes) {
    lane->thread = std::thread([&io = lane->io] { io.run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port; }

HttpServerStats HttpServer::stats() const {
  return {.connections = impl_->shared->connections,
          .connections_refused = impl_->shared->refused,
          .bad_requests = impl_->shared->bad_requests};
}

void HttpServer::stop_accepting() {
  impl_->shared->last_answers = true;
  net::post(impl_->lanes[0]->io, [this] {
    error_code ignored;
    impl_->acceptor->close(ignored);
  });
}

void HttpServer::stop(double grace_s) {
  if (std::exchange(impl_->stopped, true)) return;
  impl_->shared->stopping = true;
  net::post(impl_->lanes[0]->io, [this] {
    error_code ignored;
    impl_->acceptor->close(ignored);
  });
  for (auto& lane : impl_->lanes) {
    net::post(lane->io, [l = lane.get()] { l->for_each([](Connection& c) { c.begin_stop(); }); });
  }
  if (!impl_->wait_for_connections(grace_s)) {
    for (auto& lane : impl_->lanes) {
      net::post(lane->io, [l = lane.get()] { l->for_each([](Connection& c) { c.close(); }); });
    }
    impl_->wait_for_connections(5);
  }
  for (auto& lane : impl_->lanes) {
    lane->work.reset();
    net::post(lane->io, [l = lane.get()] { l->sweep_timer.cancel(); });
  }
  for (auto& lane : impl_->lanes) lane->thread.join();
}

}  // namespace ramjet::server

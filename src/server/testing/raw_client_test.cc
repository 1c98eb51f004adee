#include "server/testing/raw_client.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "server/http/message.h"

namespace ramjet::server {

RawClient::RawClient(int port, int receive_buffer) {
  fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
  if (receive_buffer > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) close();
}

RawClient::~RawClient() { close(); }

void RawClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool RawClient::fill(double timeout_s) {
  pollfd poll_fd{fd_, POLLIN, 0};
  if (fd_ < 0 || ::poll(&poll_fd, 1, static_cast<int>(timeout_s * 1e3)) <= 0) return false;
  char bytes[65536];
  const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

std::string RawClient::receive_until(std::string_view marker, double timeout_s) {
  size_t found;
  while ((found = buffer_.find(marker)) == std::string::npos) {
    if (!fill(timeout_s)) return {};
  }
  std::string out = buffer_.substr(0, found + marker.size());
  buffer_.erase(0, out.size());
  return out;
}

bool RawClient::closed_within(double timeout_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  while (std::chrono::steady_clock::now() < end) {
    pollfd poll_fd{fd_, POLLIN, 0};
    if (::poll(&poll_fd, 1, 50) <= 0) continue;
    char bytes[65536];
    if (::recv(fd_, bytes, sizeof bytes, 0) <= 0) return true;
  }
  return false;
}

RawResponse RawClient::receive(double timeout_s) {
  RawResponse response;
  const std::string head = receive_until("\r\n\r\n", timeout_s);
  if (head.size() < 12) return {};
  response.status = std::atoi(head.c_str() + 9);
  for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const size_t end = head.find("\r\n", at);
    const size_t colon = head.find(": ", at);
    response.headers[lower_case(head.substr(at, colon - at))] =
        head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (response.headers.contains("content-length")) {
    const auto length = std::stoul(response.headers["content-length"]);
    while (buffer_.size() < length) {
      if (!fill(timeout_s)) return {};
    }
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
  } else if (response.headers["transfer-encoding"] == "chunked") {
    while (true) {
      const std::string line = receive_until("\r\n", timeout_s);
      if (line.empty()) return {};
      const auto length = std::stoul(line, nullptr, 16);
      while (buffer_.size() < length + 2) {
        if (!fill(timeout_s)) return {};
      }
      response.body += buffer_.substr(0, length);
      buffer_.erase(0, length + 2);
      if (length == 0) break;
    }
  } else if (response.status != 204 && response.status != 100) {
    while (fill(timeout_s)) {
    }
    response.body = std::move(buffer_);
    buffer_.clear();
  }
  return response;
}

RawResponse RawClient::get(std::string_view path, std::string_view headers) {
  send(fmt::format("GET {} HTTP/1.1\r\nHost: test\r\n{}\r\n", path, headers));
  return receive();
}

std::string post_text(std::string_view path, std::string_view body, std::string_view headers) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n{}\r\n{}",
      path, body.size(), headers, body);
}

RawResponse RawClient::post(std::string_view path, std::string_view body,
                            std::string_view headers) {
  send(post_text(path, body, headers));
  return receive();
}

std::vector<std::string> sse_data(std::string_view body) {
  std::vector<std::string> out;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    std::string_view event = body.substr(0, end);
    if (event.starts_with("event: ")) event.remove_prefix(event.find('\n') + 1);
    if (event.starts_with("data: ")) out.emplace_back(event.substr(6));
    if (end == std::string_view::npos) break;
    body.remove_prefix(end + 2);
  }
  return out;
}

}  // namespace ramjet::server

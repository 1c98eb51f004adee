// RawClient: a blocking HTTP client for tests that may also send nonsense. Not thread-safe.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ramjet::server {

struct RawResponse {
  int status = 0;  // 0: the connection closed before a whole response
  std::map<std::string, std::string> headers;
  std::string body;
};

class RawClient {
 public:
  /// `receive_buffer`: SO_RCVBUF, to make a slow reader of it; 0 leaves it.
  explicit RawClient(int port, int receive_buffer = 0);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool send(std::string_view bytes);
  /// Reads one response. Gives up (status 0) after `timeout_s` without a byte.
  RawResponse receive(double timeout_s = 5);
  /// Reads until `marker` has come, and returns everything up to its end.
  std::string receive_until(std::string_view marker, double timeout_s = 5);
  /// True if the server closes within `timeout_s`; discards what it sends.
  bool closed_within(double timeout_s);
  void close();

  RawResponse get(std::string_view path, std::string_view headers = {});
  RawResponse post(std::string_view path, std::string_view body, std::string_view headers = {});

 private:
  bool fill(double timeout_s);

  int fd_ = -1;
  std::string buffer_;
};

/// The text of a POST request.
std::string post_text(std::string_view path, std::string_view body, std::string_view headers = {});
/// The payloads of the "data: " events of a stream.
std::vector<std::string> sse_data(std::string_view body);

}  // namespace ramjet::server

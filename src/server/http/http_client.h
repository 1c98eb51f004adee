// HttpClient: requests to one HTTP/1.1 server, answers as they stream in.
//
// send() may be called from any thread; the callbacks of all requests run on the client's one I/O
// thread and must not block. Connections are kept alive and used again. Every request has a
// timeout. The destructor ends what runs: on_done is called with kCancelled.
// https: the server's certificate and name are checked against the system's authorities (or
// SSL_CERT_FILE, SSL_CERT_DIR).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/message.h"

namespace ramjet::server {

struct ClientRequest {
  std::string method = "GET";
  std::string path;  // below the base URL's own path
  Headers headers;
  std::string body;
  double timeout_s = 600;
};

struct ClientEvents {
  std::function<void(int status)> on_status;
  std::function<void(const Headers& headers)> on_headers;  // after on_status; names in lower case
  std::function<void(std::string_view bytes)> on_data;     // of the body, in order
  std::function<void(const Status& status)> on_done;       // once, last
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;
};

class HttpClient {
 public:
  /// `base_url`: http[s]://host[:port][/path]. Errors: kInvalidArgument.
  static Result<std::unique_ptr<HttpClient>> create(std::string_view base_url);
  ~HttpClient();

  void send(ClientRequest request, ClientEvents events);
  /// Sends and waits for the whole answer. Not from a callback.
  Result<ClientResponse> fetch(ClientRequest request);
  /// Ends the requests that run now; each is done with an error. From any thread or callback.
  void abort();

  struct Impl;

 private:
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct ParsedUrl {
  std::string host;
  std::string port;
  std::string path;  // without a slash at its end
  bool tls = false;
};
Result<ParsedUrl> parse_url(std::string_view url);

}  // namespace ramjet::server

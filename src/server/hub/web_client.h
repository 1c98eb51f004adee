// WebClient: GET and HEAD of absolute URLs, following redirects between hosts.
//
// A token goes to the host it was made for and to no other. Not thread-safe, but abort() may be
// called from anywhere: it ends the request that runs and all later ones.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/http_client.h"

namespace ramjet::server {

struct WebAnswer {
  int status = 0;
  Headers headers;
  std::string body;  // empty where a sink took it
};

struct WebRequest {
  std::string method = "GET";
  std::string url;
  Headers headers;
  /// HEAD of a hub: only redirects within the host are followed, others are the answer.
  bool stay_on_host = false;
  double timeout_s = 60;
  /// Takes the body of a 2xx answer in parts, after `accept` has agreed to its head.
  std::function<void(std::string_view bytes)> sink;
  std::function<bool(int status, const Headers& headers)> accept;
};

class WebClient {
 public:
  /// `token` (may be empty) is sent to the host of `endpoint`.
  WebClient(std::string endpoint, std::string token);
  Result<WebAnswer> send(const WebRequest& request);
  void abort();

 private:
  Result<HttpClient*> client_of(const std::string& origin);
  Result<WebAnswer> send_once(const WebRequest& request, const std::string& url);

  std::string origin_, token_;
  std::mutex mutex_;  // of the clients, between send() and abort()
  std::map<std::string, std::unique_ptr<HttpClient>> clients_;
  std::atomic<bool> aborted_{false};
};

}  // namespace ramjet::server

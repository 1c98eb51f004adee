#include "server/hub/web_client.h"

#include <future>

namespace ramjet::server {
namespace {

constexpr int kMaxRedirects = 10;

/// "https://host:port" of an absolute URL.
std::string origin_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == url.npos) return std::string(url);
  return std::string(url.substr(0, url.find('/', scheme + 3)));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string absolute(std::string_view location, const std::string& base) {
  if (location.starts_with("http://") || location.starts_with("https://")) {
    return std::string(location);
  }
  const std::string origin = origin_of(base);
  if (location.starts_with("//")) {
    return origin.substr(0, origin.find("//")) + std::string(location);
  }
  if (location.starts_with('/')) return origin + std::string(location);
  return base.substr(0, base.rfind('/') + 1) + std::string(location);
}

}  // namespace

WebClient::WebClient(std::string endpoint, std::string token)
    : origin_(origin_of(endpoint)), token_(std::move(token)) {}

Result<HttpClient*> WebClient::client_of(const std::string& origin) {
  const std::scoped_lock lock(mutex_);
  if (aborted_) return make_error(ErrorCode::kCancelled, "aborted");
  auto& client = clients_[origin];
  if (client == nullptr) {
    ASSIGN_OR_RETURN(client, HttpClient::create(origin));
  }
  return client.get();
}

void WebClient::abort() {
  const std::scoped_lock lock(mutex_);
  aborted_ = true;
  for (const auto& [origin, client] : clients_) {
    if (client != nullptr) client->abort();
  }
}

Result<WebAnswer> WebClient::send_once(const WebRequest& request, const std::string& url) {
  const std::string origin = origin_of(url);
  ASSIGN_OR_RETURN(HttpClient * client, client_of(origin));
  ClientRequest call;
  call.method = request.method;
  call.path = url.substr(origin.size());
  if (call.path.empty()) call.path = "/";
  call.headers = request.headers;
  call.headers.emplace_back("User-Agent", "ramjet");
  call.headers.emplace_back("Accept", "*/*");
  if (origin == origin_ && !token_.empty()) {
    call.headers.emplace_back("Authorization", "Bearer " + token_);
  }
  call.timeout_s = request.timeout_s;
  WebAnswer answer;
  bool to_sink = false;
  std::promise<Status> done;
  ClientEvents events;
  events.on_status = [&](int status) { answer.status = status; };
  events.on_headers = [&](const Headers& headers) {
    answer.headers = headers;
    to_sink = request.sink && answer.status / 100 == 2;
    if (to_sink && request.accept && !request.accept(answer.status, headers)) {
      to_sink = false;
      client->abort();
    }
  };
  events.on_data = [&](std::string_view bytes) {
    constexpr size_t kMaxBody = size_t{64} << 20;
    if (to_sink) return request.sink(bytes);
    if (answer.body.size() + bytes.size() <= kMaxBody) answer.body += bytes;
  };
  events.on_done = [&](const Status& status) { done.set_value(status); };
  client->send(std::move(call), std::move(events));
  const Status status = done.get_future().get();
  if (!status.ok()) return status.error().with_context(origin);
  return answer;
}

Result<WebAnswer> WebClient::send(const WebRequest& request) {
  std::string url = request.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    ASSIGN_OR_RETURN(WebAnswer answer, send_once(request, url));
    const std::string_view location = find_header(answer.headers, "location");
    if (!is_redirect(answer.status) || location.empty()) return answer;
    const std::string next = absolute(location, url);
    if (request.stay_on_host && origin_of(next) != origin_of(url)) return answer;
    if (url.starts_with("https://") && !next.starts_with("https://")) {
      return invalid_argument("{} redirects from https to {}", origin_of(url), origin_of(next));
    }
    url = next;
  }
  return invalid_argument("{}: more than {} redirects", request.url, kMaxRedirects);
}

}  // namespace ramjet::server

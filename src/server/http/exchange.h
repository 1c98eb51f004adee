// Exchange: one HTTP request and the answer that is being made for it.
//
// Thread-safe: a handler may answer from any thread, at once or later. The connection and the
// handler share it; if the handler drops its share unanswered, the connection answers 500, so that
// no client waits for ever. A stream holds at most `buffer_limit` unsent bytes: a reader slower
// than that is treated as gone, and so costs the others nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "server/http/message.h"

namespace ramjet::server {

class Exchange {
 public:
  Exchange(HttpRequest request, size_t buffer_limit, std::function<void()> notify);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const { return request_; }

  /// The whole answer. Only the first of respond() and begin_stream() counts.
  void respond(HttpResponse response);
  /// Status and headers of an answer whose body follows by send(); `response.body` is ignored.
  void begin_stream(HttpResponse response);
  /// Adds to the body. False if the client is gone or too slow: stop producing.
  bool send(std::string_view bytes);
  void end();

  /// Calls `callback` once if the client goes away (or is too slow) before end(); at once if that
  /// has happened. It may run on any thread and must not block.
  void on_gone(std::function<void()> callback);
  bool gone() const;
  /// Adds a header to the answer, whoever makes it. Before respond() or begin_stream() only.
  void add_header(std::string name, std::string value);

  // The connection's side.

  struct Output {
    bool has_head = false;
    bool streaming = false;
    bool ended = false;
    bool too_slow = false;
    HttpResponse head;
    std::string bytes;  // of the body
  };
  /// What became available since the last call. The bytes count against the limit until the next.
  Output take();
  void set_gone();
  /// Who is called after each change; empty to detach.
  void detach();

 private:
  void begin(HttpResponse response, bool streaming);
  void notify();

  const HttpRequest request_;
  const size_t buffer_limit_;
  mutable std::mutex mutex_;
  std::function<void()> notify_;
  Headers extra_headers_;
  HttpResponse head_;
  bool begun_ = false;
  bool head_taken_ = false;
  bool streaming_ = false;
  bool ended_ = false;
  bool gone_ = false;
  bool too_slow_ = false;
  bool notified_ = false;
  size_t in_flight_ = 0;  // bytes taken by the last take()
  std::string pending_;
  std::vector<std::function<void()>> gone_callbacks_;
};

}  // namespace ramjet::server

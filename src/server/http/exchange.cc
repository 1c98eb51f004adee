#include "server/http/exchange.h"

#include <utility>

namespace ramjet::server {

Exchange::Exchange(HttpRequest request, size_t buffer_limit, std::function<void()> notify)
    : request_(std::move(request)), buffer_limit_(buffer_limit), notify_(std::move(notify)) {}

Exchange::~Exchange() = default;

void Exchange::notify() {
  std::function<void()> call;
  {
    std::lock_guard lock(mutex_);
    if (notified_ || !notify_) return;
    notified_ = true;
    call = notify_;
  }
  call();
}

void Exchange::begin(HttpResponse response, bool streaming) {
  {
    std::lock_guard lock(mutex_);
    if (begun_) return;
    begun_ = true;
    streaming_ = streaming;
    if (!streaming) {
      pending_ = std::move(response.body);
      ended_ = true;
    }
    response.body.clear();
    for (auto& header : extra_headers_) response.headers.push_back(std::move(header));
    head_ = std::move(response);
  }
  notify();
}

void Exchange::respond(HttpResponse response) { begin(std::move(response), false); }

void Exchange::begin_stream(HttpResponse response) { begin(std::move(response), true); }

bool Exchange::send(std::string_view bytes) {
  std::vector<std::function<void()>> callbacks;
  bool alive = true;
  {
    std::lock_guard lock(mutex_);
    if (gone_ || ended_) return false;
    if (pending_.size() + in_flight_ + bytes.size() > buffer_limit_) {
      too_slow_ = true;
      gone_ = true;
      alive = false;
      callbacks.swap(gone_callbacks_);
    } else {
      pending_ += bytes;
    }
  }
  for (auto& callback : callbacks) callback();
  notify();
  return alive;
}

void Exchange::end() {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    gone_callbacks_.clear();
  }
  notify();
}

void Exchange::on_gone(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!gone_) {
      gone_callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

bool Exchange::gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

void Exchange::add_header(std::string name, std::string value) {
  std::lock_guard lock(mutex_);
  extra_headers_.emplace_back(std::move(name), std::move(value));
}

Exchange::Output Exchange::take() {
  std::lock_guard lock(mutex_);
  notified_ = false;
  Output out;
  out.has_head = begun_ && !head_taken_;
  if (out.has_head) {
    out.head = std::move(head_);
    head_taken_ = true;
  }
  out.streaming = streaming_;
  out.too_slow = too_slow_;
  out.bytes = std::move(pending_);
  pending_.clear();
  in_flight_ = out.bytes.size();
  out.ended = ended_;
  return out;
}

void Exchange::set_gone() {
  std::vector<std::function<void()>> callbacks;
  {
    std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_ = true;
    callbacks.swap(gone_callbacks_);
  }
  for (auto& callback : callbacks) callback();
}

void Exchange::detach() {
  std::lock_guard lock(mutex_);
  notify_ = nullptr;
}

}  // namespace ramjet::server

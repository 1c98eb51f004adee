// The supervisor's requests: taking them, sending them, ending them.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <exception>

#include "base/clock.h"
#include "base/log.h"
#include "server/supervise/messages.h"
#include "server/supervise/supervisor.h"

namespace ramjet::server {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr Seconds kVerdictLimit{5};  // then it counts as taken, and what follows comes as outputs
constexpr double kLastEventsS = 10;
constexpr int kMaxSequences = 1 << 16;

int64_t now_ns() { return SteadyClock::instance().now_ns(); }

}  // namespace

void Supervisor::post(std::string_view bytes) {
  if (socket_ < 0) return;
  if (backlog_.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    if (bytes.empty()) return;
    wake();  // the thread waits for room
  }
  backlog_ += bytes;
}

void Supervisor::push_backlog() {
  if (socket_ < 0 || backlog_.empty()) return;
  const ssize_t sent =
      ::send(socket_, backlog_.data(), backlog_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  // An error means that the process is gone; reading tells.
  if (sent > 0) backlog_.erase(0, static_cast<size_t>(sent));
}

void Supervisor::send_request(Pending& request) {
  if (request.deadline_ns != 0) {
    const double left_s = static_cast<double>(request.deadline_ns - now_ns()) * 1e-9;
    request.request.deadline_s = std::max(left_s, 1e-6);
  }
  message_.clear();
  put_message(message_, Message::kSubmit, request.request);
  for (const int index : request.unwanted) {
    put_message(message_, Message::kCancel, request.id, int32_t{index});
  }
  request.sent = true;
  post(message_);
}

int64_t Supervisor::waiting_here() const {
  return std::count_if(requests_.begin(), requests_.end(),
                       [](const auto& entry) { return !entry.second->sent; });
}

Result<uint64_t> Supervisor::submit(Request request, OutputCallback callback) {
  if (request.sampling.controls.mask != nullptr) {
    return unsupported("a token mask cannot go to an executor in another process");
  }
  if (request.n < 1 || request.n > kMaxSequences) {
    return invalid_argument("n is {}; it must be between 1 and {}", request.n, kMaxSequences);
  }
  const auto pending = std::make_shared<Pending>();
  Pending& p = *pending;
  p.n = request.n;
  p.finished.resize(static_cast<size_t>(p.n));
  p.callback = std::move(callback);
  p.submit_ns = now_ns();
  if (request.deadline_s > 0) {
    p.deadline_ns = p.submit_ns + static_cast<int64_t>(std::min(request.deadline_s, 1e9) * 1e9);
  }
  p.request = std::move(request);
  std::unique_lock lock(mutex_);
  if (state_ == State::kFailed) return *trouble_;
  if (draining_) return Error{ErrorCode::kUnavailable, "the executor is draining"};
  if (state_ != State::kReady && waiting_here() >= options_.executor.max_queue) {
    return make_error(ErrorCode::kResourceExhausted,
                      "the queue holds {} requests, its limit (max_queue); try again later",
                      options_.executor.max_queue);
  }
  p.id = p.request.tag = next_id_++;
  requests_[p.id] = pending;
  ++open_;
  if (state_ != State::kReady) return p.id;
  p.awaited = true;
  send_request(p);
  changed_.wait_for(lock, kVerdictLimit, [&p] { return !p.awaited; });
  p.awaited = false;
  if (p.refused) return *p.refused;
  return p.id;
}

void Supervisor::cancel(uint64_t request) {
  const std::lock_guard lock(mutex_);
  const auto found = requests_.find(request);
  if (found == requests_.end()) return;
  if (found->second->sent) {
    message_.clear();
    put_message(message_, Message::kCancel, request, int32_t{-1});
    return post(message_);
  }
  cancelled_.push_back(request);
  wake();
}

void Supervisor::cancel(uint64_t request, int index) {
  const std::lock_guard lock(mutex_);
  const auto found = requests_.find(request);
  if (found == requests_.end() || index < 0 || index >= found->second->n) return;
  if (!found->second->sent) return found->second->unwanted.push_back(index);
  message_.clear();
  put_message(message_, Message::kCancel, request, int32_t{index});
  post(message_);
}

ExecutorStats Supervisor::stats() const {
  const std::lock_guard lock(mutex_);
  ExecutorStats stats = stats_;
  add_counters(stats, past_stats_);
  if (stats.requests_running + stats.requests_waiting > 0) return stats;
  // There is no process, or it has not yet told of those that it just got.
  for (const auto& [id, request] : requests_) {
    ++(request->begun ? stats.requests_running : stats.requests_waiting);
  }
  return stats;
}

Status Supervisor::reset_prefix_cache() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kReady) return ok_status();  // the next process begins with an empty one
  message_.clear();
  put_message(message_, Message::kResetPrefixCache);
  post(message_);
  return ok_status();
}

Status Supervisor::health() const {
  const std::lock_guard lock(mutex_);
  if (trouble_) return *trouble_;
  return ok_status();
}

Status Supervisor::drain(double deadline_s) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto quiet = [this] { return open_ == 0; };
  if (changed_.wait_for(lock, Seconds(std::clamp(deadline_s, 0.0, 1e8)), quiet)) {
    return ok_status();
  }
  const int64_t count = open_;
  message_.clear();
  for (const auto& [id, request] : requests_) {
    if (request->sent) put_message(message_, Message::kCancel, id, int32_t{-1});
    if (!request->sent) cancelled_.push_back(id);
  }
  post(message_);
  wake();
  if (!changed_.wait_for(lock, Seconds(kLastEventsS), quiet)) {
    return make_error(ErrorCode::kDeadlineExceeded,
                      "{} requests could not be ended: the executor does not answer", open_);
  }
  return make_error(ErrorCode::kDeadlineExceeded, "{} requests were cancelled after {} s", count,
                    deadline_s);
}

void Supervisor::deliver(Pending& request, RequestOutput&& output) {
  const bool last = output.last;
  output.request = request.id;
  if (output.finish != FinishReason::kNone) {
    request.finished[static_cast<size_t>(output.index)] = true;
  }
  if (!request.callback) return;
  try {
    request.callback(std::move(output));
    if (last) request.callback = nullptr;
    return;
  } catch (const std::exception& e) {
    log_error("request {}: its output callback threw, so it is cancelled: {}", request.id,
              e.what());
  } catch (...) {
    log_error("request {}: its output callback threw, so it is cancelled", request.id);
  }
  request.callback = nullptr;
  if (!last) cancel(request.id);
}

void Supervisor::end_all(std::vector<Ending> endings) {
  for (Ending& ending : endings) {
    Pending& request = *ending.request;
    std::vector<int> open;
    for (int i = 0; i < request.n; ++i) {
      if (!request.finished[static_cast<size_t>(i)]) open.push_back(i);
    }
    if (open.empty()) open.push_back(request.n - 1);
    for (const int index : open) {
      RequestOutput output;
      output.index = index;
      output.finish = ending.reason;
      output.error = ending.error;
      output.queue_s = static_cast<double>(now_ns() - request.submit_ns) * 1e-9;
      output.last = index == open.back();
      deliver(request, std::move(output));
    }
  }
  if (!endings.empty()) settle(endings.size());
}

// Those that were cancelled or whose time ran out while they waited here.
std::vector<Supervisor::Ending> Supervisor::take_endings(int64_t now_ns) {
  std::vector<Ending> endings;
  const std::lock_guard lock(mutex_);
  for (const uint64_t id : std::exchange(cancelled_, {})) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) continue;
    if (found->second->sent) {
      message_.clear();
      put_message(message_, Message::kCancel, id, int32_t{-1});
      post(message_);
      continue;
    }
    endings.push_back({found->second, FinishReason::kCancelled, std::nullopt});
    requests_.erase(found);
  }
  if (state_ == State::kReady) return endings;
  for (auto it = requests_.begin(); it != requests_.end();) {
    const PendingPtr request = it->second;
    const bool late = !request->sent && request->deadline_ns != 0 && request->deadline_ns < now_ns;
    if (late) {
      endings.push_back({request, FinishReason::kError,
                         Error{ErrorCode::kDeadlineExceeded,
                               "the request's deadline passed before an executor could take it"}});
    }
    it = late ? requests_.erase(it) : std::next(it);
  }
  return endings;
}

void Supervisor::settle(size_t ended) {
  const std::lock_guard lock(mutex_);
  open_ -= static_cast<int64_t>(ended);
  changed_.notify_all();
}

}  // namespace ramjet::server

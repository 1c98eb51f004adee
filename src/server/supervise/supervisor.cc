// The supervisor's thread: it starts processes, reads their socket, watches them, replaces them.
#include "server/supervise/supervisor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "base/clock.h"
#include "base/log.h"
#include "server/supervise/messages.h"

namespace ramjet::server {
namespace {

constexpr int kTickMs = 1000;
constexpr double kGraceS = 1;     // for a process that ends by itself
constexpr double kEndGraceS = 5;  // at the server's own end
constexpr int kMaxLosses = 3;     // processes that a request may see lost before it begins

int64_t now_ns() { return SteadyClock::instance().now_ns(); }
int64_t to_ns(double s) { return static_cast<int64_t>(s * 1e9); }

}  // namespace

void add_counters(ExecutorStats& to, const ExecutorStats& from) {
  to.prompt_tokens += from.prompt_tokens;
  to.generation_tokens += from.generation_tokens;
  to.prefix_queries += from.prefix_queries;
  to.prefix_hits += from.prefix_hits;
  to.preemptions += from.preemptions;
  to.integrity_checks += from.integrity_checks;
  to.integrity_errors += from.integrity_errors;
  to.restarts += from.restarts;
  to.steps += from.steps;
  to.slot_steps += from.slot_steps;
  to.batched_tokens += from.batched_tokens;
  to.kv_live_token_steps += from.kv_live_token_steps;
  to.kv_reserved_token_steps += from.kv_reserved_token_steps;
  for (size_t i = 0; i < to.steps_by_tokens.size(); ++i) {
    to.steps_by_tokens[i] += from.steps_by_tokens[i];
  }
  to.busy_s += from.busy_s;
  to.device_busy_s += from.device_busy_s;
}

Supervisor::Supervisor(SupervisorOptions options)
    : options_(std::move(options)), wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

Result<std::unique_ptr<Supervisor>> Supervisor::start(SupervisorOptions options) {
  std::unique_ptr<Supervisor> made(new Supervisor(std::move(options)));
  if (made->wake_fd_ < 0) {
    return Error{ErrorCode::kResourceExhausted, "no event descriptor for the supervisor"};
  }
  Supervisor& s = *made;
  s.thread_ = std::thread([&s] { s.run(); });
  std::unique_lock lock(s.mutex_);  // the wait ends with start_limit_s
  s.changed_.wait(lock, [&s] { return s.state_ == State::kReady || s.state_ == State::kFailed; });
  if (s.state_ == State::kFailed) return *s.trouble_;
  lock.unlock();
  return made;
}

Supervisor::~Supervisor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = draining_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void Supervisor::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof(one));
}

void Supervisor::run() {
  launch();
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) break;
    }
    turn();
  }
  shut_down();
}

// Waits for something to do, at most a tick, and does it.
void Supervisor::turn() {
  const int64_t begin_ns = now_ns();
  pollfd events[2] = {{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}};
  State state;
  {
    const std::lock_guard lock(mutex_);
    events[1].fd = socket_;
    if (!backlog_.empty()) events[1].events |= POLLOUT;
    state = state_;
  }
  int timeout_ms = kTickMs;
  if (state == State::kWaiting) {
    const int64_t left_ms = (state_end_ns_ - begin_ns) / 1'000'000 + 1;
    timeout_ms = static_cast<int>(std::clamp<int64_t>(left_ms, 0, kTickMs));
  }
  ::poll(events, 2, timeout_ms);
  uint64_t woken = 0;
  [[maybe_unused]] const ssize_t drained = ::read(wake_fd_, &woken, sizeof(woken));

  if (process_ != nullptr) {
    Status status = (events[1].revents & ~POLLOUT) != 0 ? read_socket() : ok_status();
    {
      const std::lock_guard lock(mutex_);
      push_backlog();
    }
    if (status.ok()) status = watch(static_cast<double>(now_ns() - begin_ns) * 1e-9);
    if (!status.ok()) lose(status.error());
  }
  end_all(take_endings(now_ns()));
  if (state == State::kWaiting && now_ns() >= state_end_ns_) launch();
}

void Supervisor::launch() {
  {
    const std::lock_guard lock(mutex_);
    state_ = State::kStarting;
    if (incarnation_ > 0) ++past_stats_.restarts;
  }
  silent_s_ = 0;
  hung_up_ = false;
  state_end_ns_ = now_ns() + to_ns(options_.start_limit_s);
  input_ = std::make_unique<FrameBuffer>();
  const uint32_t incarnation = incarnation_++;
  auto process = options_.launch(incarnation);
  if (!process.ok()) return plan_restart(process.error());
  process_ = std::move(*process);
  const std::lock_guard lock(mutex_);
  socket_ = process_->fd();
  message_.clear();
  put_message(message_, Message::kStart, incarnation, options_.executor);
  post(message_);
}

Status Supervisor::read_socket() {
  const std::span<char> space = input_->space();
  const ssize_t count = ::recv(process_->fd(), space.data(), space.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return ok_status();
  if (count <= 0) {
    hung_up_ = true;
    return Error{ErrorCode::kUnavailable, "the executor's process ended"};
  }
  silent_s_ = 0;
  input_->filled(static_cast<size_t>(count));
  Status status = ok_status();
  while (status.ok()) {
    const Result<std::optional<Frame>> frame = input_->next();
    if (frame.ok() && !*frame) break;
    status = frame.ok() ? handle(**frame) : Status(frame.error());
  }
  deliver_gathered();
  return status;
}

// Whether the process still does its work. Time that nobody spent waiting, as when this process was
// stopped, counts as one tick at most.
Status Supervisor::watch(double waited_s) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kStarting) {
    if (now_ns() < state_end_ns_) return ok_status();
    return make_error(ErrorCode::kUnavailable, "the executor was not ready after {} s",
                      options_.start_limit_s);
  }
  if (trouble_) return *trouble_;
  silent_s_ += std::min(waited_s, 1.5 * kTickMs * 1e-3);
  if (silent_s_ <= options_.silence_limit_s) return ok_status();
  return make_error(ErrorCode::kUnavailable, "the executor's process gave no sign of life for {} s",
                    options_.silence_limit_s);
}

void Supervisor::lose(const Error& cause) {
  Error why = cause;
  {
    const std::lock_guard lock(mutex_);
    socket_ = -1;  // nobody writes any more
    backlog_.clear();
    state_ = State::kWaiting;
    trouble_ = cause;
  }
  if (hung_up_) why.message += " (" + process_->end(kGraceS) + ")";
  end_all(drop_process(why));
  if (!hung_up_) process_->end(kGraceS);
  process_.reset();
  plan_restart(why);
}

// What has begun ends; the rest waits for the next process.
std::vector<Supervisor::Ending> Supervisor::drop_process(const Error& cause) {
  std::vector<Ending> endings;
  const std::lock_guard lock(mutex_);
  add_counters(past_stats_, stats_);
  stats_ = ExecutorStats{.block_tokens = stats_.block_tokens, .device = stats_.device};
  for (auto it = requests_.begin(); it != requests_.end();) {
    const PendingPtr request = it->second;
    request->awaited = false;
    if (!request->begun && !request->sent) {
      ++it;
    } else if (!request->begun && ++request->losses < kMaxLosses) {
      request->sent = false;
      ++it;
    } else {
      const auto error = make_error(
          ErrorCode::kUnavailable,
          "the executor was lost {} and will be replaced; send the request again. Why: {}",
          request->begun ? "while this request ran" : "several times before this request could run",
          cause.message);
      endings.push_back({request, FinishReason::kError, error});
      it = requests_.erase(it);
    }
  }
  changed_.notify_all();
  return endings;
}

void Supervisor::plan_restart(const Error& cause) {
  const int64_t now = now_ns();
  losses_ns_.push_back(now);
  while (losses_ns_.front() < now - to_ns(options_.window_s)) losses_ns_.pop_front();
  const auto losses = static_cast<int>(losses_ns_.size());
  std::vector<Ending> endings;
  {
    const std::lock_guard lock(mutex_);
    state_ = State::kFailed;
    trouble_ = cause;
    if (was_ready_ && losses > options_.max_restarts) {
      trouble_ = make_error(
          ErrorCode::kUnavailable,
          "the executor was lost {} times within {} s and is not replaced any more: restart the "
          "server. The last time: {}",
          losses, options_.window_s, cause.message);
    } else if (was_ready_) {
      const double wait_s = std::min(options_.max_backoff_s,
                                     options_.backoff_s * std::pow(2.0, std::min(losses - 1, 30)));
      state_ = State::kWaiting;
      state_end_ns_ = now + to_ns(wait_s);
      trouble_ =
          make_error(ErrorCode::kUnavailable, "the executor is being replaced: {}", cause.message);
      log_error("the executor was lost, {} in {} s; a new one starts in {:.1f} s: {}", losses,
                options_.window_s, wait_s, cause.message);
    }
    if (state_ == State::kFailed) {
      if (was_ready_) log_error("{}", trouble_->message);
      for (const auto& [id, request] : requests_) {
        endings.push_back({request, FinishReason::kError, trouble_});
      }
      requests_.clear();
    }
  }
  changed_.notify_all();
  end_all(std::move(endings));
}

void Supervisor::shut_down() {
  std::vector<Ending> endings;
  {
    const std::lock_guard lock(mutex_);
    socket_ = -1;
    state_ = State::kFailed;
    trouble_ = Error{ErrorCode::kUnavailable, "the server is shutting down"};
    for (const auto& [id, request] : requests_) {
      request->awaited = false;
      endings.push_back({request, FinishReason::kCancelled, std::nullopt});
    }
    requests_.clear();
    changed_.notify_all();
  }
  end_all(std::move(endings));
  if (process_ != nullptr) process_->end(kEndGraceS);
  process_.reset();
}

}  // namespace ramjet::server

#include "server/supervise/executor_host.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/supervise/messages.h"

namespace ramjet::server {
namespace {

constexpr size_t kSoonFull = 4 << 20;  // a frame of outputs that is closed before the step's end
constexpr int kSendLimitS = 60;

double now_s() { return SteadyClock::instance().now_s(); }

Error gone() { return {ErrorCode::kUnavailable, "the server has closed the connection"}; }

}  // namespace

ExecutorHost::ExecutorHost(int fd, double heartbeat_s) : fd_(fd), heartbeat_s_(heartbeat_s) {
  // A server that reads nothing for so long is as good as gone.
  const timeval limit{kSendLimitS, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

ExecutorHost::~ExecutorHost() { ::close(fd_); }

void ExecutorHost::close() {
  closed_ = true;
  ::shutdown(fd_, SHUT_RDWR);  // what was sent still arrives
}

void ExecutorHost::send(std::string_view bytes) {
  while (!bytes.empty() && !closed_) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return close();
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

Status ExecutorHost::read_some() {
  const std::span<char> space = input_.space();
  const ssize_t count = ::recv(fd_, space.data(), space.size(), 0);
  if (count == 0 || (count < 0 && errno != EINTR)) return gone();
  if (count > 0) input_.filled(static_cast<size_t>(count));
  return ok_status();
}

Result<ExecutorHost::Start> ExecutorHost::wait_for_start() {
  Start start;
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Frame> frame, input_.next());
    if (!frame) {
      RETURN_IF_ERROR(read_some());
      continue;
    }
    if (frame->type != static_cast<uint32_t>(Message::kStart)) {
      return corrupt("the first message is of type {}", frame->type);
    }
    RETURN_IF_ERROR(get_message(*frame, start.incarnation, start.config));
    start.config.hooks = hooks();
    return start;
  }
}

ExecutorHooks ExecutorHost::hooks() {
  ExecutorHooks hooks;
  hooks.on_start = [this](std::span<const uint64_t> tags) {
    const std::lock_guard lock(send_mutex_);
    message_.clear();
    put_message(message_, Message::kStarted, std::vector<uint64_t>(tags.begin(), tags.end()));
    send(message_);
  };
  hooks.on_published = [this] { flush(); };
  hooks.on_lost = [this](const Error& error) {
    const std::lock_guard lock(send_mutex_);
    message_.clear();
    put_message(message_, Message::kFault, error);
    send(message_);
    close();
  };
  return hooks;
}

void ExecutorHost::fail(const Error& error) {
  const std::lock_guard lock(send_mutex_);
  message_.clear();
  put_message(message_, Message::kFailed, error);
  send(message_);
}

void ExecutorHost::flush() {
  Backend* backend = backend_;
  if (backend == nullptr) return;
  const std::lock_guard lock(send_mutex_);
  sending_.clear();
  {
    const std::lock_guard output_lock(output_mutex_);
    if (open_frame_ != std::string::npos) end_frame(outputs_, open_frame_);
    open_frame_ = std::string::npos;
    sending_.swap(outputs_);
  }
  // Before the outputs, so that who sees the last one sees it counted.
  const ExecutorStats stats = backend->stats();
  const Status health = backend->health();
  std::optional<Error> error;
  if (!health.ok()) error = health.error();
  message_.clear();
  put_message(message_, Message::kStatus, stats, error);
  if (sending_.size() < kSoonFull) {
    message_ += sending_;
    return send(message_);
  }
  send(message_);
  send(sending_);
}

void ExecutorHost::gather(uint64_t tag, RequestOutput&& output) {
  if (output.last) {
    const std::lock_guard lock(ended_mutex_);
    ended_.push_back(tag);
  }
  const std::lock_guard lock(output_mutex_);
  if (open_frame_ == std::string::npos) {
    open_frame_ = begin_frame(outputs_, static_cast<uint32_t>(Message::kOutputs));
  }
  const size_t before = outputs_.size();
  Encoder encode(outputs_);
  encode(tag, output);
  if (outputs_.size() - before > kMaxFrameBytes - kSoonFull - kFrameHeaderBytes) {
    outputs_.resize(before);
    output.ids.clear(), output.logprobs.clear(), output.prompt_logprobs.clear();
    output.finish = FinishReason::kError;
    output.error = Error{ErrorCode::kResourceExhausted,
                         "the logprobs of this request are too many to send; ask for fewer"};
    encode(tag, output);
  }
  if (outputs_.size() - open_frame_ < kSoonFull) return;
  end_frame(outputs_, open_frame_);
  open_frame_ = std::string::npos;
}

Status ExecutorHost::submit(const Frame& frame, Backend& backend) {
  Request request;
  RETURN_IF_ERROR(get_message(frame, request));
  const uint64_t tag = request.tag;
  const Result<uint64_t> id = backend.submit(
      std::move(request), [this, tag](RequestOutput&& o) { gather(tag, std::move(o)); });
  if (id.ok()) ids_[tag] = *id;
  const std::lock_guard lock(send_mutex_);
  message_.clear();
  if (id.ok()) {
    put_message(message_, Message::kAccepted, tag);
  } else {
    put_message(message_, Message::kRefused, tag, id.error());
  }
  send(message_);
  return ok_status();
}

Status ExecutorHost::handle(const Frame& frame, Backend& backend) {
  switch (static_cast<Message>(frame.type)) {
    case Message::kSubmit: return submit(frame, backend);
    case Message::kCancel: {
      uint64_t tag = 0;
      int32_t index = -1;
      RETURN_IF_ERROR(get_message(frame, tag, index));
      const auto found = ids_.find(tag);
      if (found == ids_.end()) return ok_status();
      if (index < 0) {
        backend.cancel(found->second);
      } else {
        backend.cancel(found->second, index);
      }
      return ok_status();
    }
    case Message::kResetPrefixCache: return backend.reset_prefix_cache();
    default: return corrupt("message {} is not for an executor", frame.type);
  }
}

void ExecutorHost::serve(Backend& backend) {
  {
    const std::lock_guard lock(send_mutex_);
    message_.clear();
    put_message(message_, Message::kReady, backend.stats());
    send(message_);
  }
  backend_ = &backend;
  double beat_s = now_s();
  std::vector<uint64_t> ended;
  while (!closed_) {
    const double left_s = std::max(0.0, beat_s + heartbeat_s_ - now_s());
    pollfd event{fd_, POLLIN, 0};
    const int ready = ::poll(&event, 1, static_cast<int>(left_s * 1e3) + 1);
    Status status = ready > 0 ? read_some() : ok_status();
    while (status.ok()) {
      Result<std::optional<Frame>> frame = input_.next();
      if (!frame.ok()) status = frame.error();
      if (!frame.ok() || !*frame) break;
      status = handle(**frame, backend);
    }
    if (!status.ok()) {
      if (status.error().code == ErrorCode::kCorrupt) log_error("{}", status.error().message);
      break;
    }
    {
      const std::lock_guard lock(ended_mutex_);
      ended.swap(ended_);
    }
    for (const uint64_t tag : ended) ids_.erase(tag);
    ended.clear();
    if (now_s() < beat_s + heartbeat_s_) continue;
    flush();
    beat_s = now_s();
  }
  close();
  backend_ = nullptr;
}

}  // namespace ramjet::server

#include "event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace ramjet::python {

EventQueue::EventQueue() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
EventQueue::~EventQueue() {
  if (fd_ >= 0) ::close(fd_);
}

void EventQueue::push(uint64_t tag, RequestOutput&& output) {
  {
    const std::lock_guard lock(mutex_);
    events_.emplace_back(tag, std::move(output));
    const uint64_t one = 1;
    if (events_.size() == 1 && fd_ >= 0) {
      [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof(one));
    }
  }
  arrived_.notify_one();
}

std::vector<EventQueue::Event> EventQueue::wait(std::chrono::duration<double> timeout) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, timeout, [this] { return !events_.empty(); });
  uint64_t count = 0;
  if (fd_ >= 0) {
    [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof(count));
  }
  return std::exchange(events_, {});
}

}  // namespace ramjet::python

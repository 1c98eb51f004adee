// EventQueue: events of any number of requests, from the executor's thread to one of Python's.
//
// Thread-safe. Pushing neither blocks nor touches Python; a file descriptor becomes readable while
// events wait, for event loops. Shared by the reader and the callbacks of the requests.
#pragma once

#include <ramjet/request.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace ramjet::python {

class EventQueue {
 public:
  using Event = std::pair<uint64_t, RequestOutput>;  // the request's tag

  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  void push(uint64_t tag, RequestOutput&& output);
  /// What has come, after waiting for something at most so long.
  std::vector<Event> wait(std::chrono::duration<double> timeout);
  int fileno() const { return fd_; }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Event> events_;
  int fd_ = -1;
};

}  // namespace ramjet::python

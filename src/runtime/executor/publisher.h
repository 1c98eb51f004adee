// Publisher: the thread that calls the callbacks, so that a slow one delays no step.
//
// push() may be called from any thread. Events of one request arrive in order; events of a single
// sequence that wait together are merged into one. Callbacks run outside all locks; what they
// throw is logged, drops the request's further events and is told to `on_throw`. That and
// `on_batch`, called after each group that was delivered, run on the publisher's thread. The
// destructor delivers what is queued.
#pragma once

#include <ramjet/request.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ramjet::runtime {

/// Where a request's events go. After construction only the publisher's thread touches it.
struct RequestSink {
  explicit RequestSink(OutputCallback target) : callback(std::move(target)) {}
  OutputCallback callback;
  int64_t merge_at = -1;  // the batch's event that the next one may be merged into
};

struct PublishEvent {
  std::shared_ptr<RequestSink> sink;
  RequestOutput output;
  bool merged = false;
};

class Publisher {
 public:
  explicit Publisher(std::function<void(uint64_t request)> on_throw = {},
                     std::function<void()> on_batch = {});
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Queues a group of events and empties `events`.
  void push(std::vector<PublishEvent>* events);
  /// Waits until all that was pushed is delivered; false after `timeout_s`.
  bool wait_delivered(double timeout_s);

 private:
  void run();
  static void merge(std::vector<PublishEvent>& batch);
  void deliver(PublishEvent& event) const;

  const std::function<void(uint64_t request)> on_throw_;
  const std::function<void()> on_batch_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable delivered_;
  std::vector<PublishEvent> queue_;
  bool delivering_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ramjet::runtime

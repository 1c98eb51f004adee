// WorkerPool: threads that run tasks in the order they came. Keeps tokenizing, templating and
// detokenizing off the I/O threads and off the step loop.
//
// Thread-safe. A task must not throw; one that does is logged and dropped. Idle workers sleep.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ramjet::server {

class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void post(std::function<void()> task);
  /// Runs what is queued, then joins; what is posted later is dropped. The destructor does it too.
  void stop();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ramjet::server

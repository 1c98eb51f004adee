// MaskWorker: computes grammar masks on a thread of its own while a step runs.
//
// begin() and wait() are called in turn, from one thread. Between them the worker alone touches
// the states. The thread starts with the first mask; without masks there is none.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "runtime/sampling/sampling_state.h"

namespace ramjet::runtime {

class MaskWorker {
 public:
  explicit MaskWorker(int64_t vocab_size) : vocab_size_(vocab_size) {}
  ~MaskWorker();
  /// Prepares the masks of these states, which have one; they must live until wait().
  void begin(std::span<SamplingState* const> states);
  /// Until all are prepared.
  void wait();

 private:
  void run();

  const int64_t vocab_size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<SamplingState*> states_;  // to do; empty: done
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ramjet::runtime

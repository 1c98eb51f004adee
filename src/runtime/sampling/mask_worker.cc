#include "runtime/sampling/mask_worker.h"

namespace ramjet::runtime {

MaskWorker::~MaskWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MaskWorker::begin(std::span<SamplingState* const> states) {
  if (states.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    states_.assign(states.begin(), states.end());
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  changed_.notify_all();
}

void MaskWorker::wait() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return states_.empty(); });
}

void MaskWorker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !states_.empty(); });
    if (stopping_) return;
    lock.unlock();  // the list is this thread's until it is empty
    for (SamplingState* state : states_) state->prepare_mask(vocab_size_);
    lock.lock();
    states_.clear();
    changed_.notify_all();
  }
}

}  // namespace ramjet::runtime

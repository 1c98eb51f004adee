#include "runtime/executor/publisher.h"

#include <chrono>
#include <exception>
#include <iterator>
#include <utility>

#include "base/log.h"

namespace ramjet::runtime {

Publisher::Publisher(std::function<void(uint64_t request)> on_throw, std::function<void()> on_batch)
    : on_throw_(std::move(on_throw)), on_batch_(std::move(on_batch)), thread_([this] { run(); }) {}

Publisher::~Publisher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Publisher::push(std::vector<PublishEvent>* events) {
  if (events->empty()) return;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) {
      queue_.swap(*events);
    } else {
      queue_.insert(queue_.end(), std::make_move_iterator(events->begin()),
                    std::make_move_iterator(events->end()));
    }
  }
  events->clear();
  wake_.notify_one();
}

bool Publisher::wait_delivered(double timeout_s) {
  std::unique_lock lock(mutex_);
  wake_.notify_one();
  return delivered_.wait_for(lock, std::chrono::duration<double>(timeout_s),
                             [this] { return queue_.empty() && !delivering_; });
}

void Publisher::run() {
  std::vector<PublishEvent> batch;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    batch.swap(queue_);
    delivering_ = true;
    lock.unlock();
    merge(batch);
    for (PublishEvent& event : batch) {
      if (!event.merged) deliver(event);
    }
    if (on_batch_) on_batch_();
    batch.clear();  // releases sinks, and with them what callbacks captured, outside the lock
    lock.lock();
    delivering_ = false;
    if (queue_.empty()) delivered_.notify_all();
  }
}

// Only index 0 of requests with one sequence: there the order of indices cannot change.
void Publisher::merge(std::vector<PublishEvent>& batch) {
  if (batch.size() < 2) return;
  for (PublishEvent& event : batch) event.sink->merge_at = -1;
  for (size_t i = 0; i < batch.size(); ++i) {
    RequestSink& sink = *batch[i].sink;
    RequestOutput& next = batch[i].output;
    const bool single = next.index == 0 && (next.last || next.finish == FinishReason::kNone);
    if (sink.merge_at < 0 || !single) {
      sink.merge_at = single && !next.last ? static_cast<int64_t>(i) : -1;
      continue;
    }
    batch[static_cast<size_t>(sink.merge_at)].output.append(std::move(next));
    batch[i].merged = true;
  }
}

void Publisher::deliver(PublishEvent& event) const {
  RequestSink& sink = *event.sink;
  if (!sink.callback) return;
  const bool last = event.output.last;
  const uint64_t request = event.output.request;
  try {
    sink.callback(std::move(event.output));
    if (last) sink.callback = nullptr;
    return;
  } catch (const std::exception& e) {
    log_error("request {}: its output callback threw, so it is cancelled: {}", request, e.what());
  } catch (...) {
    log_error("request {}: its output callback threw, so it is cancelled", request);
  }
  sink.callback = nullptr;
  if (!last && on_throw_) on_throw_(request);
}

}  // namespace ramjet::runtime

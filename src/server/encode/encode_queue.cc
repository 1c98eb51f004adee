#include "server/encode/encode_queue.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/result.h"

namespace ramjet::server {
namespace {

int64_t now_ns() { return SteadyClock::instance().now_ns(); }

Error ended_early() { return {ErrorCode::kCancelled, "the request was ended by the server"}; }

}  // namespace

EncodeQueue::EncodeQueue(EncodeStep step, EncodeQueueOptions options)
    : model_(std::move(step)), options_(std::move(options)) {
  stats_.device = options_.device;
  thread_ = std::thread([this] { run(); });
}

EncodeQueue::~EncodeQueue() {
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = draining_ = true;
    for (const auto& [id, entry] : open_) ids.push_back(id);
  }
  wake_.notify_all();
  thread_.join();
  for (const uint64_t id : ids) cancel(id);
}

Result<uint64_t> EncodeQueue::encode(EncodeJob job) {
  CHECK(!job.inputs.empty());
  auto entry = std::make_shared<Entry>();
  entry->rows.resize(job.inputs.size());
  entry->job = std::move(job);
  {
    const std::lock_guard lock(mutex_);
    if (draining_) return Error{ErrorCode::kUnavailable, "the encoder is draining"};
    if (std::ssize(waiting_) >= options_.max_queue) {
      return make_error(ErrorCode::kResourceExhausted,
                        "the queue holds {} requests, its limit (max_queue); try again later",
                        options_.max_queue);
    }
    entry->id = next_id_++;
    open_[entry->id] = entry;
    waiting_.push_back(entry);
  }
  wake_.notify_one();
  return entry->id;
}

Result<uint64_t> EncodeQueue::submit(Request, OutputCallback) {
  return unsupported("this model is an encoder: it generates nothing");
}

/// The open entry of that id, open no more; null if there is none. With the mutex held. Who takes
/// it out calls its `done`, then lowers delivering_.
EncodeQueue::EntryPtr EncodeQueue::take_out(uint64_t id) {
  const auto found = open_.find(id);
  if (found == open_.end()) return nullptr;
  EntryPtr entry = std::move(found->second);
  open_.erase(found);
  std::erase(waiting_, entry);
  ++delivering_;
  return entry;
}

void EncodeQueue::cancel(uint64_t request) {
  EntryPtr entry;
  {
    const std::lock_guard lock(mutex_);
    entry = take_out(request);
  }
  if (entry == nullptr) return;
  entry->job.done(ended_early());
  const std::lock_guard lock(mutex_);
  --delivering_;
  quiet_.notify_all();
}

void EncodeQueue::cancel(uint64_t request, int) { cancel(request); }

void EncodeQueue::run() {
  while (true) {
    Step step;
    {
      std::unique_lock lock(mutex_);  // the wait ends with work or with the destructor
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      step = gather();
      step_begin_ns_ = now_ns();
    }
    Result<EncodeRows> rows = model_(step.kind, step.inputs);
    if (rows.ok() && rows->size() != step.inputs.size()) {
      rows = internal_error("{} rows of {} inputs", rows->size(), step.inputs.size());
    }
    finish(step, std::move(rows));
  }
}

/// The next step. With the mutex held; something waits.
EncodeQueue::Step EncodeQueue::gather() {
  Step step;
  step.kind = waiting_.front()->job.kind;
  for (bool more = true; more;) {
    more = false;
    for (const EntryPtr& entry : waiting_) {
      const size_t index = entry->next;
      if (!add_next(step, *entry)) continue;
      step.from.emplace_back(entry, index);
      more = true;
    }
  }
  std::erase_if(waiting_, [](const EntryPtr& e) { return e->next == e->job.inputs.size(); });
  std::stable_partition(waiting_.begin(), waiting_.end(), [&step](const EntryPtr& entry) {
    return std::none_of(step.from.begin(), step.from.end(),
                        [&](const auto& from) { return from.first == entry; });
  });
  return step;
}

/// Moves the entry's next input into the step if it fits. An input fits an empty step always.
bool EncodeQueue::add_next(Step& step, Entry& entry) const {
  if (entry.job.kind != step.kind || entry.next == entry.job.inputs.size()) return false;
  if (std::ssize(step.inputs) >= options_.max_batch_size) return false;
  const int64_t more = std::ssize(entry.job.inputs[entry.next].ids);
  if (!step.inputs.empty() && step.tokens + more > options_.max_num_tokens) return false;
  step.tokens += more;
  step.inputs.push_back(std::move(entry.job.inputs[entry.next++]));
  return true;
}

void EncodeQueue::finish(const Step& step, Result<EncodeRows> rows) {
  std::vector<EntryPtr> ended;
  {
    const std::lock_guard lock(mutex_);
    count(step);
    for (size_t i = 0; i < step.from.size(); ++i) {
      const auto& [entry, index] = step.from[i];
      if (rows.ok()) {
        entry->rows[index] = std::move((*rows)[i]);
        if (++entry->made < entry->rows.size()) continue;
      }
      if (EntryPtr taken = take_out(entry->id)) ended.push_back(std::move(taken));
    }
  }
  for (const EntryPtr& entry : ended) {
    entry->job.done(rows.ok() ? Result<EncodeRows>(std::move(entry->rows)) : rows.error());
  }
  const std::lock_guard lock(mutex_);
  delivering_ -= static_cast<int>(ended.size());
  quiet_.notify_all();
}

/// With the mutex held.
void EncodeQueue::count(const Step& step) {
  stats_.busy_s += static_cast<double>(now_ns() - step_begin_ns_) * 1e-9;
  step_begin_ns_ = 0;
  const auto tokens = static_cast<uint64_t>(step.tokens);
  ++stats_.steps;
  stats_.prompt_tokens += tokens;
  stats_.batched_tokens += tokens;
  stats_.slot_steps += step.inputs.size();
  const size_t bucket = tokens <= 1 ? 0 : static_cast<size_t>(std::bit_width(tokens - 1));
  ++stats_.steps_by_tokens[std::min(bucket, stats_.steps_by_tokens.size() - 1)];
}

ExecutorStats EncodeQueue::stats() const {
  const std::lock_guard lock(mutex_);
  ExecutorStats stats = stats_;
  const auto untouched = std::count_if(waiting_.begin(), waiting_.end(),
                                       [](const EntryPtr& e) { return e->next == 0; });
  stats.requests_waiting = static_cast<int>(untouched);
  stats.requests_running = static_cast<int>(open_.size()) - stats.requests_waiting;
  return stats;
}

Status EncodeQueue::health() const {
  const std::lock_guard lock(mutex_);
  if (step_begin_ns_ == 0) return ok_status();
  const double took_s = static_cast<double>(now_ns() - step_begin_ns_) * 1e-9;
  if (took_s <= options_.step_deadline_s) return ok_status();
  return make_error(ErrorCode::kUnavailable,
                    "the step in progress has run for {:.1f} s; the limit is {:.1f} s "
                    "(step_deadline_s)",
                    took_s, options_.step_deadline_s);
}

Status EncodeQueue::drain(double deadline_s) {
  const auto quiet = [this] { return open_.empty() && delivering_ == 0; };
  const auto limit = std::chrono::duration<double>(std::clamp(deadline_s, 0.0, 1e8));
  std::vector<uint64_t> ids;
  {
    std::unique_lock lock(mutex_);
    draining_ = true;
    if (quiet_.wait_for(lock, limit, quiet)) return ok_status();
    for (const auto& [id, entry] : open_) ids.push_back(id);
  }
  for (const uint64_t id : ids) cancel(id);
  return make_error(ErrorCode::kDeadlineExceeded, "{} requests were cancelled after {} s",
                    ids.size(), deadline_s);
}

}  // namespace ramjet::server

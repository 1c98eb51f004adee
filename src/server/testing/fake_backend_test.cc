#include "server/testing/fake_backend.h"

#include <algorithm>
#include <chrono>

#include "base/result.h"

namespace ramjet::server {

struct FakeBackend::Active {
  Request request;
  OutputCallback callback;
  uint64_t id = 0;
  int steps = 0;
  bool started = false;
  std::atomic<bool> cancelled{false};
  std::vector<std::vector<int32_t>> scripts;  // one a sequence
  std::vector<size_t> positions;
  std::vector<bool> done;
  std::vector<bool> unwanted;
};

PositionLogprobs fake_logprobs(int32_t id, int top) {
  PositionLogprobs position{.chosen = {id, -0.25f, 1}};
  for (int i = 0; i < top; ++i) {
    position.top.push_back(
        {(id + i) % 256, i == 0 ? -0.25f : -1.0f * static_cast<float>(i), i + 1});
  }
  return position;
}

FakeBackend::FakeBackend(FakeBehavior behavior)
    : behavior_(std::move(behavior)), thread_([this] { loop(); }) {}

FakeBackend::~FakeBackend() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [id, active] : active_) active->cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<uint64_t> FakeBackend::submit(Request request, OutputCallback callback) {
  std::lock_guard lock(mutex_);
  if (draining_) return make_error(ErrorCode::kUnavailable, "draining");
  if (static_cast<int>(active_.size()) >= behavior_.max_running) {
    return make_error(ErrorCode::kResourceExhausted, "the queue is full ({} requests)",
                      behavior_.max_running);
  }
  auto active = std::make_shared<Active>();
  active->id = next_id_++;
  for (int i = 0; i < request.n; ++i) active->scripts.push_back(behavior_.script(request, i));
  active->positions.resize(active->scripts.size());
  active->done.resize(active->scripts.size());
  active->unwanted.resize(active->scripts.size());
  last_ = request;
  active->request = std::move(request);
  active->callback = std::move(callback);
  active_[active->id] = active;
  ++submitted;
  changed_.notify_all();
  return active->id;
}

void FakeBackend::cancel(uint64_t request) {
  std::lock_guard lock(mutex_);
  const auto it = active_.find(request);
  if (it != active_.end()) it->second->cancelled = true;
  changed_.notify_all();
}

void FakeBackend::cancel(uint64_t request, int index) {
  std::lock_guard lock(mutex_);
  const auto it = active_.find(request);
  if (it != active_.end()) it->second->unwanted[static_cast<size_t>(index)] = true;
  changed_.notify_all();
}

ExecutorStats FakeBackend::stats() const {
  while (stuck) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::lock_guard lock(mutex_);
  ExecutorStats stats;
  stats.requests_running = static_cast<int>(active_.size());
  stats.kv_blocks_total = 100;
  stats.kv_blocks_active = 25;
  stats.block_tokens = 16;
  stats.generation_tokens = generated_;
  stats.steps_by_tokens[3] = 7;
  stats.batched_tokens = 50;
  stats.device = "fake";
  return stats;
}

Status FakeBackend::health() const {
  if (healthy) return ok_status();
  return make_error(ErrorCode::kUnavailable, "the step loop has been stuck for 61 s");
}

Status FakeBackend::drain(double deadline_s) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto limit = std::chrono::duration<double>(deadline_s);
  if (changed_.wait_for(lock, limit, [this] { return active_.empty(); })) return ok_status();
  for (auto& [id, active] : active_) active->cancelled = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return active_.empty(); });
  return make_error(ErrorCode::kDeadlineExceeded, "requests were cancelled");
}

int FakeBackend::running() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(active_.size());
}

Request FakeBackend::last_request() const {
  std::lock_guard lock(mutex_);
  return last_;
}

void FakeBackend::end_cancelled(Active& active) {
  ++cancelled;
  for (int i = 0; i < active.request.n; ++i) {
    if (active.done[static_cast<size_t>(i)]) continue;
    active.done[static_cast<size_t>(i)] = true;
    RequestOutput output{.request = active.id, .index = i, .finish = FinishReason::kCancelled};
    output.last = std::all_of(active.done.begin(), active.done.end(), [](bool d) { return d; });
    active.callback(std::move(output));
  }
}

void FakeBackend::emit(Active& active, int index, bool& all_done) {
  const auto i = static_cast<size_t>(index);
  if (active.done[i]) return;
  const SamplingParams& sampling = active.request.sampling;
  RequestOutput output{.request = active.id, .index = index};
  output.prompt_tokens = static_cast<int>(active.request.prompt_ids.size());
  output.cached_tokens = output.prompt_tokens / 16 * 16;
  output.queue_s = 0.001;
  if (active.positions[i] == 0 && index == 0 && sampling.prompt_logprobs >= 0) {
    for (int32_t id : active.request.prompt_ids) {
      output.prompt_logprobs.push_back(fake_logprobs(id, sampling.prompt_logprobs));
    }
    output.prompt_logprobs[0] = {};
  }
  const auto& script = active.scripts[i];
  const size_t room = sampling.stop.max_tokens >= 0
                          ? static_cast<size_t>(sampling.stop.max_tokens)
                          : static_cast<size_t>(behavior_.max_seq_len - output.prompt_tokens);
  if (active.unwanted[i]) {
    output.finish = FinishReason::kCancelled;
    ++cancelled_sequences;
  } else if (active.positions[i] >= script.size()) {
    output.finish = FinishReason::kStop;
    output.stop_id = 257;
  } else {
    const int32_t id = script[active.positions[i]++];
    ++generated_;
    output.ids = {id};
    if (sampling.logprobs >= 0) output.logprobs = {fake_logprobs(id, sampling.logprobs)};
    const auto& stops = sampling.stop.stop_ids;
    if (std::find(stops.begin(), stops.end(), id) != stops.end()) {
      output.finish = FinishReason::kStop;
      output.stop_id = id;
    } else if (active.positions[i] >= room) {
      output.finish = FinishReason::kLength;
    }
  }
  active.done[i] = output.finish != FinishReason::kNone;
  all_done = std::all_of(active.done.begin(), active.done.end(), [](bool d) { return d; });
  output.last = all_done;
  active.callback(std::move(output));
}

/// True when the request has ended.
bool FakeBackend::step(Active& active) {
  if (active.cancelled) {
    end_cancelled(active);
    return true;
  }
  if (paused) return false;
  if (active.steps++ == behavior_.fail_after) {
    RequestOutput output{.request = active.id, .finish = FinishReason::kError, .last = true};
    output.error = Error{ErrorCode::kInternal, "a fault at /secret/path address 0xdeadbeef"};
    active.callback(std::move(output));
    return true;
  }
  bool all_done = false;
  for (int i = 0; i < active.request.n; ++i) emit(active, i, all_done);
  return all_done;
}

void FakeBackend::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopping_ && active_.empty()) return;
    std::vector<uint64_t> tags;
    for (auto& [id, active] : active_) {
      if (!paused && !std::exchange(active->started, true)) tags.push_back(active->request.tag);
    }
    lock.unlock();  // hooks may ask for statistics
    if (!tags.empty() && behavior_.hooks.on_start) behavior_.hooks.on_start(tags);
    lock.lock();
    for (auto it = active_.begin(); it != active_.end();) {
      it = step(*it->second) ? active_.erase(it) : std::next(it);
    }
    changed_.notify_all();
    lock.unlock();
    if (behavior_.hooks.on_published) behavior_.hooks.on_published();
    lock.lock();
    const bool idle = active_.empty() || paused;
    const double pause_s = idle ? 0.01 : std::max(behavior_.step_s, 1e-5);
    changed_.wait_for(lock, std::chrono::duration<double>(pause_s));
  }
}

}  // namespace ramjet::server

#include "server/sleepable_backend.h"

#include <malloc.h>

#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/result.h"
#include "server/supervise/supervisor.h"

namespace ramjet::server {
namespace {

constexpr int kLifeShift = 48;  // ids of requests lie below
constexpr int kCallsLimitMs = 10'000;

}  // namespace

SleepableBackend::SleepableBackend(std::unique_ptr<Backend> awake, Make make)
    : make_(std::move(make)) {
  life_.backend = std::move(awake);
}

SleepableBackend::Life SleepableBackend::life() const {
  const std::lock_guard lock(mutex_);
  return life_;
}

Result<SleepableBackend::Life> SleepableBackend::awake() const {
  Life life = this->life();
  if (life.backend != nullptr) return life;
  return Error{ErrorCode::kUnavailable, "the model sleeps; POST /wake_up brings it back"};
}

/// The backend that a request lives in, and its id there; null if that life is over.
SleepableBackend::BackendPtr SleepableBackend::of_request(uint64_t& request) const {
  Life life = this->life();
  if (request >> kLifeShift != life.number) return nullptr;
  request &= (uint64_t{1} << kLifeShift) - 1;
  return std::move(life.backend);
}

Status SleepableBackend::sleep(double drain_s) {
  const std::lock_guard change(change_mutex_);
  Life old = life();
  if (old.backend == nullptr) return ok_status();
  const Status drained = old.backend->drain(drain_s);
  if (!drained.ok()) log_warn("sleep: {}", drained.error().message);
  {
    const std::lock_guard lock(mutex_);
    const ExecutorStats stats = old.backend->stats();
    add_counters(past_, stats);
    past_.device = stats.device;
    past_.block_tokens = stats.block_tokens;
    life_.backend.reset();
    ++life_.number;
  }
  // Calls that began before hold it for moments.
  for (int ms = 0; old.backend.use_count() > 1 && ms < kCallsLimitMs; ++ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  old.backend.reset();
  ::malloc_trim(0);
  log_info("asleep: memory is given back");
  return ok_status();
}

Status SleepableBackend::wake_up() {
  const std::lock_guard change(change_mutex_);
  if (life().backend != nullptr) return ok_status();
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> made, make_());
  const std::lock_guard lock(mutex_);
  if (draining_) return Error{ErrorCode::kUnavailable, "the server is shutting down"};
  life_.backend = std::move(made);
  log_info("awake again");
  return ok_status();
}

bool SleepableBackend::sleeping() const { return life().backend == nullptr; }

Result<uint64_t> SleepableBackend::submit(Request request, OutputCallback callback) {
  ASSIGN_OR_RETURN(const Life life, awake());
  ASSIGN_OR_RETURN(const uint64_t id,
                   life.backend->submit(std::move(request), std::move(callback)));
  return id | life.number << kLifeShift;
}

Result<uint64_t> SleepableBackend::encode(EncodeJob job) {
  ASSIGN_OR_RETURN(const Life life, awake());
  ASSIGN_OR_RETURN(const uint64_t id, life.backend->encode(std::move(job)));
  return id | life.number << kLifeShift;
}

void SleepableBackend::cancel(uint64_t request) {
  if (const BackendPtr backend = of_request(request)) backend->cancel(request);
}

void SleepableBackend::cancel(uint64_t request, int index) {
  if (const BackendPtr backend = of_request(request)) backend->cancel(request, index);
}

ExecutorStats SleepableBackend::stats() const {
  ExecutorStats past;
  BackendPtr backend;
  {
    const std::lock_guard lock(mutex_);
    past = past_;
    backend = life_.backend;
  }
  if (backend == nullptr) return past;
  ExecutorStats stats = backend->stats();
  add_counters(stats, past);
  return stats;
}

Status SleepableBackend::health() const {
  const BackendPtr backend = life().backend;
  return backend == nullptr ? ok_status() : backend->health();
}

Status SleepableBackend::drain(double deadline_s) {
  BackendPtr backend;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    backend = life_.backend;
  }
  return backend == nullptr ? ok_status() : backend->drain(deadline_s);
}

Status SleepableBackend::reset_prefix_cache() {
  const BackendPtr backend = life().backend;  // asleep it holds none
  return backend == nullptr ? ok_status() : backend->reset_prefix_cache();
}

}  // namespace ramjet::server

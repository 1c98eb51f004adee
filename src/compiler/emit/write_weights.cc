#include "compiler/emit/write_weights.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "compiler/emit/materialise.h"

namespace ramjet::compiler {
namespace {

constexpr uint64_t kMaxWaitingBytes = uint64_t{512} << 20;

/// Hands out jobs in order and keeps their results until the writer takes them. Thread-safe.
class Conveyor {
 public:
  Conveyor(std::span<const WeightJob> jobs, const WeightSource* source)
      : jobs_(jobs), source_(source), results_(jobs.size()) {}

  void work() {
    for (;;) {
      size_t index = 0;
      {
        std::unique_lock lock(mutex_);
        // The next weight the writer wants may always start, however large.
        changed_.wait(lock, [&] {
          return stopped_ || next_ == jobs_.size() || next_ == written_ ||
                 waiting_ + bytes_of(next_) <= kMaxWaitingBytes;
        });
        if (stopped_ || next_ == jobs_.size()) return;
        index = next_++;
        waiting_ += bytes_of(index);
      }
      Result<WeightBytes> result = materialise(*jobs_[index].weight, source_);
      const std::lock_guard lock(mutex_);
      results_[index].emplace(std::move(result));
      changed_.notify_all();
    }
  }

  Result<WeightBytes> take(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_[index].has_value(); });
    return *std::move(results_[index]);
  }
  void written(size_t index) {
    const std::lock_guard lock(mutex_);
    results_[index].reset();
    written_ = index + 1;
    waiting_ -= bytes_of(index);
    changed_.notify_all();
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

 private:
  uint64_t bytes_of(size_t index) const { return jobs_[index].entry->bytes; }

  std::span<const WeightJob> jobs_;
  const WeightSource* source_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<Result<WeightBytes>>> results_;
  size_t next_ = 0;
  size_t written_ = 0;
  uint64_t waiting_ = 0;
  bool stopped_ = false;
};

Status write_all(std::span<const WeightJob> jobs, Conveyor& conveyor, engine::EngineWriter& writer,
                 const std::function<void(double)>& progress) {
  uint64_t total = 0, done = 0;
  for (const WeightJob& job : jobs) total += job.entry->bytes;
  for (size_t i = 0; i < jobs.size(); ++i) {
    ASSIGN_OR_RETURN(const WeightBytes weight, conveyor.take(i));
    if (weight.bytes.size() != jobs[i].entry->bytes) {
      return internal_error("weight '{}': {} bytes made, {} planned", jobs[i].entry->name,
                            weight.bytes.size(), jobs[i].entry->bytes);
    }
    ASSIGN_OR_RETURN(jobs[i].entry->offset, writer.append_weight(weight.bytes));
    conveyor.written(i);
    done += weight.bytes.size();
    if (progress) progress(total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total));
  }
  return ok_status();
}

}  // namespace

Status write_weights(std::span<const WeightJob> jobs, const WeightSource* source, int num_threads,
                     engine::EngineWriter& writer, const std::function<void(double)>& progress) {
  const double start = SteadyClock::instance().now_s();
  Conveyor conveyor(jobs, source);
  const int wanted = num_threads > 0 ? num_threads : std::min(allowed_cpus(), 16);
  std::vector<std::thread> threads;
  for (int i = 0; i < wanted; ++i) threads.emplace_back([&] { conveyor.work(); });
  Status status = write_all(jobs, conveyor, writer, progress);
  conveyor.stop();
  for (std::thread& thread : threads) thread.join();
  double gigabytes = 0;
  for (const WeightJob& job : jobs) gigabytes += static_cast<double>(job.entry->bytes) * 1e-9;
  if (status.ok() && gigabytes > 0.01) {
    const double seconds = SteadyClock::instance().now_s() - start;
    log_info("weights: {:.3f} GB in {:.2f} s ({:.2f} GB/s), {} threads", gigabytes, seconds,
             gigabytes / std::max(seconds, 1e-9), wanted);
  }
  return status;
}

}  // namespace ramjet::compiler

// Time as a dependency, so that schedulers are simulated with a fake clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace ramjet {

/// Monotonic nanoseconds since an arbitrary start. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ns() const = 0;
  double now_s() const { return static_cast<double>(now_ns()) * 1e-9; }
};

class SteadyClock final : public Clock {
 public:
  int64_t now_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  /// The process-wide instance.
  static const SteadyClock& instance() {
    static const SteadyClock clock;
    return clock;
  }
};

class FakeClock final : public Clock {
 public:
  int64_t now_ns() const override { return now_ns_; }
  void advance_ns(int64_t ns) { now_ns_ += ns; }

 private:
  std::atomic<int64_t> now_ns_{0};
};

}  // namespace ramjet

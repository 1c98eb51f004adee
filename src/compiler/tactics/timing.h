// Times tactics on real shapes, on the machine that builds, and remembers the results in
// cache_directory()/timing, keyed by machine, tactic, descriptor and shape.
//
// Weights come from a pool larger than the L2 cache and rotate, as they do in a step. A total
// budget keeps builds short: once it is spent, nothing more is timed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/registry.h"

namespace ramjet::compiler {

struct TimingLimits {
  double budget_s = 1.5;       // of measuring, in all
  double per_point_s = 0.002;  // of one tactic at one shape
  int max_runs = 20;
};

/// Not thread-safe. Uses a thread pool of its own.
class TacticTimer {
 public:
  TacticTimer(int num_threads, TimingLimits limits = {});
  ~TacticTimer();

  /// Whether ops of this kind can be timed: those that need neither a KV cache nor indices.
  static bool can_time(OpKind op);
  /// Microseconds a call with the symbols at these values; nullopt once the budget is spent.
  std::optional<double> us(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                           std::span<const int64_t> symbols);
  /// Writes what was learnt to the cache; failing to is no error.
  void save() const;
  double spent_s() const { return spent_s_; }

 private:
  double measure(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                 std::span<const int64_t> symbols);
  /// Makes the dtype's pool hold `bytes`; earlier slices of it become invalid if it grows.
  void reserve(DType dtype, size_t bytes);
  /// The next slice of it.
  std::byte* slice(DType dtype, size_t bytes);

  ThreadPool threads_;
  TimingLimits limits_;
  std::string path_;
  std::map<std::string, double> known_;
  size_t loaded_ = 0;
  std::map<DType, std::vector<std::byte>> pools_;
  size_t cursor_ = 0;
  double spent_s_ = 0;
};

}  // namespace ramjet::compiler

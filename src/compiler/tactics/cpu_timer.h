// CpuTimer: times tactics on real shapes on this CPU and remembers the results (timing_cache.h),
// keyed by machine, tactic, descriptor and shape.
//
// Weights come from a pool larger than the L2 cache and rotate, as they do in a step. A total
// budget keeps builds short: once it is spent, nothing more is timed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compiler/tactics/tactic_timer.h"
#include "compiler/tactics/timing_cache.h"

namespace ramjet::compiler {

struct TimingLimits {
  double budget_s = 1.5;       // of measuring, in all
  double per_point_s = 0.002;  // of one tactic at one shape
  int max_runs = 20;
};

/// Not thread-safe. Uses a thread pool of its own.
class CpuTimer final : public TacticTimer {
 public:
  explicit CpuTimer(int num_threads, TimingLimits limits = {});

  /// Ops that need neither a KV cache nor indices.
  bool can_time(OpKind op) const override;
  Status prepare(std::span<const TimingJob>, const std::function<void(double)>&) override {
    return ok_status();
  }
  Result<std::optional<double>> us(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                                   std::span<const int64_t> symbols) override;
  Result<std::optional<double>> again(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                                      std::span<const int64_t> symbols) override;
  std::vector<engine::Candidate> baselines(const kernels::OpDesc&,
                                           std::span<const int64_t>) override {
    return {};
  }
  void save() const override { cache_.save(); }
  std::string machine() const override;

 private:
  double measure(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                 std::span<const int64_t> symbols);
  /// Makes the dtype's pool hold `bytes`; earlier slices of it become invalid if it grows.
  void reserve(DType dtype, size_t bytes);
  /// The next slice of it.
  std::byte* slice(DType dtype, size_t bytes);

  ThreadPool threads_;
  TimingLimits limits_;
  TimingCache cache_;
  std::map<DType, std::vector<std::byte>> pools_;
  size_t cursor_ = 0;
  double spent_s_ = 0;
};

}  // namespace ramjet::compiler

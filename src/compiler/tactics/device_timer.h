// DeviceTimer: times tactics on this machine's first GPU and remembers the results
// (timing_cache.h), keyed by GPU, driver, machine code, descriptor and size.
//
// Ops of different layers that differ in their place in the cache alone share one time. A budget
// keeps builds short: once it is spent, nothing more is measured and the cost model decides.
// Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compiler/tactics/tactic_timer.h"
#include "compiler/tactics/timing_cache.h"
#include "kernels/device_timing.h"

namespace ramjet::compiler {

struct DeviceTimerOptions {
  int num_threads = 0;     // that compile
  double budget_s = 40;    // of measuring
  bool remembered = true;  // reads and writes the cache
  bool baselines = true;   // cuBLASLt, where it is installed
};

/// Tells ops apart by what they do: their place in the cache and its scales are left out.
std::string work_text(const kernels::OpDesc& desc);

class DeviceTimer final : public TacticTimer {
 public:
  /// Errors: kUnavailable, with the remedy: without a GPU, or NVRTC.
  static Result<std::unique_ptr<DeviceTimer>> create(const kernels::Target& target,
                                                     DeviceTimerOptions options);
  static Result<std::unique_ptr<TacticTimer>> create(const kernels::Target& target,
                                                     int num_threads);

  bool can_time(OpKind op) const override;
  Status prepare(std::span<const TimingJob> jobs,
                 const std::function<void(double share)>& progress) override;
  Result<std::optional<double>> us(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                                   std::span<const int64_t> symbols) override;
  std::vector<engine::Candidate> baselines(const kernels::OpDesc& desc,
                                           std::span<const int64_t> symbols) override;
  void save() const override;
  std::string machine() const override { return watch_->machine(); }
  kernels::DeviceStopwatch& stopwatch() { return *watch_; }

 private:
  struct Planned {
    std::optional<kernels::DevicePlan> plan;  // until it is loaded
    std::string fingerprint;
    std::optional<kernels::DeviceOp> op;
  };

  DeviceTimer(const kernels::Target& target, DeviceTimerOptions options,
              std::unique_ptr<kernels::DeviceStopwatch> watch);
  Planned& planned(const kernels::Tactic& tactic, const kernels::OpDesc& desc);
  Result<double> measure(Planned& planned, const kernels::Tactic& tactic,
                         const kernels::OpDesc& desc, std::span<const int64_t> symbols);

  kernels::Target target_;
  kernels::DeviceFacts facts_;
  DeviceTimerOptions options_;
  std::unique_ptr<kernels::DeviceStopwatch> watch_;
  TimingCache cache_;
  std::map<std::string, Planned> planned_;  // by tactic and desc
  double spent_s_ = 0;
  bool told_ = false;  // that the budget is spent
};

}  // namespace ramjet::compiler

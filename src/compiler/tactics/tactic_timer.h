// TacticTimer: measures tactics on the machine that builds. One for the CPU, one for a GPU.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/manifest.h"
#include "kernels/registry.h"

namespace ramjet::compiler {

/// A tactic that will be timed for a desc (borrowed) with the program's symbols at these values.
struct TimingJob {
  const kernels::Tactic* tactic = nullptr;
  const kernels::OpDesc* desc = nullptr;
  std::vector<std::vector<int64_t>> values;
};

class TacticTimer {
 public:
  virtual ~TacticTimer() = default;

  /// Whether ops of this kind can be timed.
  virtual bool can_time(OpKind op) const = 0;
  /// Told of all that is to come, before us(): what must be compiled for it is, in parallel.
  virtual Status prepare(std::span<const TimingJob> jobs,
                         const std::function<void(double share)>& progress) = 0;
  /// Microseconds a call; nullopt once the budget is spent. Errors: the machine's.
  virtual Result<std::optional<double>> us(const kernels::Tactic& tactic,
                                           const kernels::OpDesc& desc,
                                           std::span<const int64_t> symbols) = 0;
  /// Measures once more, whatever is remembered. nullopt: not this timer, or not within its budget.
  virtual Result<std::optional<double>> again(const kernels::Tactic&, const kernels::OpDesc&,
                                              std::span<const int64_t>) {
    return std::optional<double>();
  }

  /// Libraries timed beside, never chosen. Empty where there is none for this op.
  virtual std::vector<engine::Candidate> baselines(const kernels::OpDesc& desc,
                                                   std::span<const int64_t> symbols) = 0;
  /// Writes what was learnt to the cache; failing to is no error.
  virtual void save() const = 0;
  /// What machine the times are of: "NVIDIA H200, driver 13.0".
  virtual std::string machine() const = 0;
};

}  // namespace ramjet::compiler

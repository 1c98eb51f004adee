// DeviceStopwatch: how long ops take on this machine's first GPU, as they would in a step.
//
// Launches are queued as one graph, so that their overhead hides as it does in an engine. Weights
// and cache come from a pool larger than L2 and rotate; activations stay, as what the preceding
// kernel wrote would. Data are random: zeros cost less power. Batches are those of op_work.h.
// One thread, whose current device it sets. Owns device memory of about twice the largest weight.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "kernels/device_launch.h"
#include "kernels/registry.h"

namespace ramjet::kernels {

struct StopwatchLimits {
  double train_us = 600;   // of launches in a row
  int most_launches = 48;  // of them
  int repeats = 3;         // whose median counts
};

struct DeviceCeilings {
  double copy_tbps = 0;    // read + written
  double bf16_tflops = 0;  // cuBLASLt, 8192^3; 0 without it
  double fp8_tflops = 0;
};

class DeviceStopwatch {
 public:
  /// Errors: kUnavailable without a GPU or NVRTC.
  static Result<std::unique_ptr<DeviceStopwatch>> open(StopwatchLimits limits = {});
  ~DeviceStopwatch();

  /// "NVIDIA H200, driver 13.0": what makes times comparable.
  const std::string& machine() const;
  /// Mean microseconds of `op`, which is `tactic`'s plan of `desc`, with the symbols at these
  /// values. Errors: kResourceExhausted where operands do not fit; the driver's.
  Result<double> us(DeviceOp& op, const OpDesc& desc, const Tactic& tactic,
                    std::span<const int64_t> symbols);
  /// The bare product of a matmul by cuBLASLt, without what is fused to it. Errors: kUnsupported
  /// for other ops and types; kUnavailable.
  Result<double> cublaslt_us(const OpDesc& desc, std::span<const int64_t> symbols);
  Result<DeviceCeilings> ceilings();

 private:
  struct Impl;
  explicit DeviceStopwatch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What decides the machine code and the launches of a plan: for keys of what was measured.
std::string plan_fingerprint(const DevicePlan& plan);

}  // namespace ramjet::kernels

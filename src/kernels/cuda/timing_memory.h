// TimingMemory: operands of an op on the device for timing it: random weights and activations,
// a plausible paged cache. Buffers are shared by all ops and grow; placing another op reuses them.
//
// Addresses hold until the next place(). One thread; the device must be current.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/cuda/handles.h"
#include "kernels/device_launch.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cuda {

class TimingMemory {
 public:
  static Result<std::unique_ptr<TimingMemory>> create(const device::cuda::DeviceInfo& info,
                                                      const device::cuda::Stream& stream);
  ~TimingMemory();

  /// Operands of `desc` as `tactic` wants them, with the symbols at these values; `plan` null for a
  /// library's kernel.
  Status place(const OpDesc& desc, const Tactic* tactic, const DevicePlan* plan,
               std::span<const int64_t> symbols);
  /// What was placed, for the i-th launch in a row: what does not stay in cache rotates.
  LaunchOperands operands(int launch);
  /// Values of the symbols, sequences as batch_shape() has them.
  std::span<const int64_t> values() const;
  DeviceOp::Step step() const;
  /// An f32 1.
  uint64_t one() const;
  /// At least `bytes` of random data, elements of one byte or wider.
  Result<uint64_t> pool(bool narrow, size_t bytes);

 private:
  struct Impl;
  explicit TimingMemory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::kernels::cuda

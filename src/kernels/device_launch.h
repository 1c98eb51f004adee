// Compiling, binding and launching what a DevicePlan or an engine's records describe.
//
// A BoundLaunch borrows its DeviceLaunch and function and owns its encoded arguments; addresses are
// fixed when it is bound, sizes are read on the device, so it can be captured in a graph. One
// thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cuda/handles.h"
#include "kernels/device_plan.h"

namespace ramjet::kernels {

/// Machine code of a module for an arch ("sm_90a"), from the cache (cache_directory()/kernels, by
/// content) or from NVRTC. Thread-safe. Errors: kUnavailable without NVRTC; kInternal with the
/// compiler's log.
struct CompiledModule {
  std::string cubin;
  std::string log;  // registers, spills, shared memory; empty when it came from the cache
};
Result<CompiledModule> compile_device_module(const DeviceModule& module, std::string_view arch,
                                             bool use_cache = true);

/// One KV group on the device: as KvView, with addresses.
struct DeviceKv {
  uint64_t base = 0;
  int64_t num_blocks = 0;
  int64_t layer_stride = 0;  // bytes
};

/// Addresses on the device.
struct LaunchOperands {
  std::span<const uint64_t> inputs;
  std::span<const uint64_t> outputs;
  uint64_t workspace = 0;
  uint64_t flags = 0;
  uint64_t symbols = 0;           // const i32[], one a symbol
  std::span<const int64_t> most;  // largest value of each symbol
  std::span<const DeviceKv> kv;
};

class BoundLaunch {
 public:
  /// Errors: kInvalidArgument naming an argument that has no operand, or a tensor map that the
  /// driver refuses.
  static Result<BoundLaunch> bind(const DeviceLaunch& launch, device::cuda::CuFunction function,
                                  const LaunchOperands& operands);
  BoundLaunch(BoundLaunch&&) noexcept;
  BoundLaunch& operator=(BoundLaunch&&) noexcept;
  ~BoundLaunch();

  const DeviceLaunch& record() const;
  /// The grid covers symbols up to `symbols`.
  Status launch(std::span<const int64_t> symbols, const device::cuda::Stream& stream) const;

 private:
  struct Impl;
  explicit BoundLaunch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A plan compiled and loaded: for tuning and for tests. The device must be current.
class DeviceOp {
 public:
  static Result<DeviceOp> create(DevicePlan plan, std::string_view arch);
  DeviceOp(DeviceOp&&) noexcept;
  DeviceOp& operator=(DeviceOp&&) noexcept;
  ~DeviceOp();

  const DevicePlan& plan() const;
  const std::vector<std::string>& logs() const;  // of each module
  /// Encodes the arguments anew.
  Status bind(const LaunchOperands& operands);
  struct Step {
    bool any_single = true;  // LaunchWhen
    bool any_many = true;
  };
  Status launch(std::span<const int64_t> symbols, Step step, const device::cuda::Stream& stream);

 private:
  struct Impl;
  explicit DeviceOp(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::kernels

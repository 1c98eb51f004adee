// DeviceWeights: the weights of an engine on a GPU, and the modules of machine code it carries.
//
// Uploaded by several threads through page-locked buffers; dummy weights are generated on the way.
// Immutable; owns one allocation. The device must be current on the calling thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cuda/handles.h"
#include "engine/engine_file.h"

namespace ramjet::runtime {

class DeviceWeights {
 public:
  struct Report {
    uint64_t bytes = 0;
    double seconds = 0;
  };
  /// Errors: kResourceExhausted with the bytes wanted and free.
  static Result<std::shared_ptr<const DeviceWeights>> load(const engine::EngineFile& file,
                                                           const device::cuda::CudaDevice& device,
                                                           int num_threads);

  uint64_t address(size_t index) const { return memory_.get() + offsets_[index]; }
  const Report& report() const { return report_; }

 private:
  DeviceWeights() = default;
  device::cuda::DeviceBuffer memory_;
  std::vector<uint64_t> offsets_;  // of each weight
  Report report_;
};

/// All modules of an engine, loaded.
class DeviceModules {
 public:
  /// Errors name the module: machine code for another architecture, a damaged image.
  static Result<std::shared_ptr<const DeviceModules>> load(const engine::EngineFile& file);
  Result<device::cuda::CuFunction> function(const DeviceLaunch& launch) const;

 private:
  DeviceModules() = default;
  std::vector<std::string> names_;
  std::vector<device::cuda::Module> modules_;
};

}  // namespace ramjet::runtime

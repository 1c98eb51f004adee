// DeviceCode: the machine code of an engine for a GPU. Collects the plans of all its ops, shares
// equal modules, compiles them on several threads and lays them out for section "kernels".
//
// Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/manifest.h"
#include "kernels/device_plan.h"

namespace ramjet::compiler {

class DeviceCode {
 public:
  /// The launches of a plan, with modules numbered within the engine.
  std::vector<DeviceLaunch> add(const kernels::DevicePlan& plan);

  /// Machine code for `arch`; fills the engine's kernel table and flags. Errors: kUnavailable
  /// without NVRTC, with the remedy; kInternal naming the module with the compiler's log.
  Result<std::string> compile(std::string_view arch, int num_threads, engine::Manifest& manifest,
                              const std::function<void(double share)>& progress);

  size_t modules() const { return modules_.size(); }

 private:
  std::vector<kernels::DeviceModule> modules_;
  std::map<std::string, int32_t> known_;  // by source and defines
  int64_t flags_bytes_ = 0;
};

}  // namespace ramjet::compiler

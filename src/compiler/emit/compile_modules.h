// Compiling device modules on several threads.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/device_launch.h"

namespace ramjet::compiler {

/// Everything that tells a module from another.
std::string module_identity(const kernels::DeviceModule& module);

/// In the order of `modules`. `num_threads` 0: all cores. `progress` may be null; it is called from
/// several threads, one at a time.
std::vector<Result<kernels::CompiledModule>> compile_modules(
    std::span<const kernels::DeviceModule> modules, std::string_view arch, int num_threads,
    const std::function<void(double share)>& progress);

}  // namespace ramjet::compiler

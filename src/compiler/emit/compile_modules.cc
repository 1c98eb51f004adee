#include "compiler/emit/compile_modules.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace ramjet::compiler {

std::string module_identity(const kernels::DeviceModule& module) {
  std::string text = module.source;
  for (const std::string& define : module.defines) text += "\n#" + define;
  return text;
}

std::vector<Result<kernels::CompiledModule>> compile_modules(
    std::span<const kernels::DeviceModule> modules, std::string_view arch, int num_threads,
    const std::function<void(double share)>& progress) {
  std::vector<Result<kernels::CompiledModule>> compiled(
      modules.size(), Result<kernels::CompiledModule>(Error{ErrorCode::kInternal, "not compiled"}));
  std::atomic<size_t> next = 0, done = 0;
  std::mutex reporting;
  const auto work = [&] {
    for (size_t i = next++; i < modules.size(); i = next++) {
      compiled[i] = kernels::compile_device_module(modules[i], arch);
      const double share = static_cast<double>(++done) / static_cast<double>(modules.size());
      const std::lock_guard lock(reporting);
      if (progress) progress(share);
    }
  };
  const size_t wanted = num_threads > 0 ? static_cast<size_t>(num_threads)
                                        : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(wanted, modules.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return compiled;
}

}  // namespace ramjet::compiler

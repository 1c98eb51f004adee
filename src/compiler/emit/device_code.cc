#include "compiler/emit/device_code.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "kernels/device_launch.h"

namespace ramjet::compiler {
namespace {

constexpr size_t kAlignment = 64;

std::string identity(const kernels::DeviceModule& module) {
  std::string text = module.source;
  for (const std::string& define : module.defines) text += "\n#" + define;
  return text;
}

}  // namespace

std::vector<DeviceLaunch> DeviceCode::add(const kernels::DevicePlan& plan) {
  std::vector<int32_t> index;
  for (const kernels::DeviceModule& module : plan.modules) {
    const auto [it, fresh] =
        known_.try_emplace(identity(module), static_cast<int32_t>(modules_.size()));
    if (fresh) modules_.push_back(module);
    index.push_back(it->second);
  }
  flags_bytes_ = std::max(flags_bytes_, plan.flags_bytes);
  std::vector<DeviceLaunch> launches = plan.launches;
  for (DeviceLaunch& launch : launches) launch.module = index[static_cast<size_t>(launch.module)];
  return launches;
}

Result<std::string> DeviceCode::compile(std::string_view arch, int num_threads,
                                        engine::Manifest& manifest,
                                        const std::function<void(double share)>& progress) {
  std::vector<std::optional<Result<kernels::CompiledModule>>> compiled(modules_.size());
  std::atomic<size_t> next = 0, done = 0;
  std::mutex reporting;
  const auto work = [&] {
    for (size_t i = next++; i < modules_.size(); i = next++) {
      compiled[i] = kernels::compile_device_module(modules_[i], arch);
      const double share = static_cast<double>(++done) / static_cast<double>(modules_.size());
      const std::lock_guard lock(reporting);
      if (progress) progress(share);
    }
  };
  const size_t wanted = num_threads > 0 ? static_cast<size_t>(num_threads)
                                        : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(wanted, modules_.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  std::string section;
  for (size_t i = 0; i < modules_.size(); ++i) {
    if (!compiled[i]->ok()) return compiled[i]->error().with_context(modules_[i].name);
    const std::string& cubin = (*compiled[i])->cubin;
    section.resize((section.size() + kAlignment - 1) / kAlignment * kAlignment);
    manifest.kernels.push_back({modules_[i].name, section.size(), cubin.size()});
    section += cubin;
  }
  manifest.flags_bytes = static_cast<uint64_t>(flags_bytes_);
  return section;
}

}  // namespace ramjet::compiler

#include "compiler/emit/device_code.h"

#include <algorithm>

#include "compiler/emit/compile_modules.h"

namespace ramjet::compiler {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

std::vector<DeviceLaunch> DeviceCode::add(const kernels::DevicePlan& plan) {
  std::vector<int32_t> index;
  for (const kernels::DeviceModule& module : plan.modules) {
    const auto [it, fresh] =
        known_.try_emplace(module_identity(module), static_cast<int32_t>(modules_.size()));
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
  const auto compiled = compile_modules(modules_, arch, num_threads, progress);
  std::string section;
  for (size_t i = 0; i < modules_.size(); ++i) {
    if (!compiled[i].ok()) return compiled[i].error().with_context(modules_[i].name);
    const std::string& cubin = compiled[i]->cubin;
    section.resize((section.size() + kAlignment - 1) / kAlignment * kAlignment);
    manifest.kernels.push_back({modules_[i].name, section.size(), cubin.size()});
    section += cubin;
  }
  manifest.flags_bytes = static_cast<uint64_t>(flags_bytes_);
  return section;
}

}  // namespace ramjet::compiler

#include "kernels/cuda/plan_util.h"

#include <fmt/core.h>

#include <utility>

namespace ramjet::kernels::cuda {

std::optional<Dim> product(const TensorType& type, int first, int last) {
  Dim out = 1;
  for (int i = first; i < last; ++i) {
    const Dim& dim = type.dims[static_cast<size_t>(i)];
    if (dim.fixed()) {
      out = scaled(out, dim.offset);
    } else if (out.fixed()) {
      out = scaled(dim, out.offset);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

int64_t width_of(const TensorType& type) {
  if (type.dims.empty() || !type.dims.back().fixed()) return 0;
  return std::max<int64_t>(type.dims.back().offset, 0);
}

Dim scaled(Dim dim, int64_t factor) {
  dim.factor *= factor;
  dim.offset *= factor;
  return dim;
}

std::string_view element_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float";
    case DType::kBf16: return "bf16_t";
    case DType::kF16: return "f16_t";
    case DType::kI32: return "int32_t";
    case DType::kF8E4M3: return "e4m3_t";
    case DType::kI8: return "int8_t";
    default: return "uint8_t";
  }
}

std::string device_float(double value) { return fmt::format("{:.9e}f", value); }

int64_t pack_of(int64_t width, int64_t most) {
  int64_t pack = most;
  while (pack > 1 && width % pack != 0) pack /= 2;
  return pack;
}

bool is_real(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16;
}

bool has_reference_meaning(const OpDesc& desc) {
  const Tactic* reference = reference_tactic(desc.op);
  return reference != nullptr && reference->supports(desc);
}

LaunchArg define_extent(DeviceModule& module, std::string_view name, const Dim& dim) {
  define(module, fmt::format("{}_FACTOR", name), dim.fixed() ? 0 : dim.factor);
  define(module, fmt::format("{}_OFFSET", name), dim.offset);
  return dim.fixed() ? LaunchArg::input(0) : LaunchArg::symbol(dim.symbol);
}

void define(DeviceModule& module, std::string_view name, std::string_view value) {
  module.defines.push_back(fmt::format("{}={}", name, value));
}
void define(DeviceModule& module, std::string_view name, int64_t value) {
  module.defines.push_back(fmt::format("{}={}", name, value));
}
void define_type(DeviceModule& module, std::string_view name, DType dtype) {
  define(module, name, element_type(dtype));
}

DeviceLaunch& single_launch(DevicePlan& plan, DeviceModule module, std::string entry,
                            const DeviceFacts& facts) {
  plan.modules.push_back(std::move(module));
  DeviceLaunch& launch = plan.launches.emplace_back();
  launch.entry = std::move(entry);
  launch.grid = {1, 1, 1};
  launch.programmatic = facts.sm >= 90;
  return launch;
}

}  // namespace ramjet::kernels::cuda

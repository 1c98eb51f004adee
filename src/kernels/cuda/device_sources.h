// The device sources of src/kernels/cuda/device, embedded as text.
#pragma once

#include <span>
#include <string_view>

namespace ramjet::kernels::cuda {

struct DeviceSource {
  std::string_view name;  // "gemm_sm90.cuh"
  std::string_view text;
};
std::span<const DeviceSource> device_sources();

}  // namespace ramjet::kernels::cuda

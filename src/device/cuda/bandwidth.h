// What the memory of a GPU gives, for floors that stand beside measured times.
#pragma once

#include <cstdint>

#include "device/cuda/handles.h"

namespace ramjet::device::cuda {

/// Bytes read and written a second by copies within the memory of the current device, the best of
/// several over buffers of `bytes` (at most a quarter of what is free).
Result<double> measure_copy_bandwidth(const CudaDevice& device, uint64_t bytes);

}  // namespace ramjet::device::cuda

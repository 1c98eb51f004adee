#include "device/cuda/bandwidth.h"

#include <algorithm>

namespace ramjet::device::cuda {

Result<double> measure_copy_bandwidth(const CudaDevice& device, uint64_t bytes) {
  ASSIGN_OR_RETURN(const CudaDevice::Memory memory, device.memory());
  const uint64_t most = static_cast<uint64_t>(std::max<int64_t>(memory.free_bytes, 0)) / 4;
  bytes = std::clamp<uint64_t>(bytes, 1, std::max<uint64_t>(most, 1));
  ASSIGN_OR_RETURN(const Driver* d, driver());
  ASSIGN_OR_RETURN(const DeviceBuffer from, DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(const DeviceBuffer to, DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(const Stream stream, Stream::create());
  ASSIGN_OR_RETURN(const Event start, Event::create(true));
  ASSIGN_OR_RETURN(const Event end, Event::create(true));
  RETURN_IF_ERROR(from.fill(0x5a, stream));
  float best_ms = 0;
  constexpr int kRounds = 8, kCopies = 4;
  for (int round = 0; round < kRounds; ++round) {
    RETURN_IF_ERROR(start.record(stream));
    for (int i = 0; i < kCopies; ++i) {
      RETURN_IF_ERROR(
          check(d->copy_on_device(to.get(), from.get(), bytes, stream.get()), "cuMemcpyDtoDAsync"));
    }
    RETURN_IF_ERROR(end.record(stream));
    RETURN_IF_ERROR(end.synchronize());
    ASSIGN_OR_RETURN(const float ms, end.elapsed_ms_since(start));
    if (best_ms == 0 || ms < best_ms) best_ms = ms;
  }
  if (best_ms <= 0) return internal_error("copies of {} bytes took no time", bytes);
  return 2.0 * static_cast<double>(bytes) * kCopies / (static_cast<double>(best_ms) * 1e-3);
}

}  // namespace ramjet::device::cuda

// SamplerSlots: what the device's sampler keeps of a sequence from step to step: how often each
// token occurred (for penalties), and which tokens are allowed.
//
// A slot is filled from the host when its sequence starts or restarts; the kernel then counts every
// token that it chooses. Uploads are queued on the step's stream, so they follow the last step that
// used the slot for another sequence. Owns its memory on both sides. One thread at a time.
#pragma once

#include <array>
#include <cstdint>

#include "device/cuda/handles.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

class SamplerSlots {
 public:
  SamplerSlots() = default;
  static Result<SamplerSlots> allocate(size_t slots, int64_t vocab_size);

  static bool has_counts(const LogitControls& controls);
  /// Queues what the row's slot must hold. Its history must be known.
  Status fill(const RowSampling& row, const device::cuda::Stream& stream);

  /// i32[slots, count_words(vocab)] and i32[slots, mask_words(vocab)] on the device
  /// (op/sampling.h).
  uint64_t counts() const { return counts_.get(); }
  uint64_t masks() const { return masks_.get(); }

 private:
  static constexpr size_t kStaged = 16;

  /// A row of page-locked memory whose last upload is over.
  Result<std::span<uint32_t>> stage(int64_t words);
  /// Queues the staged row's upload.
  Status send(std::span<const uint32_t> row, const device::cuda::DeviceBuffer& to, int32_t slot,
              const device::cuda::Stream& stream);

  int64_t vocab_ = 0;
  size_t slots_ = 0;
  device::cuda::DeviceBuffer counts_, masks_;
  device::cuda::PinnedBuffer staged_;
  std::array<device::cuda::Event, kStaged> sent_;
  size_t next_ = 0;
};

}  // namespace ramjet::runtime

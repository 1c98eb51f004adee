// StepBuffers: what a step needs to know, on its way to the GPU.
//
// Two page-locked copies take turns, so that the next step can be written while the last one's
// still travels; on the device there is one, at fixed addresses, in the order of the stream.
// Owns all of it. One thread at a time; the device must be current.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "device/cuda/handles.h"
#include "engine/manifest.h"
#include "runtime/session/step_interface.h"

namespace ramjet::runtime {

class StepBuffers {
 public:
  static Result<StepBuffers> create(const engine::Program& program, const StepInterface& interface);

  uint64_t symbols() const { return memory_.get(); }
  /// Of the program's inputs, in its order.
  std::span<const uint64_t> inputs() const { return addresses_; }

  /// Values of the program's symbols in a step.
  void solve(const StepBatch& batch, std::vector<int64_t>* symbols) const;
  /// Queues the upload.
  Status upload(const StepBatch& batch, std::span<const int64_t> symbols,
                const device::cuda::Stream& stream);

 private:
  struct Staging {
    device::cuda::PinnedBuffer words;  // symbols and ids, as they lie on the device
    device::cuda::PinnedBuffer table;  // used columns of the block table, row by row
    device::cuda::Event sent;
  };
  Status upload_table(const StepBatch& batch, Staging& staging, const device::cuda::Stream& stream);

  const engine::Program* program_ = nullptr;  // of the file, which the session shares
  std::vector<StepInput> inputs_;
  std::vector<size_t> offsets_;  // bytes, of each input within memory_
  std::vector<uint64_t> addresses_;
  int64_t block_tokens_ = 0, max_blocks_ = 0;
  size_t word_bytes_ = 0;
  device::cuda::DeviceBuffer memory_;
  device::cuda::DeviceBuffer table_;
  std::array<Staging, 2> staging_;
  size_t turn_ = 0;
};

}  // namespace ramjet::runtime

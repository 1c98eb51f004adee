// CudaSession: one of our engines on one GPU, with its paged KV cache.
//
// Owns the cache, the step's buffers and the stream; shares the engine file. One thread at a time,
// as every Session. Steps of pure decode run as one captured graph a bucket of batch sizes.
#pragma once

#include <ramjet/executor.h>

#include <memory>
#include <vector>

#include "device/cuda/handles.h"
#include "engine/engine_file.h"
#include "runtime/session/device_clock.h"
#include "runtime/session/device_program.h"
#include "runtime/session/device_sampler.h"
#include "runtime/session/session.h"
#include "runtime/session/step_buffers.h"

namespace ramjet::runtime {

class CudaSession final : public Session {
 public:
  /// Uses kv_bytes, kv_fraction, max_batch_size and num_threads (of the upload) of `config`.
  /// Errors: kUnavailable without a GPU, kResourceExhausted with the bytes wanted and free.
  static Result<std::unique_ptr<CudaSession>> create(std::shared_ptr<const engine::EngineFile> file,
                                                     const ExecutorConfig& config);
  /// Waits for a step in flight: it reads and writes what goes away here.
  ~CudaSession() override;

  const SessionInfo& info() const override { return info_; }
  Result<std::span<const float>> step(const StepBatch& batch) override;
  bool samples(const SamplingParams& params) const override;
  Status launch(const StepBatch& batch, std::span<const RowSampling> rows) override;
  Status collect(std::span<SampledRow> rows) override;
  double device_busy_s() const override { return clock_.busy_s(); }
  /// A fault of a kernel sticks to the context: then nothing works any more, not even waiting.
  bool lost() override { return !device_->bind().ok() || !device_->synchronize().ok(); }

  DeviceProgram& program() { return *program_; }
  /// The next steps are timed record by record; slower.
  void set_profiling(bool on) { profiling_ = on; }

 private:
  CudaSession() = default;
  Status allocate_cache(const ExecutorConfig& config);
  Status make_program();
  Status copy_blocks(std::span<const BlockCopy> copies);
  Status make_sampler();
  /// With `rows` tokens are chosen on the device.
  Status enqueue(const StepBatch& batch, const std::span<const RowSampling>* rows);
  Status launch_program(const StepBatch& batch);
  Result<std::span<const float>> download_logits(size_t rows);

  std::shared_ptr<const engine::EngineFile> file_;  // shared with the Engine
  std::unique_ptr<device::cuda::CudaDevice> device_;
  device::cuda::Stream stream_;
  StepInterface interface_;
  SessionInfo info_;
  std::shared_ptr<const DeviceWeights> weights_;  // shared with the programs
  std::shared_ptr<const DeviceModules> modules_;  // likewise
  StepBuffers buffers_;
  DeviceClock clock_;
  device::cuda::DeviceBuffer logits_;
  device::cuda::DeviceBuffer flags_;
  device::cuda::DeviceBuffer cache_;
  std::vector<kernels::DeviceKv> kv_;
  std::unique_ptr<DeviceProgram> program_;
  std::unique_ptr<DeviceSampler> sampler_;  // null: the engine cannot
  device::cuda::PinnedBuffer host_logits_;  // grows to the most rows a step wanted
  std::vector<int64_t> symbols_, covered_;
  bool profiling_ = false;
};

}  // namespace ramjet::runtime

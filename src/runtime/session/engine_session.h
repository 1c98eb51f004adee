// EngineSession: one of our engines on the CPU, with its paged KV cache.
//
// Owns the cache and the step's logits; shares the engine file and borrows the thread pool, which
// must outlive it. One thread at a time, as every Session.
#pragma once

#include <ramjet/executor.h>

#include <memory>
#include <vector>

#include "engine/engine_file.h"
#include "kernels/kernel.h"
#include "runtime/session/adapter_memory.h"
#include "runtime/session/aligned_memory.h"
#include "runtime/session/program_runner.h"
#include "runtime/session/session.h"
#include "runtime/session/step_interface.h"

namespace ramjet::runtime {

class EngineSession final : public Session {
 public:
  /// Uses kv_bytes, kv_fraction, max_batch_size of `config`. Errors: kResourceExhausted when the
  /// cache would hold less than two blocks, with both numbers; kUnsupported for unknown kernels.
  static Result<std::unique_ptr<EngineSession>> create(
      std::shared_ptr<const engine::EngineFile> file, const ExecutorConfig& config,
      ThreadPool* pool);

  const SessionInfo& info() const override { return info_; }
  Result<std::span<const float>> step(const StepBatch& batch) override;
  Status set_adapter(int32_t slot, const LoraWeights& weights) override;

  ProgramRunner& runner() { return *runner_; }
  void set_profiling(bool on) { runner_->set_profiling(on); }

 private:
  EngineSession() = default;
  Status find_bindings();
  Status allocate_cache(const ExecutorConfig& config);
  void copy_block(const BlockCopy& copy);

  SessionInfo info_;
  std::shared_ptr<const engine::EngineFile> file_;  // shared with the Engine
  ThreadPool* pool_ = nullptr;
  std::unique_ptr<ProgramRunner> runner_;
  std::vector<StepInput> step_inputs_;  // of the program's inputs
  std::vector<TensorView> inputs_;      // in the program's order
  std::vector<TensorView> outputs_;
  AdapterMemory adapters_;
  AlignedMemory logits_;
  AlignedMemory cache_;
  std::vector<kernels::KvView> kv_;
};

/// Bytes this process may still take: MemAvailable, within the limits of its control groups.
uint64_t available_memory_bytes();

}  // namespace ramjet::runtime

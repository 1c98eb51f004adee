// ProgramRunner: interprets the launch records of one program of an engine. It knows no op: it
// binds views, evaluates extents and calls the tactic that the engine names.
//
// Owns the arena. Shares the engine file. One thread at a time. run() allocates nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/engine_file.h"
#include "kernels/kernel.h"
#include "runtime/session/record_time.h"
#include "tensor/tensor_view.h"

namespace ramjet::runtime {

/// Weights of an engine in memory: mapped ones as they are, dummy ones generated from their seed
/// (normal values of a small scale; the same seed, the same bytes). Immutable; shared by runners.
class WeightStore {
 public:
  static Result<std::shared_ptr<const WeightStore>> load(
      std::shared_ptr<const engine::EngineFile> file, ThreadPool& pool);
  ~WeightStore();
  TensorView view(size_t index) const;  // data is packed; the shape is the logical one

  struct Impl;
  explicit WeightStore(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

class ProgramRunner {
 public:
  /// Resolves every tactic. Errors: kUnsupported naming the tactic this build lacks.
  static Result<std::unique_ptr<ProgramRunner>> create(
      std::shared_ptr<const engine::EngineFile> file, std::string_view program,
      std::shared_ptr<const WeightStore> weights, ThreadPool* pool);
  ~ProgramRunner();

  const engine::Program& program() const;
  /// Views in the order of program().inputs and outputs. Symbols are solved from the inputs'
  /// shapes; a conflict or a value outside its profile is kInvalidArgument naming the symbol.
  Status run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
             std::span<const kernels::KvView> kv);
  void set_profiling(bool on);
  std::span<const RecordTime> times() const;  // one a record

  struct Impl;
  explicit ProgramRunner(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::runtime

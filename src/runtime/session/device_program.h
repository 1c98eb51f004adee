// DeviceProgram: runs one program of an engine on a GPU, by the launches and the machine code that
// the engine carries. It knows no op and no kernel; what the CPU's ProgramRunner is there, this is
// here.
//
// Owns the arena and the captured graphs; shares file, weights and modules. Addresses of inputs and
// outputs are fixed when it is made; sizes are read on the device from `symbols`, so one captured
// graph serves every step that its extents cover. One thread at a time; the device must be current.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/cuda/handles.h"
#include "engine/engine_file.h"
#include "kernels/device_launch.h"
#include "runtime/session/device_weights.h"
#include "runtime/session/record_time.h"

namespace ramjet::runtime {

/// Device memory that a program reads and writes and that outlives it.
struct DeviceOperands {
  std::span<const uint64_t> inputs;   // in the program's order
  std::span<const uint64_t> outputs;  // likewise
  std::span<const kernels::DeviceKv> kv;
  uint64_t symbols = 0;  // i32, one a symbol
  uint64_t flags = 0;    // Manifest::flags_bytes of zeros
};

/// What a step holds, for launches that only some steps want (LaunchWhen).
struct StepKind {
  bool any_single = true;
  bool any_many = true;
  bool operator==(const StepKind&) const = default;
};

class DeviceProgram {
 public:
  static Result<std::unique_ptr<DeviceProgram>> create(
      std::shared_ptr<const engine::EngineFile> file, std::string_view program,
      std::shared_ptr<const DeviceWeights> weights, std::shared_ptr<const DeviceModules> modules,
      const DeviceOperands& operands);
  ~DeviceProgram();

  const engine::Program& program() const;
  /// Queues every launch of a step; grids cover symbols up to `symbols`, and the values in device
  /// memory must not exceed them.
  Status launch(std::span<const int64_t> symbols, StepKind kind,
                const device::cuda::Stream& stream);
  /// The same as one captured graph, made at its first use and kept.
  Status launch_graph(std::span<const int64_t> symbols, StepKind kind,
                      const device::cuda::Stream& stream);
  size_t graphs() const;

  /// Runs a step with a pair of events around each record and adds up their times; waits for the
  /// end. Kernels do not overlap then.
  Status launch_timed(std::span<const int64_t> symbols, StepKind kind,
                      const device::cuda::Stream& stream);
  std::span<const RecordTime> times() const;  // of each record

 private:
  struct Impl;
  explicit DeviceProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::runtime

// DeviceRunner: runs a program of a GPU engine over operands in host memory, for users' networks.
//
// Inputs go up, the program runs, outputs come back; the call returns when they are there. Owns
// device memory for all of them with every symbol at its maximum. One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/cuda/handles.h"
#include "engine/engine_file.h"
#include "runtime/session/device_program.h"
#include "tensor/tensor_view.h"

namespace ramjet::runtime {

class DeviceRunner {
 public:
  /// Errors: kUnsupported for a program that wants a KV cache: sessions run those.
  static Result<std::unique_ptr<DeviceRunner>> create(
      std::shared_ptr<const engine::EngineFile> file, std::string_view program);

  const engine::Program& program() const { return program_->program(); }
  /// Host views in the order of the program's inputs and outputs, of shapes that `symbols` give.
  Status run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
             std::span<const int64_t> symbols);

 private:
  DeviceRunner() = default;
  Status make_program(std::string_view name);

  std::shared_ptr<const engine::EngineFile> file_;  // shared with the Engine
  std::unique_ptr<device::cuda::CudaDevice> device_;
  device::cuda::Stream stream_;
  std::vector<device::cuda::DeviceBuffer> inputs_, outputs_;
  device::cuda::DeviceBuffer symbols_, flags_;
  std::unique_ptr<DeviceProgram> program_;
};

}  // namespace ramjet::runtime

#include "runtime/session/device_runner.h"

#include <algorithm>

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;

Result<std::vector<cu::DeviceBuffer>> allocate(const std::vector<engine::Binding>& bindings,
                                               std::span<const int64_t> most) {
  std::vector<cu::DeviceBuffer> buffers;
  for (const engine::Binding& binding : bindings) {
    const int64_t bytes = binding.type.shape(most).elements() * dtype_bytes(binding.type.dtype);
    ASSIGN_OR_RETURN(cu::DeviceBuffer buffer,
                     cu::DeviceBuffer::allocate(static_cast<size_t>(std::max<int64_t>(bytes, 4))));
    buffers.push_back(std::move(buffer));
  }
  return buffers;
}

std::vector<uint64_t> addresses(std::span<const cu::DeviceBuffer> buffers) {
  std::vector<uint64_t> result;
  for (const cu::DeviceBuffer& buffer : buffers) result.push_back(buffer.get());
  return result;
}

std::span<std::byte> bytes_of(const TensorView& view) {
  const int64_t bytes = view.shape.elements() * dtype_bytes(view.dtype);
  return {static_cast<std::byte*>(view.data), static_cast<size_t>(bytes)};
}

}  // namespace

Result<std::unique_ptr<DeviceRunner>> DeviceRunner::create(
    std::shared_ptr<const engine::EngineFile> file, std::string_view program) {
  auto runner = std::unique_ptr<DeviceRunner>(new DeviceRunner());
  if (!file->manifest().kv_groups.empty()) {
    return unsupported("{}: the program '{}' wants a KV cache; run it with an Executor",
                       file->path(), program);
  }
  runner->file_ = std::move(file);
  ASSIGN_OR_RETURN(runner->device_, cu::CudaDevice::open(0));
  ASSIGN_OR_RETURN(runner->stream_, cu::Stream::create());
  RETURN_IF_ERROR(runner->make_program(program));
  return runner;
}

Status DeviceRunner::make_program(std::string_view name) {
  const engine::Program* found = nullptr;
  for (const engine::Program& program : file_->manifest().programs) {
    if (program.name == name) found = &program;
  }
  if (found == nullptr) {
    return not_found("{}: the engine has no program '{}'", file_->path(), name);
  }
  std::vector<int64_t> most;
  for (const Symbol& symbol : found->symbols) most.push_back(symbol.max);
  ASSIGN_OR_RETURN(inputs_, allocate(found->inputs, most));
  ASSIGN_OR_RETURN(outputs_, allocate(found->outputs, most));
  ASSIGN_OR_RETURN(symbols_,
                   cu::DeviceBuffer::allocate(std::max<size_t>(most.size(), 1) * sizeof(int32_t)));
  ASSIGN_OR_RETURN(
      flags_, cu::DeviceBuffer::allocate(std::max<uint64_t>(file_->manifest().flags_bytes, 4)));
  RETURN_IF_ERROR(flags_.fill(0, stream_));
  ASSIGN_OR_RETURN(auto weights, DeviceWeights::load(*file_, *device_, 0));
  ASSIGN_OR_RETURN(auto modules, DeviceModules::load(*file_));
  const std::vector<uint64_t> inputs = addresses(inputs_), outputs = addresses(outputs_);
  const DeviceOperands operands{inputs, outputs, {}, symbols_.get(), flags_.get()};
  ASSIGN_OR_RETURN(program_, DeviceProgram::create(file_, name, std::move(weights),
                                                   std::move(modules), operands));
  return ok_status();
}

Status DeviceRunner::run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
                         std::span<const int64_t> symbols) {
  RETURN_IF_ERROR(device_->bind());
  std::vector<int32_t> words(symbols.begin(), symbols.end());
  if (!words.empty()) {
    RETURN_IF_ERROR(symbols_.upload(std::as_bytes(std::span(words)), 0, stream_));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (bytes_of(inputs[i]).empty()) continue;
    RETURN_IF_ERROR(inputs_[i].upload(bytes_of(inputs[i]), 0, stream_));
  }
  RETURN_IF_ERROR(program_->launch(symbols, {}, stream_));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (bytes_of(outputs[i]).empty()) continue;
    RETURN_IF_ERROR(outputs_[i].download(bytes_of(outputs[i]), 0, stream_));
  }
  return stream_.synchronize();
}

}  // namespace ramjet::runtime

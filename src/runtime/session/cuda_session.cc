#include "runtime/session/cuda_session.h"

#include <algorithm>

#include "base/log.h"

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;

constexpr double kUsualFraction = 0.9;        // of what the weights and the workspace leave
constexpr uint64_t kDriverBytes = 256 << 20;  // graphs and local memory come later

const engine::Program* find_program(const engine::EngineFile& file, std::string_view name) {
  for (const engine::Program& program : file.manifest().programs) {
    if (program.name == name) return &program;
  }
  return nullptr;
}

/// The size that a graph is laid out for: fine steps where a step is short.
int64_t bucket(int64_t size) {
  const int64_t step = size <= 8 ? 1 : size <= 64 ? 8 : size <= 256 ? 16 : 64;
  return (size + step - 1) / step * step;
}

StepKind kind_of(const StepBatch& batch) {
  StepKind kind{false, false};
  for (size_t i = 0; i + 1 < batch.query_start.size(); ++i) {
    (batch.query_start[i + 1] - batch.query_start[i] == 1 ? kind.any_single : kind.any_many) = true;
  }
  return kind;
}

}  // namespace

Result<std::unique_ptr<CudaSession>> CudaSession::create(
    std::shared_ptr<const engine::EngineFile> file, const ExecutorConfig& config) {
  auto session = std::unique_ptr<CudaSession>(new CudaSession());
  session->file_ = file;
  const engine::Program* const program = find_program(*file, "main");
  if (program == nullptr) return not_found("{}: the engine has no program 'main'", file->path());
  ASSIGN_OR_RETURN(session->interface_, read_step_interface(*file, *program));
  session->info_ = session->interface_.info;
  ASSIGN_OR_RETURN(session->device_, cu::CudaDevice::open(0));
  ASSIGN_OR_RETURN(session->stream_, cu::Stream::create());
  ASSIGN_OR_RETURN(session->clock_, DeviceClock::create());
  ASSIGN_OR_RETURN(session->weights_,
                   DeviceWeights::load(*file, *session->device_, config.num_threads));
  ASSIGN_OR_RETURN(session->modules_, DeviceModules::load(*file));
  ASSIGN_OR_RETURN(session->buffers_, StepBuffers::create(*program, session->interface_));
  SessionInfo& info = session->info_;
  info.device =
      fmt::format("{} ({})", file->manifest().provenance.target, session->device_->info().name);
  const auto logits_bytes = static_cast<size_t>(info.max_logit_rows * info.vocab_size) * 4;
  ASSIGN_OR_RETURN(session->logits_, cu::DeviceBuffer::allocate(std::max<size_t>(logits_bytes, 4)));
  const uint64_t flags = std::max<uint64_t>(file->manifest().flags_bytes, 4);
  ASSIGN_OR_RETURN(session->flags_, cu::DeviceBuffer::allocate(flags));
  RETURN_IF_ERROR(session->flags_.fill(0, session->stream_));
  RETURN_IF_ERROR(session->allocate_cache(config));
  RETURN_IF_ERROR(session->make_program());
  RETURN_IF_ERROR(session->make_sampler());
  RETURN_IF_ERROR(session->stream_.synchronize());
  return session;
}

Status CudaSession::allocate_cache(const ExecutorConfig& config) {
  const engine::Manifest& manifest = file_->manifest();
  ASSIGN_OR_RETURN(const cu::CudaDevice::Memory memory, device_->memory());
  uint64_t arena = 0;
  for (const engine::Program& program : manifest.programs) arena += program.arena_bytes;
  const uint64_t taken = arena + kDriverBytes;
  const auto free_bytes = static_cast<uint64_t>(memory.free_bytes);
  RETURN_IF_ERROR(size_cache(manifest, config, free_bytes - std::min(free_bytes, taken),
                             kUsualFraction, info_));
  ASSIGN_OR_RETURN(cache_, cu::DeviceBuffer::allocate(info_.kv_bytes));
  RETURN_IF_ERROR(cache_.fill(0, stream_));
  uint64_t at = cache_.get();
  for (const engine::KvGroup& group : manifest.kv_groups) {
    kernels::DeviceKv view;
    view.base = at;
    view.num_blocks = info_.num_blocks;
    view.layer_stride = group.block_bytes(info_.block_tokens) * info_.num_blocks;
    at += static_cast<uint64_t>(view.layer_stride * group.num_layers);
    kv_.push_back(view);
  }
  log_info(
      "GPU memory of {}: weights {:.2f} GB, KV cache {:.2f} GB, workspace {:.2f} GB, "
      "{:.2f} GB left of {:.2f}",
      device_->info().name, static_cast<double>(weights_->report().bytes) * 1e-9,
      static_cast<double>(info_.kv_bytes) * 1e-9, static_cast<double>(arena) * 1e-9,
      (static_cast<double>(memory.free_bytes) - static_cast<double>(info_.kv_bytes + arena)) * 1e-9,
      static_cast<double>(memory.total_bytes) * 1e-9);
  return ok_status();
}

Status CudaSession::make_program() {
  const uint64_t outputs[] = {logits_.get()};
  DeviceOperands operands;
  operands.inputs = buffers_.inputs();
  operands.outputs = outputs;
  operands.kv = kv_;
  operands.symbols = buffers_.symbols();
  operands.flags = flags_.get();
  ASSIGN_OR_RETURN(program_, DeviceProgram::create(file_, "main", weights_, modules_, operands));
  return ok_status();
}

Status CudaSession::make_sampler() {
  DeviceSampler::Parts parts{file_, weights_, modules_, logits_.get(), 0, flags_.get()};
  for (size_t i = 0; i < interface_.inputs.size(); ++i) {
    if (interface_.inputs[i] == StepInput::kTokenIds) parts.token_ids = buffers_.inputs()[i];
  }
  if (parts.token_ids == 0) return ok_status();
  ASSIGN_OR_RETURN(sampler_, DeviceSampler::create(parts, info_));
  return ok_status();
}

Status CudaSession::copy_blocks(std::span<const BlockCopy> copies) {
  if (copies.empty()) return ok_status();
  ASSIGN_OR_RETURN(const cu::Driver* driver, cu::driver());
  const engine::Manifest& manifest = file_->manifest();
  for (const BlockCopy& copy : copies) {
    for (size_t g = 0; g < kv_.size(); ++g) {
      const engine::KvGroup& group = manifest.kv_groups[g];
      const auto bytes = static_cast<uint64_t>(group.block_bytes(info_.block_tokens));
      for (int64_t layer = 0; layer < group.num_layers; ++layer) {
        const uint64_t base = kv_[g].base + static_cast<uint64_t>(layer * kv_[g].layer_stride);
        RETURN_IF_ERROR(
            cu::check(driver->copy_on_device(base + static_cast<uint64_t>(copy.to) * bytes,
                                             base + static_cast<uint64_t>(copy.from) * bytes, bytes,
                                             stream_.get()),
                      "cuMemcpyDtoDAsync"));
      }
    }
  }
  return ok_status();
}

CudaSession::~CudaSession() {
  if (device_ != nullptr && device_->bind().ok()) static_cast<void>(device_->synchronize());
}

Status CudaSession::enqueue(const StepBatch& batch, const std::span<const RowSampling>* rows) {
  RETURN_IF_ERROR(device_->bind());
  RETURN_IF_ERROR(clock_.begin(stream_));
  RETURN_IF_ERROR(copy_blocks(batch.copies));
  buffers_.solve(batch, &symbols_);
  RETURN_IF_ERROR(buffers_.upload(batch, symbols_, stream_));
  if (rows != nullptr) RETURN_IF_ERROR(sampler_->begin(batch, *rows, stream_));
  RETURN_IF_ERROR(launch_program(batch));
  if (rows != nullptr) RETURN_IF_ERROR(sampler_->finish(stream_));
  return clock_.end(stream_);
}

Status CudaSession::launch_program(const StepBatch& batch) {
  const StepKind kind = kind_of(batch);
  if (profiling_) return program_->launch_timed(symbols_, kind, stream_);
  // A step with prompts is long enough to be queued kernel by kernel while the last one runs.
  const bool decode = !kind.any_many && batch.logit_rows.size() == batch.kv_len.size();
  if (!decode) return program_->launch(symbols_, kind, stream_);
  covered_ = symbols_;
  for (size_t i = 0; i < covered_.size(); ++i) {
    covered_[i] = std::min(bucket(covered_[i]), program_->program().symbols[i].max);
  }
  return program_->launch_graph(covered_, kind, stream_);
}

Result<std::span<const float>> CudaSession::download_logits(size_t rows) {
  const size_t count = rows * static_cast<size_t>(info_.vocab_size);
  const size_t bytes = count * sizeof(float);
  if (bytes > host_logits_.span().size()) {
    host_logits_ = {};
    ASSIGN_OR_RETURN(host_logits_, cu::PinnedBuffer::allocate(bytes));
  }
  if (bytes > 0) {
    RETURN_IF_ERROR(logits_.download(host_logits_.span().first(bytes), 0, stream_));
  }
  RETURN_IF_ERROR(stream_.synchronize());
  return std::span(reinterpret_cast<const float*>(host_logits_.span().data()), count);
}

Result<std::span<const float>> CudaSession::step(const StepBatch& batch) {
  RETURN_IF_ERROR(enqueue(batch, nullptr));
  return download_logits(batch.logit_rows.size());
}

bool CudaSession::samples(const SamplingParams& params) const {
  return sampler_ != nullptr && sampler_->takes(params);
}

Status CudaSession::launch(const StepBatch& batch, std::span<const RowSampling> rows) {
  if (sampler_ == nullptr) return Session::launch(batch, rows);
  return enqueue(batch, &rows);
}

Status CudaSession::collect(std::span<SampledRow> rows) {
  if (sampler_ == nullptr) return Session::collect(rows);
  RETURN_IF_ERROR(device_->bind());
  return sampler_->collect(rows);
}

}  // namespace ramjet::runtime

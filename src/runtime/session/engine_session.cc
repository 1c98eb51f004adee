#include "runtime/session/engine_session.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace ramjet::runtime {
namespace {

constexpr double kUsualFraction = 0.5;  // the machine has other work

uint64_t mapped_weight_bytes(const engine::Manifest& manifest) {
  uint64_t bytes = 0;
  for (const engine::WeightEntry& entry : manifest.weights) {
    if (entry.seed == 0) bytes += entry.bytes;
  }
  return bytes;
}

/// A view of borrowed ids; sessions never write to them.
TensorView ids_view(std::span<const int32_t> ids, Shape shape) {
  return {const_cast<int32_t*>(ids.data()), DType::kI32, shape};
}

}  // namespace

Result<std::unique_ptr<EngineSession>> EngineSession::create(
    std::shared_ptr<const engine::EngineFile> file, const ExecutorConfig& config,
    ThreadPool* pool) {
  auto session = std::unique_ptr<EngineSession>(new EngineSession());
  session->file_ = file;
  session->pool_ = pool;
  ASSIGN_OR_RETURN(auto weights, WeightStore::load(file, *pool));
  ASSIGN_OR_RETURN(session->runner_, ProgramRunner::create(file, "main", std::move(weights), pool));
  RETURN_IF_ERROR(session->find_bindings());
  RETURN_IF_ERROR(session->allocate_cache(config));
  return session;
}

Status EngineSession::find_bindings() {
  const engine::Program& program = runner_->program();
  ASSIGN_OR_RETURN(StepInterface interface, read_step_interface(*file_, program));
  info_ = std::move(interface.info);
  step_inputs_ = std::move(interface.inputs);
  inputs_.resize(program.inputs.size());
  ASSIGN_OR_RETURN(adapters_, AdapterMemory::create(program));
  info_.max_loras = adapters_.slots();
  info_.max_lora_rank = adapters_.rank();
  outputs_.resize(1);
  info_.device = fmt::format("{} x{}", file_->manifest().provenance.target, pool_->size());
  ASSIGN_OR_RETURN(logits_, AlignedMemory::allocate(static_cast<size_t>(info_.max_logit_rows) *
                                                        static_cast<size_t>(info_.vocab_size) * 4,
                                                    "logits"));
  return ok_status();
}

Status EngineSession::allocate_cache(const ExecutorConfig& config) {
  const engine::Manifest& manifest = file_->manifest();
  // Mapped weights lie in the page cache, which counts as available, but they are needed.
  const uint64_t available = available_memory_bytes();
  const uint64_t needed = mapped_weight_bytes(manifest) + adapters_.bytes();
  const uint64_t free_bytes = available - std::min(available, needed);
  RETURN_IF_ERROR(size_cache(manifest, config, free_bytes, kUsualFraction, info_));
  ASSIGN_OR_RETURN(cache_, AlignedMemory::allocate(info_.kv_bytes, "the KV cache"));
  std::byte* at = cache_.data();
  for (const engine::KvGroup& group : manifest.kv_groups) {
    kernels::KvView view;
    view.base = at;
    view.dtype = group.dtype;
    view.num_layers = group.num_layers;
    view.num_blocks = info_.num_blocks;
    view.block_tokens = info_.block_tokens;
    view.block_stride = group.block_bytes(info_.block_tokens);
    view.layer_stride = view.block_stride * info_.num_blocks;
    view.v_offset =
        info_.block_tokens * group.num_kv_heads * group.head_dim * dtype_bytes(group.dtype);
    at += view.layer_stride * view.num_layers;
    kv_.push_back(view);
  }
  return ok_status();
}

void EngineSession::copy_block(const BlockCopy& copy) {
  for (const kernels::KvView& view : kv_) {
    for (int64_t layer = 0; layer < view.num_layers; ++layer) {
      std::memcpy(view.block(layer, copy.to), view.block(layer, copy.from),
                  static_cast<size_t>(view.block_stride));
    }
  }
}

Result<std::span<const float>> EngineSession::step(const StepBatch& batch) {
  for (const BlockCopy& copy : batch.copies) copy_block(copy);
  const int64_t sequences = static_cast<int64_t>(batch.kv_len.size());
  const int64_t rows = static_cast<int64_t>(batch.logit_rows.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (step_inputs_[i] == StepInput::kAdapter) {
      inputs_[i] = adapters_.view(i);
      continue;
    }
    const std::span<const int32_t> ids = step_ids(batch, step_inputs_[i]);
    Shape shape = {static_cast<int64_t>(ids.size())};
    if (step_inputs_[i] == StepInput::kBlockTable) shape = {sequences, info_.max_blocks};
    inputs_[i] = ids_view(ids, shape);
  }
  outputs_[0] = {logits_.data(), DType::kF32, {rows, info_.vocab_size}};
  RETURN_IF_ERROR(runner_->run(inputs_, outputs_, kv_));
  return std::span<const float>(outputs_[0].span<float>());
}

Status EngineSession::set_adapter(int32_t slot, const LoraWeights& weights) {
  return adapters_.set(slot, weights);
}

}  // namespace ramjet::runtime

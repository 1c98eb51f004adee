#include "runtime/session/engine_session.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "op/fields.h"

namespace ramjet::runtime {
namespace {

constexpr std::string_view kInputNames[] = {"token_ids",   "positions",  "query_start", "kv_len",
                                            "block_table", "logit_rows", "prompt_len"};

int64_t block_bytes_of_all_layers(const engine::Manifest& manifest) {
  int64_t bytes = 0;
  for (const engine::KvGroup& group : manifest.kv_groups) {
    bytes += group.num_layers * group.block_bytes(manifest.limits.block_tokens);
  }
  return bytes;
}

uint64_t mapped_weight_bytes(const engine::Manifest& manifest) {
  uint64_t bytes = 0;
  for (const engine::WeightEntry& entry : manifest.weights) {
    if (entry.seed == 0) bytes += entry.bytes;
  }
  return bytes;
}

/// Tokens that every layer sees at most: blocks further back can be freed. 0 if one sees all.
int64_t common_window(const engine::Manifest& manifest) {
  int64_t window = 0;
  for (const engine::KvGroup& group : manifest.kv_groups) {
    if (group.window <= 0) return 0;
    window = std::max(window, group.window);
  }
  return window;
}

/// Where the rope scaling of the program begins to depend on the prompt's length; 0: nowhere.
int64_t length_free_tokens(const engine::Program& program) {
  for (const engine::LaunchRecord& record : program.records) {
    if (record.op != OpKind::kRopeTable) continue;
    const Result<OpAttrs> attrs = parse_attrs(record.op, record.attrs);
    if (!attrs.ok()) continue;  // the runner has parsed them already
    const auto& spec = std::get<RopeSpec>(*attrs);
    const bool depends = spec.kind == RopeKind::kDynamic || spec.kind == RopeKind::kLongrope;
    if (depends) return std::max<int64_t>(spec.original_max_position, 1);
  }
  return 0;
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
  const engine::Manifest& manifest = file_->manifest();
  const engine::Program& program = runner_->program();
  for (const engine::Binding& binding : program.inputs) {
    const auto* const name =
        std::find(std::begin(kInputNames), std::end(kInputNames), binding.name);
    if (name == std::end(kInputNames)) {
      return unsupported("{}: the program wants an input '{}' that no scheduler gives",
                         file_->path(), binding.name);
    }
    slot_of_input_.push_back(static_cast<int>(name - std::begin(kInputNames)));
    if (slot_of_input_.back() != kBlockTable) continue;
    if (binding.type.rank() != 2 || !binding.type.dims[1].fixed()) {
      return corrupt("{}: the input 'block_table' must have a fixed number of columns",
                     file_->path());
    }
    info_.max_blocks = binding.type.dims[1].offset;
  }
  if (program.outputs.size() != 1 || program.outputs[0].type.rank() != 2 ||
      !program.outputs[0].type.dims[1].fixed() || program.outputs[0].type.dtype != DType::kF32) {
    return unsupported("{}: the program must give logits f32[logit_rows, vocab] and nothing else",
                       file_->path());
  }
  inputs_.resize(program.inputs.size());
  outputs_.resize(1);
  const auto largest = [&](std::string_view name) -> int64_t {
    for (const Symbol& symbol : program.symbols) {
      if (symbol.name == name) return symbol.max;
    }
    return 0;
  };
  info_.vocab_size = program.outputs[0].type.dims[1].offset;
  info_.max_seq_len = manifest.model.max_seq_len;
  info_.max_batch_size = largest("sequences");
  info_.max_num_tokens = largest("tokens");
  info_.max_logit_rows = largest("logit_rows");
  info_.block_tokens = manifest.limits.block_tokens;
  info_.window = common_window(manifest);
  info_.eos_ids = manifest.model.eos_ids;
  info_.length_free_tokens = length_free_tokens(program);
  info_.device = fmt::format("{} x{}", manifest.provenance.target, pool_->size());
  ASSIGN_OR_RETURN(logits_, AlignedMemory::allocate(static_cast<size_t>(info_.max_logit_rows) *
                                                        static_cast<size_t>(info_.vocab_size) * 4,
                                                    "logits"));
  return ok_status();
}

Status EngineSession::allocate_cache(const ExecutorConfig& config) {
  const engine::Manifest& manifest = file_->manifest();
  const int64_t block_bytes = block_bytes_of_all_layers(manifest);
  const int64_t slots = config.max_batch_size > 0
                            ? std::min<int64_t>(config.max_batch_size, info_.max_batch_size)
                            : info_.max_batch_size;
  const int64_t most = slots * info_.max_blocks;  // more could never be used at once
  uint64_t bytes = config.kv_bytes;
  if (bytes == 0) {
    // Mapped weights lie in the page cache, which counts as available, but they are needed.
    const uint64_t available = available_memory_bytes();
    const uint64_t free = available - std::min(available, mapped_weight_bytes(manifest));
    bytes = static_cast<uint64_t>(static_cast<double>(free) *
                                  std::clamp(config.kv_fraction, 0.0, 0.95));
  }
  info_.num_blocks =
      std::min<int64_t>(static_cast<int64_t>(bytes) / std::max<int64_t>(block_bytes, 1), most);
  if (info_.num_blocks < 2) {
    return make_error(ErrorCode::kResourceExhausted,
                      "a KV cache of {} bytes holds {} blocks of {} bytes, at least 2 are needed; "
                      "raise --kv-memory or --kv-fraction",
                      bytes, info_.num_blocks, block_bytes);
  }
  info_.kv_bytes = static_cast<uint64_t>(info_.num_blocks * block_bytes);
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
  log_info("KV cache: {} blocks of {} tokens, {:.1f} MB", info_.num_blocks, info_.block_tokens,
           static_cast<double>(info_.kv_bytes) * 1e-6);
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
  const int64_t tokens = static_cast<int64_t>(batch.token_ids.size());
  const int64_t sequences = static_cast<int64_t>(batch.kv_len.size());
  const int64_t rows = static_cast<int64_t>(batch.logit_rows.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    switch (static_cast<Input>(slot_of_input_[i])) {
      case kTokenIds: inputs_[i] = ids_view(batch.token_ids, {tokens}); break;
      case kPositions: inputs_[i] = ids_view(batch.positions, {tokens}); break;
      case kQueryStart: inputs_[i] = ids_view(batch.query_start, {sequences + 1}); break;
      case kKvLen: inputs_[i] = ids_view(batch.kv_len, {sequences}); break;
      case kBlockTable:
        inputs_[i] = ids_view(batch.block_table, {sequences, info_.max_blocks});
        break;
      case kLogitRows: inputs_[i] = ids_view(batch.logit_rows, {rows}); break;
      case kPromptLen: inputs_[i] = ids_view(batch.prompt_len, {sequences}); break;
      case kNumInputs: break;
    }
  }
  outputs_[0] = {logits_.data(), DType::kF32, {rows, info_.vocab_size}};
  RETURN_IF_ERROR(runner_->run(inputs_, outputs_, kv_));
  return std::span<const float>(outputs_[0].span<float>());
}

}  // namespace ramjet::runtime

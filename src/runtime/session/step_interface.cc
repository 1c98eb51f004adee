#include "runtime/session/step_interface.h"

#include <algorithm>

#include "base/log.h"
#include "op/fields.h"
#include "runtime/session/adapter_memory.h"

namespace ramjet::runtime {
namespace {

constexpr std::string_view kInputNames[] = {"token_ids",  "positions",   "query_start",
                                            "kv_len",     "block_table", "logit_rows",
                                            "prompt_len", "lora_slots"};

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
    if (!attrs.ok()) continue;  // the engine's loader has parsed them already
    const auto& spec = std::get<RopeSpec>(*attrs);
    const bool depends = spec.kind == RopeKind::kDynamic || spec.kind == RopeKind::kLongrope;
    if (depends) return std::max<int64_t>(spec.original_max_position, 1);
  }
  return 0;
}

int64_t largest(const engine::Program& program, std::string_view name) {
  for (const Symbol& symbol : program.symbols) {
    if (symbol.name == name) return symbol.max;
  }
  return 0;
}

}  // namespace

Result<StepInterface> read_step_interface(const engine::EngineFile& file,
                                          const engine::Program& program) {
  StepInterface result;
  SessionInfo& info = result.info;
  for (const engine::Binding& binding : program.inputs) {
    if (AdapterMemory::holds(binding.name)) {
      result.inputs.push_back(StepInput::kAdapter);
      continue;
    }
    const auto* const name =
        std::find(std::begin(kInputNames), std::end(kInputNames), binding.name);
    if (name == std::end(kInputNames)) {
      return unsupported("{}: the program wants an input '{}' that no scheduler gives", file.path(),
                         binding.name);
    }
    result.inputs.push_back(static_cast<StepInput>(name - std::begin(kInputNames)));
    if (result.inputs.back() != StepInput::kBlockTable) continue;
    if (binding.type.rank() != 2 || !binding.type.dims[1].fixed()) {
      return corrupt("{}: the input 'block_table' must have a fixed number of columns",
                     file.path());
    }
    info.max_blocks = binding.type.dims[1].offset;
  }
  if (program.outputs.size() != 1 || program.outputs[0].type.rank() != 2 ||
      !program.outputs[0].type.dims[1].fixed() || program.outputs[0].type.dtype != DType::kF32) {
    return unsupported("{}: the program must give logits f32[logit_rows, vocab] and nothing else",
                       file.path());
  }
  const engine::Manifest& manifest = file.manifest();
  info.vocab_size = program.outputs[0].type.dims[1].offset;
  info.max_seq_len = manifest.model.max_seq_len;
  info.max_batch_size = largest(program, "sequences");
  info.max_num_tokens = largest(program, "tokens");
  info.max_logit_rows = largest(program, "logit_rows");
  info.block_tokens = manifest.limits.block_tokens;
  info.window = common_window(manifest);
  info.eos_ids = manifest.model.eos_ids;
  info.length_free_tokens = length_free_tokens(program);
  return result;
}

std::span<const int32_t> step_ids(const StepBatch& batch, StepInput input) {
  switch (input) {
    case StepInput::kTokenIds: return batch.token_ids;
    case StepInput::kPositions: return batch.positions;
    case StepInput::kQueryStart: return batch.query_start;
    case StepInput::kKvLen: return batch.kv_len;
    case StepInput::kBlockTable: return batch.block_table;
    case StepInput::kLogitRows: return batch.logit_rows;
    case StepInput::kPromptLen: return batch.prompt_len;
    case StepInput::kLoraSlots: return batch.lora_slots;
    case StepInput::kAdapter: break;
  }
  return {};
}

int64_t block_bytes_of_all_layers(const engine::Manifest& manifest) {
  int64_t bytes = 0;
  for (const engine::KvGroup& group : manifest.kv_groups) {
    bytes += group.num_layers * group.block_bytes(manifest.limits.block_tokens);
  }
  return bytes;
}

Status size_cache(const engine::Manifest& manifest, const ExecutorConfig& config,
                  uint64_t free_bytes, double usual_fraction, SessionInfo& info) {
  const int64_t block_bytes = block_bytes_of_all_layers(manifest);
  const int64_t slots = config.max_batch_size > 0
                            ? std::min<int64_t>(config.max_batch_size, info.max_batch_size)
                            : info.max_batch_size;
  const int64_t most = slots * info.max_blocks;  // more could never be used at once
  uint64_t bytes = config.kv_bytes;
  if (bytes == 0) {
    const double fraction = config.kv_fraction > 0 ? config.kv_fraction : usual_fraction;
    bytes =
        static_cast<uint64_t>(static_cast<double>(free_bytes) * std::clamp(fraction, 0.0, 0.95));
  }
  info.num_blocks =
      std::min<int64_t>(static_cast<int64_t>(bytes) / std::max<int64_t>(block_bytes, 1), most);
  if (info.num_blocks < 2) {
    return make_error(ErrorCode::kResourceExhausted,
                      "a KV cache of {} bytes holds {} blocks of {} bytes, at least 2 are needed; "
                      "raise --kv-memory or --kv-fraction",
                      bytes, info.num_blocks, block_bytes);
  }
  info.kv_bytes = static_cast<uint64_t>(info.num_blocks * block_bytes);
  log_info("KV cache: {} blocks of {} tokens, {:.1f} MB", info.num_blocks, info.block_tokens,
           static_cast<double>(info.kv_bytes) * 1e-6);
  return ok_status();
}

}  // namespace ramjet::runtime

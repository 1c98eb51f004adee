// What every session over an engine reads from its file: how the program's inputs are bound to a
// step, the facts that the scheduler wants, and how many blocks the cache gets.
//
// Free functions over an open engine file; values.
#pragma once

#include <ramjet/executor.h>

#include <cstdint>
#include <vector>

#include "engine/engine_file.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

enum class StepInput : uint8_t {
  kTokenIds,
  kPositions,
  kQueryStart,
  kKvLen,
  kBlockTable,
  kLogitRows,
  kPromptLen,
  kLoraSlots,
  kAdapter,  // the session's own memory: AdapterMemory
};

struct StepInterface {
  SessionInfo info;               // without the cache's sizes and the device
  std::vector<StepInput> inputs;  // of the program, in its order
};

/// Errors: kUnsupported naming an input or output that no scheduler knows.
Result<StepInterface> read_step_interface(const engine::EngineFile& file,
                                          const engine::Program& program);

/// The ids of `batch` that an input takes.
std::span<const int32_t> step_ids(const StepBatch& batch, StepInput input);

/// Bytes of one block over all layers of all groups.
int64_t block_bytes_of_all_layers(const engine::Manifest& manifest);

/// Sets info's num_blocks and kv_bytes from config.kv_bytes, else from the share kv_fraction of
/// `free_bytes` (0: `usual_fraction`). Errors: kResourceExhausted if two blocks do not fit.
Status size_cache(const engine::Manifest& manifest, const ExecutorConfig& config,
                  uint64_t free_bytes, double usual_fraction, SessionInfo& info);

}  // namespace ramjet::runtime

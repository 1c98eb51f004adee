// StepInputs: turns a plan into the arrays of a StepBatch. Owns the arrays; reused every step.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/scheduler/scheduler.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

class StepInputs {
 public:
  explicit StepInputs(const SessionInfo& info);
  /// Valid until the next call.
  StepBatch bind(const StepPlan& plan, const Scheduler& scheduler, const kv::BlockManager& blocks);

 private:
  void bind_table(int64_t row, std::span<const kv::BlockId> blocks);

  int64_t max_blocks_;
  std::vector<int32_t> token_ids_, positions_, query_start_, kv_len_, prompt_len_, block_table_,
      logit_rows_, lora_slots_;
  bool adapters_;                    // the session has slots for them
  std::vector<int32_t> table_used_;  // entries that may not be zero, by row
  std::vector<BlockCopy> copies_;
};

}  // namespace ramjet::runtime

// What the scheduler knows of one sequence, and the plan of one step. Plain data.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/kv/block_manager.h"

namespace ramjet::runtime {

using SeqId = int32_t;
inline constexpr SeqId kNoSeq = -1;

enum class SequenceState : uint8_t {
  kFree,          // the slot is vacant
  kWaiting,       // queued, or preempted: holds no blocks
  kWaitingForKv,  // reserved: its blocks are on their way from another machine
  kMigrating,     // reserved: its blocks are leaving for another machine
  kRunning,       // holds blocks; prefills while computed + 1 < known tokens
};

/// What a sequence is added with.
struct SequenceSpec {
  std::vector<int32_t> tokens;  // the prompt
  int64_t max_output = 1;       // tokens that will be appended at most; 0: only logits are wanted
  bool ends_early = true;       // it may stop before max_output
  int fanout = 1;               // sequences that fork from it after the prefill
  int priority = 0;             // higher first
  uint64_t turn = 0;            // among equals lower first
  int64_t deadline_ns = 0;      // 0: none
  uint64_t extra = 0;           // distinguishes prefixes (salt, adapter)
  int32_t adapter_slot = -1;    // as in StepBatch::lora_slots
  int64_t logits_from = -1;     // logits of all prompt positions from here; -1: the last only
  int64_t max_logit_rows = 0;   // in one step; 0: no limit of its own
};

struct Sequence {
  SequenceState state = SequenceState::kFree;
  bool paused = false;        // holds its blocks but is not scheduled
  SequenceSpec spec;          // tokens grow by what was sampled
  kv::PrefixKey key;          // of tokens
  int64_t prompt_tokens = 0;  // of the request, without what was sampled
  int64_t cached_tokens = 0;  // of the prompt, found in the index at the first admission
  uint64_t order = 0;         // arrival
  bool admitted = false;      // ever
  kv::TableId table = kv::kNoTable;

  int64_t known() const { return static_cast<int64_t>(spec.tokens.size()); }
  int64_t output_tokens() const { return known() - prompt_tokens; }
};

/// Query tokens of one sequence in a step: positions [start, start + count); logits of the
/// positions from `rows_from` on (rows_from == start + count: none).
struct PlanItem {
  SeqId sequence = kNoSeq;
  int64_t start = 0;
  int64_t count = 0;
  int64_t rows_from = 0;
  int64_t rows() const { return start + count - rows_from; }
  bool operator==(const PlanItem&) const = default;
};

struct StepPlan {
  std::vector<PlanItem> items;
  std::vector<kv::CopyPair> copies;  // in order, before the step
  std::vector<SeqId> preempted;      // lost their blocks; they restart by themselves
  int64_t tokens = 0;
  int64_t rows = 0;
  void clear() {
    items.clear(), copies.clear(), preempted.clear();
    tokens = rows = 0;
  }
};

}  // namespace ramjet::runtime

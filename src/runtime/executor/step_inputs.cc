#include "runtime/executor/step_inputs.h"

#include <algorithm>

#include "base/check.h"

namespace ramjet::runtime {

StepInputs::StepInputs(const SessionInfo& info)
    : max_blocks_(info.max_blocks), adapters_(info.max_loras > 0) {
  const auto tokens = static_cast<size_t>(info.max_num_tokens);
  const auto sequences = static_cast<size_t>(info.max_batch_size);
  token_ids_.reserve(tokens);
  positions_.reserve(tokens);
  if (adapters_) lora_slots_.reserve(tokens);
  logit_rows_.reserve(static_cast<size_t>(info.max_logit_rows));
  query_start_.reserve(sequences + 1);
  kv_len_.reserve(sequences);
  prompt_len_.reserve(sequences);
  block_table_.resize(sequences * static_cast<size_t>(max_blocks_), 0);
  table_used_.resize(sequences, 0);
}

StepBatch StepInputs::bind(const StepPlan& plan, const Scheduler& scheduler,
                           const kv::BlockManager& blocks) {
  token_ids_.clear(), positions_.clear(), logit_rows_.clear(), kv_len_.clear(), copies_.clear();
  prompt_len_.clear(), lora_slots_.clear();
  query_start_.assign(1, 0);
  for (const PlanItem& item : plan.items) {
    const Sequence& s = scheduler.sequence(item.sequence);
    const auto begin = s.spec.tokens.begin() + item.start;
    token_ids_.insert(token_ids_.end(), begin, begin + item.count);
    if (adapters_) {
      lora_slots_.insert(lora_slots_.end(), static_cast<size_t>(item.count), s.spec.adapter_slot);
    }
    const auto first_row = static_cast<int32_t>(positions_.size());
    for (int64_t p = item.start; p < item.start + item.count; ++p) {
      positions_.push_back(static_cast<int32_t>(p));
      if (p < item.rows_from) continue;
      logit_rows_.push_back(first_row + static_cast<int32_t>(p - item.start));
    }
    bind_table(static_cast<int64_t>(kv_len_.size()), blocks.blocks(s.table));
    kv_len_.push_back(static_cast<int32_t>(item.start + item.count));
    prompt_len_.push_back(static_cast<int32_t>(s.prompt_tokens));
    query_start_.push_back(static_cast<int32_t>(positions_.size()));
  }
  for (const kv::CopyPair& copy : plan.copies) copies_.push_back({copy.from, copy.to});
  const size_t table = kv_len_.size() * static_cast<size_t>(max_blocks_);
  return {token_ids_,  positions_, query_start_, kv_len_,    std::span(block_table_).first(table),
          logit_rows_, copies_,    prompt_len_,  lora_slots_};
}

void StepInputs::bind_table(int64_t row, std::span<const kv::BlockId> blocks) {
  CHECK(static_cast<int64_t>(blocks.size()) <= max_blocks_, "a block table is too long");
  int32_t* out = block_table_.data() + row * max_blocks_;
  // Blocks behind the window are absent; the kernel does not read their entries.
  for (size_t i = 0; i < blocks.size(); ++i) out[i] = std::max(blocks[i], 0);
  int32_t& used = table_used_[static_cast<size_t>(row)];
  std::fill(out + blocks.size(), out + std::max<size_t>(blocks.size(), static_cast<size_t>(used)),
            0);
  used = static_cast<int32_t>(blocks.size());
}

}  // namespace ramjet::runtime

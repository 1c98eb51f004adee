// SamplingState: what the choice of a sequence's next token depends on beside its logits and its
// tokens: parameters, seed, token counts, grammar mask.
//
// One thread at a time. Borrows the parameters and the stop ids. It lives as long as its sequence,
// preemptions included: nothing in it is derived from the KV cache.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace ramjet::runtime {

/// Counts of the distinct tokens of one sequence. Open addressing; grows by doubling.
class TokenCounts {
 public:
  struct Entry {
    int32_t id = -1;
    int32_t in_output = 0;
  };
  void add(int32_t id, bool output);
  /// Distinct tokens in order of first appearance.
  std::span<const Entry> entries() const { return entries_; }

 private:
  void rehash();
  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;  // index into entries_, or -1
};

class SamplingState {
 public:
  /// `stop_ids`: every id that may end the sequence, the model's own included.
  SamplingState(const SamplingParams* params, std::span<const int32_t> prompt,
                std::span<const int32_t> stop_ids, uint32_t index);

  const SamplingParams& params() const { return *params_; }
  uint32_t index() const { return index_; }
  /// Whether the logits are changed before the choice; `output_tokens` so far.
  bool edits_logits(int64_t output_tokens) const;
  /// Applies bias, exclusions, mask and penalties, in that order. `history` is prompt and output.
  /// Errors (this sequence's only): a mask that throws.
  Status edit(std::span<const int32_t> history, int64_t prompt_tokens, std::span<float> logits);
  /// Takes over a chosen token. An error if the grammar refuses it.
  Status accept(int32_t id);
  /// The grammar is complete: nothing may follow.
  bool complete() const { return complete_; }

 private:
  void exclude_disallowed(std::span<float> logits) const;
  void exclude_bad_words(std::span<const int32_t> history, std::span<float> logits) const;
  void apply_penalties(std::span<float> logits) const;
  Status apply_mask(std::span<float> logits);

  const SamplingParams* params_;
  uint32_t index_;
  bool has_penalties_;
  bool complete_ = false;
  std::span<const int32_t> stop_ids_;
  TokenCounts counts_;  // filled only with penalties
  std::unique_ptr<TokenMask> mask_;
  std::vector<uint32_t> mask_bits_;
};

}  // namespace ramjet::runtime

// SamplingState: what the choice of a sequence's next token depends on beside its logits and its
// tokens: parameters, seed, token counts, grammar mask.
//
// One thread at a time. Borrows the parameters and the stop ids. It lives as long as its sequence,
// preemptions included: nothing in it is derived from the KV cache.
#pragma once

#include <ramjet/forced_tokens.h>
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
  /// Computes the mask for the next edit() beforehand, maybe on another thread meanwhile. Its
  /// error is edit()'s.
  void prepare_mask(int64_t vocab_size);
  bool has_mask() const { return mask_ != nullptr; }
  /// Tokens that need not be sampled: ForcedTokens, where no other control has a say.
  /// Appends; a mask that throws forces nothing.
  void forced(size_t most, std::vector<int32_t>* ids);
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
  ForcedTokens* forced_ = nullptr;  // the mask, if it is one
  enum class MaskState : uint8_t { kUnknown, kReady, kAllowsAll };
  MaskState mask_state_ = MaskState::kUnknown;  // of the next token
  std::optional<Error> mask_error_;
  std::vector<uint32_t> mask_bits_;
};

}  // namespace ramjet::runtime

#include "runtime/sampling/sampling_state.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "base/result.h"

namespace ramjet::runtime {
namespace {
constexpr float kExcluded = -std::numeric_limits<float>::infinity();
constexpr float kLargest = 1e30f;
}  // namespace

void TokenCounts::add(int32_t id, bool output) {
  if ((entries_.size() + 1) * 2 > slots_.size()) rehash();
  const size_t mask = slots_.size() - 1;
  size_t at = (static_cast<uint32_t>(id) * 2654435761u) & mask;
  while (slots_[at] >= 0 && entries_[static_cast<size_t>(slots_[at])].id != id) {
    at = (at + 1) & mask;
  }
  if (slots_[at] < 0) {
    slots_[at] = static_cast<int32_t>(entries_.size());
    entries_.push_back({id, 0});
  }
  if (output) ++entries_[static_cast<size_t>(slots_[at])].in_output;
}

void TokenCounts::rehash() {
  slots_.assign(std::max<size_t>(64, slots_.size() * 2), -1);
  const size_t mask = slots_.size() - 1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t at = (static_cast<uint32_t>(entries_[i].id) * 2654435761u) & mask;
    while (slots_[at] >= 0) at = (at + 1) & mask;
    slots_[at] = static_cast<int32_t>(i);
  }
}

SamplingState::SamplingState(const SamplingParams* params, std::span<const int32_t> prompt,
                             std::span<const int32_t> stop_ids, uint32_t index)
    : params_(params), index_(index), stop_ids_(stop_ids) {
  const LogitControls& c = params->controls;
  has_penalties_ =
      c.repetition_penalty != 1.0f || c.presence_penalty != 0.0f || c.frequency_penalty != 0.0f;
  if (has_penalties_) {
    for (const int32_t id : prompt) counts_.add(id, false);
  }
  if (c.mask) mask_ = c.mask->clone();
  // Log-probabilities want a row for each token; the others may exclude what the mask wants.
  const bool alone = params->logprobs < 0 && c.allowed_ids.empty() && c.bad_words.empty();
  if (alone) forced_ = dynamic_cast<ForcedTokens*>(mask_.get());
}

bool SamplingState::edits_logits(int64_t output_tokens) const {
  const LogitControls& c = params_->controls;
  return has_penalties_ || mask_ != nullptr || !c.bias.empty() || !c.allowed_ids.empty() ||
         !c.bad_words.empty() || output_tokens < params_->stop.min_tokens;
}

Status SamplingState::edit(std::span<const int32_t> history, int64_t prompt_tokens,
                           std::span<float> logits) {
  const LogitControls& c = params_->controls;
  for (const auto& [id, bias] : c.bias) logits[static_cast<size_t>(id)] += bias;
  if (!c.allowed_ids.empty()) exclude_disallowed(logits);
  if (!c.bad_words.empty()) exclude_bad_words(history, logits);
  if (static_cast<int64_t>(history.size()) - prompt_tokens < params_->stop.min_tokens) {
    for (const int32_t id : stop_ids_) logits[static_cast<size_t>(id)] = kExcluded;
  }
  if (mask_) RETURN_IF_ERROR(apply_mask(logits));
  if (has_penalties_) apply_penalties(logits);
  return ok_status();
}

void SamplingState::exclude_disallowed(std::span<float> logits) const {
  // Saves the allowed values at the front of a small list, clears the row and puts them back.
  const auto& allowed = params_->controls.allowed_ids;
  std::vector<float> kept(allowed.size());
  for (size_t i = 0; i < allowed.size(); ++i) kept[i] = logits[static_cast<size_t>(allowed[i])];
  std::fill(logits.begin(), logits.end(), kExcluded);
  for (size_t i = 0; i < allowed.size(); ++i) logits[static_cast<size_t>(allowed[i])] = kept[i];
}

void SamplingState::exclude_bad_words(std::span<const int32_t> history,
                                      std::span<float> logits) const {
  for (const auto& word : params_->controls.bad_words) {
    const size_t head = word.size() - 1;
    if (head > history.size()) continue;
    if (std::equal(word.begin(), word.end() - 1, history.end() - static_cast<ptrdiff_t>(head))) {
      logits[static_cast<size_t>(word.back())] = kExcluded;
    }
  }
}

void SamplingState::apply_penalties(std::span<float> logits) const {
  const LogitControls& c = params_->controls;
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float& logit = logits[static_cast<size_t>(entry.id)];
    // An absurd penalty is not an infinite one: +inf would say that the model has failed.
    logit = std::clamp(logit > 0 ? logit / c.repetition_penalty : logit * c.repetition_penalty,
                       std::min(logit, -kLargest), kLargest);
    if (entry.in_output == 0) continue;
    logit -= c.frequency_penalty * static_cast<float>(entry.in_output) + c.presence_penalty;
  }
}

void SamplingState::prepare_mask(int64_t vocab_size) {
  mask_bits_.resize((static_cast<size_t>(vocab_size) + 31) / 32);
  mask_error_.reset();
  mask_state_ = MaskState::kReady;
  try {
    if (!mask_->fill(mask_bits_)) mask_state_ = MaskState::kAllowsAll;
  } catch (const std::exception& e) {
    mask_error_ = internal_error("the token mask failed: {}", e.what());
  } catch (...) {
    mask_error_ = internal_error("the token mask failed");
  }
}

Status SamplingState::apply_mask(std::span<float> logits) {
  if (mask_state_ == MaskState::kUnknown) prepare_mask(static_cast<int64_t>(logits.size()));
  const bool allows_all = std::exchange(mask_state_, MaskState::kUnknown) == MaskState::kAllowsAll;
  if (mask_error_) return *mask_error_;
  if (allows_all) return ok_status();
  for (size_t i = 0; i < logits.size(); i += 32) {
    const uint32_t word = mask_bits_[i / 32];
    if (word == ~uint32_t{0}) continue;
    const size_t count = std::min<size_t>(32, logits.size() - i);
    for (size_t j = 0; j < count; ++j) {
      logits[i + j] = (word >> j & 1) != 0 ? logits[i + j] : kExcluded;
    }
  }
  return ok_status();
}

void SamplingState::forced(size_t most, std::vector<int32_t>* ids) {
  if (forced_ == nullptr) return;
  const size_t before = ids->size();
  try {
    forced_->forced(most, ids);
  } catch (...) {
    ids->resize(before);  // the next fill() says why
  }
}

Status SamplingState::accept(int32_t id) {
  mask_state_ = MaskState::kUnknown;
  if (has_penalties_) counts_.add(id, true);
  if (!mask_) return ok_status();
  try {
    if (mask_->accept(id)) {
      complete_ = mask_->finished();
      return ok_status();
    }
  } catch (const std::exception& e) {
    return internal_error("the token mask failed: {}", e.what());
  } catch (...) {
    return internal_error("the token mask failed");
  }
  return internal_error("the token mask refuses token {}, which it had allowed", id);
}

}  // namespace ramjet::runtime

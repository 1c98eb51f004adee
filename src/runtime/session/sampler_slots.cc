#include "runtime/session/sampler_slots.h"

#include <algorithm>

#include "op/sampling.h"

namespace ramjet::runtime {

namespace cu = device::cuda;

Result<SamplerSlots> SamplerSlots::allocate(size_t slots, int64_t vocab_size) {
  SamplerSlots made;
  made.vocab_ = vocab_size, made.slots_ = slots;
  const auto count_bytes = static_cast<size_t>(count_words(vocab_size)) * sizeof(uint32_t);
  const auto mask_bytes = static_cast<size_t>(mask_words(vocab_size)) * sizeof(uint32_t);
  ASSIGN_OR_RETURN(made.counts_, cu::DeviceBuffer::allocate(slots * count_bytes));
  ASSIGN_OR_RETURN(made.masks_, cu::DeviceBuffer::allocate(slots * mask_bytes));
  ASSIGN_OR_RETURN(made.staged_, cu::PinnedBuffer::allocate(kStaged * count_bytes));
  for (cu::Event& event : made.sent_) {
    ASSIGN_OR_RETURN(event, cu::Event::create(false));
  }
  return made;
}

bool SamplerSlots::has_counts(const LogitControls& c) {
  return c.repetition_penalty != 1.0f || c.presence_penalty != 0.0f || c.frequency_penalty != 0.0f;
}

Result<std::span<uint32_t>> SamplerSlots::stage(int64_t words) {
  RETURN_IF_ERROR(sent_[next_].synchronize());
  auto* const all = reinterpret_cast<uint32_t*>(staged_.span().data());
  const auto stride = static_cast<size_t>(count_words(vocab_));
  const std::span<uint32_t> row(all + next_ * stride, static_cast<size_t>(words));
  std::fill(row.begin(), row.end(), 0u);
  return row;
}

Status SamplerSlots::send(std::span<const uint32_t> row, const cu::DeviceBuffer& to, int32_t slot,
                          const cu::Stream& stream) {
  RETURN_IF_ERROR(
      to.upload(std::as_bytes(row), static_cast<size_t>(slot) * row.size_bytes(), stream));
  RETURN_IF_ERROR(sent_[next_].record(stream));
  next_ = (next_ + 1) % kStaged;
  return ok_status();
}

Status SamplerSlots::fill(const RowSampling& row, const cu::Stream& stream) {
  const LogitControls& controls = row.params->controls;
  if (!has_counts(controls) && controls.allowed_ids.empty()) return ok_status();
  if (row.slot < 0 || static_cast<size_t>(row.slot) >= slots_) {
    return internal_error("slot {} of {} for a sequence's token counts", row.slot, slots_);
  }
  if (has_counts(controls)) {
    ASSIGN_OR_RETURN(const std::span<uint32_t> words, stage(count_words(vocab_)));
    for (size_t i = 0; i < row.history.size(); ++i) {
      const int32_t id = row.history[i];
      if (id < 0 || id >= vocab_) return internal_error("token {} in a fresh history", id);
      uint32_t& word = words[static_cast<size_t>(id) / 2];
      const int shift = id % 2 * 16;
      if (static_cast<int64_t>(i) < row.prompt_tokens) {
        word |= kInPrompt << shift;
      } else if ((word >> shift & kMostCounted) < kMostCounted) {
        word += 1u << shift;
      }
    }
    RETURN_IF_ERROR(send(words, counts_, row.slot, stream));
  }
  if (controls.allowed_ids.empty()) return ok_status();
  ASSIGN_OR_RETURN(const std::span<uint32_t> words, stage(mask_words(vocab_)));
  for (const int32_t id : controls.allowed_ids) {
    if (id < 0 || id >= vocab_) return internal_error("token {} is allowed, of {}", id, vocab_);
    words[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
  }
  return send(words, masks_, row.slot, stream);
}

}  // namespace ramjet::runtime

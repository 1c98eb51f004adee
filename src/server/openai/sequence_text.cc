#include "server/openai/sequence_text.h"

#include <algorithm>
#include <utility>

namespace ramjet::server {
namespace {

constexpr size_t kPromptTail = 8;

std::span<const int32_t> tail(std::span<const int32_t> ids) {
  return ids.last(std::min(ids.size(), kPromptTail));
}

}  // namespace

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

SequenceText::SequenceText(const text::Tokenizer& tokenizer, const TextOptions& options,
                           std::shared_ptr<const text::StopSet> stops,
                           std::span<const int32_t> prompt_ids, size_t text_offset)
    : stops_(std::move(stops)),
      include_stop_(options.include_stop),
      detokenizer_(tokenizer, options.skip_special, tail(prompt_ids)),
      matcher_(stops_, options.include_stop),
      pushed_(text_offset),
      shown_(text_offset) {}

void SequenceText::add_text(std::string_view piece, Delta& delta) {
  pushed_ += count_characters(piece);
  const text::StopMatcher::Step step = matcher_.push(piece);
  shown_ += count_characters(step.text);
  delta.text += step.text;
  if (!step.matched) return;
  done_ = true;
  delta.finish = "stop";
  delta.stop_reason = stops_->stop(*step.matched);
}

/// Moves the logprobs of shown tokens to `delta`.
void SequenceText::release_logprobs(bool all, Delta& delta) {
  while (!pending_.empty() && (all || pending_.front().text_offset < shown_)) {
    delta.logprobs.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
}

void SequenceText::finish(const RequestOutput& output, Delta& delta) {
  done_ = true;
  const std::string rest = detokenizer_.flush();
  if (!rest.empty()) add_text(rest, delta);
  if (!matcher_.stopped()) {
    const std::string held = matcher_.flush();
    shown_ += count_characters(held);
    delta.text += held;
    delta.finish = output.finish == FinishReason::kLength ? "length" : "stop";
    if (output.finish == FinishReason::kStop && output.stop_id) {
      // The model's own end is no reason worth telling; a stop id of the request is, and such a one
      // is part of the ids.
      const bool own = output.ids.empty() || output.ids.back() != *output.stop_id;
      if (!own) delta.stop_reason = *output.stop_id;
    }
  }
  release_logprobs(!matcher_.stopped(), delta);
}

void SequenceText::push(const RequestOutput& output, Delta& delta) {
  delta.choice = output.index;
  if (done_) return;
  delta.first = first_;
  first_ = false;
  for (size_t i = 0; i < output.ids.size() && !done_; ++i) {
    ++tokens_;
    delta.ids.push_back(output.ids[i]);
    if (i < output.logprobs.size()) pending_.push_back({output.logprobs[i], pushed_});
    const bool stops = output.finish == FinishReason::kStop && i + 1 == output.ids.size() &&
                       output.stop_id == output.ids[i];
    if (stops && !include_stop_) continue;
    add_text(detokenizer_.push(output.ids[i]), delta);
  }
  if (!done_ && output.finish != FinishReason::kNone) return finish(output, delta);
  release_logprobs(!done_ && shown_ == pushed_, delta);
}

}  // namespace ramjet::server

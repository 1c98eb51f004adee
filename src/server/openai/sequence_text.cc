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

void SequenceText::parse_by(std::shared_ptr<const OutputPlan> plan) {
  plan_ = std::move(plan);
  if (plan_ != nullptr) parser_ = text::make_output_parser(plan_->setup);
}

/// Puts what the parser told into `delta`, with ids for calls that have none.
void SequenceText::take(text::MessageDelta message, Delta& delta) {
  delta.text += message.content;
  delta.reasoning += message.reasoning;
  for (text::CallDelta& call : message.calls) {
    has_calls_ = true;
    if (call.first && call.id.empty()) {
      call.id = text::make_call_id(plan_->setup->format.has_short_ids);
    }
    delta.calls.push_back(std::move(call));
  }
}

void SequenceText::show(std::string_view text, Delta& delta) {
  if (parser_ == nullptr) {
    delta.text += text;
  } else {
    take(parser_->push(text), delta);
  }
}

/// What the parser held back, and why the message ended.
void SequenceText::end_message(Delta& delta) {
  if (parser_ == nullptr) return;
  take(parser_->finish(), delta);
  const bool by_itself =
      delta.finish == "stop" && std::holds_alternative<std::monostate>(delta.stop_reason);
  if (has_calls_ && by_itself && plan_->says_tool_calls) delta.finish = "tool_calls";
}

/// A marker of the parser's is shown to it even where special tokens are not shown.
void SequenceText::add_token(int32_t id, Delta& delta) {
  const bool was_reasoning = parser_ != nullptr && parser_->is_reasoning();
  const std::string* marker = nullptr;
  if (plan_ != nullptr) {
    for (const auto& [known, spelling] : plan_->markers) {
      if (known == id) marker = &spelling;
    }
  }
  if (marker != nullptr) {
    const std::string rest = detokenizer_.flush();
    if (!rest.empty()) add_text(rest, delta);
    if (!done_) add_text(*marker, delta);
  } else {
    add_text(detokenizer_.push(id), delta);
  }
  if (was_reasoning && parser_->is_reasoning()) ++reasoning_tokens_;
}

void SequenceText::add_text(std::string_view piece, Delta& delta) {
  pushed_ += count_characters(piece);
  const text::StopMatcher::Step step = matcher_.push(piece);
  shown_ += count_characters(step.text);
  show(step.text, delta);
  if (!step.matched) return;
  done_ = true;
  delta.finish = "stop";
  delta.stop_reason = stops_->stop(*step.matched);
  end_message(delta);
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
    show(held, delta);
    delta.finish = output.finish == FinishReason::kLength ? "length" : "stop";
    if (output.finish == FinishReason::kStop && output.stop_id) {
      // The model's own end is no reason worth telling; a stop id of the request is, and such a one
      // is part of the ids.
      const bool own = output.ids.empty() || output.ids.back() != *output.stop_id;
      if (!own) delta.stop_reason = *output.stop_id;
    }
    end_message(delta);
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
    add_token(output.ids[i], delta);
  }
  if (!done_ && output.finish != FinishReason::kNone) return finish(output, delta);
  release_logprobs(!done_ && shown_ == pushed_, delta);
}

}  // namespace ramjet::server

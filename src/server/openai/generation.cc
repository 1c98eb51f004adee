#include "server/openai/generation.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace ramjet::server {
namespace {

EndReason end_reason(std::string_view finish) {
  return finish == "length" ? EndReason::kLength : EndReason::kStop;
}

}  // namespace

double steady_s() { return SteadyClock::instance().now_s(); }

Generation::Generation(GenerationSpec spec, const GenerationServices& services)
    : spec_(std::move(spec)), services_(services) {
  const int n = spec_.request.n;
  prompts_.resize(spec_.prompts.size());
  open_prompts_ = static_cast<int>(prompts_.size());
  const auto stops = std::make_shared<const text::StopSet>(spec_.text.stop);
  for (size_t p = 0; p < prompts_.size(); ++p) {
    prompts_[p].open = n;
    prompts_[p].logprobs_wanted = spec_.request.sampling.prompt_logprobs >= 0;
    usage_.prompt_tokens += static_cast<int>(spec_.prompts[p].size());
    for (int i = 0; i < n; ++i) {
      sequences_.emplace_back(SequenceText(services_.host.tokenizer(), spec_.text, stops,
                                           spec_.prompts[p], spec_.text_offsets[p]));
      sequences_.back().text.parse_by(spec_.plan);
    }
  }
}

Status Generation::submit() {
  for (size_t p = 0; p < spec_.prompts.size(); ++p) {
    Request request = spec_.request;
    request.prompt_ids = spec_.prompts[p];
    auto id = services_.host.backend().submit(
        std::move(request), [self = shared_from_this(), p](RequestOutput&& output) {
          self->enqueue(static_cast<int>(p), std::move(output));
        });
    if (!id.ok()) {
      cancel();
      return id.error();
    }
    std::lock_guard lock(ids_mutex_);
    ids_.push_back(*id);
  }
  if (cancelled_) cancel();  // it came while we submitted
  return ok_status();
}

void Generation::listen(std::shared_ptr<GenerationListener> listener) {
  bool start = false;
  {
    std::lock_guard lock(mutex_);
    listener_ = std::move(listener);
    listening_ = true;
    start = !events_.empty();
    draining_ = start;
  }
  if (start) services_.workers.post([self = shared_from_this()] { self->drain(); });
}

void Generation::cancel() {
  cancelled_ = true;
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(ids_mutex_);
    ids = ids_;
  }
  for (uint64_t id : ids) services_.host.backend().cancel(id);
}

void Generation::enqueue(int prompt, RequestOutput output) {
  bool start = false;
  {
    std::lock_guard lock(mutex_);
    events_.push_back({prompt, steady_s(), std::move(output)});
    start = listening_ && !draining_;
    if (start) draining_ = true;
  }
  if (start) services_.workers.post([self = shared_from_this()] { self->drain(); });
}

void Generation::drain() {
  while (true) {
    std::vector<Event> events;
    {
      std::lock_guard lock(mutex_);
      if (events_.empty()) {
        draining_ = false;
        return;
      }
      events.swap(events_);
    }
    try {
      for (Event& event : events) process(std::move(event));
    } catch (const std::exception& e) {
      log_error("{}: its answer could not be made: {}", spec_.request.label, e.what());
      cancel_open_prompts();
      finish(Error{ErrorCode::kInternal, "the answer could not be made"});
    }
  }
}

bool Generation::ended_by_text(const Event& event) const {
  const int index = event.output.index;
  if (index < 0 || index >= spec_.request.n) return false;
  return sequences_[static_cast<size_t>(event.prompt * spec_.request.n + index)].text.done();
}

void Generation::process(Event event) {
  PromptState& prompt = prompts_[static_cast<size_t>(event.prompt)];
  if (finished_ || prompt.ended) return;
  RequestOutput& output = event.output;
  if (output.finish == FinishReason::kError) {
    return fail(output.error.value_or(Error{ErrorCode::kInternal, "failed without a reason"}));
  }
  if (output.finish == FinishReason::kCancelled) {
    if (ended_by_text(event)) return;
    return fail({ErrorCode::kUnavailable, "the server is shutting down and ended this request"});
  }
  if (prompt.logprobs_wanted && output.index != 0) {
    prompt.deferred.push_back(std::move(event));
    return;
  }
  if (prompt.logprobs_wanted) {
    prompt.logprobs_wanted = false;
    listener_->on_prompt_logprobs(event.prompt, std::move(output.prompt_logprobs));
  }
  if (prompt.queue_s == 0) prompt.queue_s = output.queue_s;
  if (output.cached_tokens > prompt.cached_tokens) {
    usage_.cached_tokens += output.cached_tokens - prompt.cached_tokens;
    prompt.cached_tokens = output.cached_tokens;
  }
  process_sequence(event);
  for (Event& waiting : std::exchange(prompt.deferred, {})) process(std::move(waiting));
}

void Generation::process_sequence(Event& event) {
  PromptState& prompt = prompts_[static_cast<size_t>(event.prompt)];
  if (event.output.index < 0 || event.output.index >= spec_.request.n) return;
  const int choice = event.prompt * spec_.request.n + event.output.index;
  SequenceState& sequence = sequences_[static_cast<size_t>(choice)];
  if (sequence.text.done()) return;
  if (spec_.no_output) event.output.ids.clear(), event.output.logprobs.clear();

  measure_tokens(event, sequence);
  Delta delta;
  const int tokens = sequence.text.tokens();
  const int reasoning_tokens = sequence.text.reasoning_tokens();
  sequence.text.push(event.output, delta);
  usage_.completion_tokens += sequence.text.tokens() - tokens;
  usage_.reasoning_tokens += sequence.text.reasoning_tokens() - reasoning_tokens;
  delta.choice = choice;
  const std::string how = delta.finish;
  listener_->on_delta(std::move(delta), usage_);
  if (how.empty()) return;

  services_.metrics.count_end(end_reason(how));
  measure_end(sequence, prompt, event.time_s);
  const uint64_t id = ids_[static_cast<size_t>(event.prompt)];
  const bool goes_on = event.output.finish == FinishReason::kNone;  // a stop string ended the text
  if (--prompt.open > 0) {
    if (goes_on) services_.host.backend().cancel(id, event.output.index);
    return;
  }
  prompt.ended = true;
  if (!event.output.last) services_.host.backend().cancel(id);
  if (--open_prompts_ == 0) finish(std::nullopt);
}

void Generation::measure_tokens(const Event& event, SequenceState& sequence) {
  const size_t count = event.output.ids.size();
  if (count == 0) return;
  ServerMetrics& metrics = services_.metrics;
  if (sequence.first_s == 0) {
    sequence.first_s = event.time_s;
    if (event.output.index == 0) {
      metrics.time_to_first_token_s.observe(event.time_s - spec_.start_s);
    }
  } else {
    const double gap_s = (event.time_s - sequence.last_s) / static_cast<double>(count);
    metrics.inter_token_s.observe_many(gap_s, count);
  }
  sequence.last_s = event.time_s;
}

void Generation::measure_end(const SequenceState& sequence, const PromptState& prompt,
                             double time_s) {
  ServerMetrics& metrics = services_.metrics;
  const double first_s = sequence.first_s == 0 ? time_s : sequence.first_s;
  metrics.e2e_s.observe(time_s - spec_.start_s);
  metrics.queue_s.observe(prompt.queue_s);
  metrics.prefill_s.observe(std::max(0.0, first_s - spec_.start_s - prompt.queue_s));
  metrics.decode_s.observe(time_s - first_s);
  metrics.generation_tokens.observe(sequence.text.tokens());
  const size_t index = static_cast<size_t>(&prompt - prompts_.data());
  metrics.prompt_tokens.observe(static_cast<double>(spec_.prompts[index].size()));
}

void Generation::fail(const Error& error) {
  for (const SequenceState& sequence : sequences_) {
    if (sequence.text.done()) continue;
    services_.metrics.count_end(cancelled_ ? EndReason::kAbort : EndReason::kError);
  }
  // One failed prompt ends the request, and with it the other prompts.
  const bool by_client = cancelled_;
  if (!by_client && prompts_.size() > 1) cancel_open_prompts();
  finish(error);
}

void Generation::cancel_open_prompts() {
  for (size_t p = 0; p < prompts_.size(); ++p) {
    if (!prompts_[p].ended) services_.host.backend().cancel(ids_[p]);
  }
}

void Generation::finish(const std::optional<Error>& error) {
  if (std::exchange(finished_, true)) return;
  listener_->on_end(error, error.has_value() && cancelled_, usage_);
  listener_.reset();
}

}  // namespace ramjet::server

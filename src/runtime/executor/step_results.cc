// The second half of a step: from logits to tokens, and from tokens to events.
#include <algorithm>

#include "base/check.h"
#include "runtime/executor/step_loop.h"

namespace ramjet::runtime {
namespace {
bool contains(const std::vector<int32_t>& sorted_ids, int32_t id) {
  return std::binary_search(sorted_ids.begin(), sorted_ids.end(), id);
}
}  // namespace

void StepLoop::collect_jobs(const StepPlan& plan, std::span<const float> logits) {
  num_jobs_ = 0;
  const auto vocab = static_cast<size_t>(info_.vocab_size);
  size_t row = 0;
  for (const PlanItem& item : plan.items) {
    const auto rows = static_cast<size_t>(item.rows());
    if (owner(item.sequence).request->feed != nullptr) {
      feed_rows(item, logits.subspan(row * vocab, rows * vocab));
    } else {
      for (size_t i = 0; i < rows; ++i) {
        collect_row(item, item.rows_from + static_cast<int64_t>(i),
                    logits.subspan((row + i) * vocab, vocab));
      }
    }
    row += rows;
  }
}

SampleJob& StepLoop::new_job(const Target& target, std::span<const float> row) {
  if (num_jobs_ == jobs_.size()) {
    jobs_.emplace_back();
    targets_.emplace_back();
  }
  targets_[num_jobs_] = target;
  SampleJob& job = jobs_[num_jobs_++];
  job.logits = row;
  job.state = nullptr;
  job.id = -1;
  job.top_logprobs = -1;
  job.error.reset();
  return job;
}

void StepLoop::collect_row(const PlanItem& item, int64_t position, std::span<const float> row) {
  const Sequence& s = scheduler_.sequence(item.sequence);
  const Owner& to = owner(item.sequence);
  if (position == s.known() - 1) {
    if (to.request->max_output == 0) return;
    // Before the fork one row serves all n sequences.
    const int end = s.spec.fanout > 1 ? to.request->request.n : to.index + 1;
    for (int index = to.index; index < end; ++index) {
      SampleJob& job = new_job({item.sequence, index, true}, row);
      job.state = to.request->states[static_cast<size_t>(index)].get();
      job.history = s.spec.tokens;
      job.prompt_tokens = s.prompt_tokens;
      job.seed = to.request->seed;
      job.top_logprobs = to.request->request.sampling.logprobs;
    }
    return;
  }
  SampleJob& job = new_job({item.sequence, to.index, false}, row);
  job.id = s.spec.tokens[static_cast<size_t>(position) + 1];
  job.top_logprobs = to.request->request.sampling.prompt_logprobs;
}

void StepLoop::feed_rows(const PlanItem& item, std::span<const float> rows) {
  if (rows.empty()) return;
  LogitsFeed& feed = *owner(item.sequence).request->feed;
  {
    const std::lock_guard lock(feed.mutex);
    feed.rows.assign(rows.begin(), rows.end());
    feed.ready = true;
  }
  feed.changed.notify_one();
  scheduler_.set_paused(item.sequence, true);
}

void StepLoop::finish_feed(ActiveRequest& request, const RequestOutput& output) {
  LogitsFeed& feed = *request.feed;
  {
    const std::lock_guard lock(feed.mutex);
    feed.done = true;
    feed.error = output.error;
    if (output.finish == FinishReason::kCancelled) {
      feed.error = Error{ErrorCode::kCancelled, "the request was cancelled"};
    }
  }
  feed.changed.notify_one();
}

void StepLoop::take_results() {
  for (size_t i = 0; i < num_jobs_; ++i) {
    const Target target = targets_[i];
    ActiveRequest* request = owner(target.sequence).request;
    // Ended by an earlier result of this step; the jobs of a sequence are neighbours, so its id
    // cannot have been given to another one in between.
    if (request == nullptr) continue;
    if (target.sampled) {
      if (scheduler_.sequence(target.sequence).spec.fanout > 1) fork_request(*request, i);
      SampledRow row{jobs_[i].id, std::move(jobs_[i].logprobs), std::move(jobs_[i].error)};
      take_sample(*request, target.index, row, false);
    } else if (jobs_[i].error) {
      end(request->id, FinishReason::kError, std::move(jobs_[i].error));
    } else {
      request->prompt_logprobs.push_back(std::move(jobs_[i].logprobs));
    }
  }
}

// The results of all n sequences begin at `job`.
void StepLoop::fork_request(ActiveRequest& request, size_t job) {
  for (int index = 1; index < request.request.n; ++index) {
    const SeqId child = scheduler_.fork(request.sequences[0]);
    request.sequences[static_cast<size_t>(index)] = child;
    owner(child) = {&request, index};
    targets_[job + static_cast<size_t>(index)].sequence = child;
  }
  set_host_sampled(request, wants_host(request));
}

// `pending`: the sequence has the token already, by its name.
void StepLoop::take_sample(ActiveRequest& request, int index, SampledRow& row, bool pending) {
  const SeqId id = request.sequences[static_cast<size_t>(index)];
  const Sequence& s = scheduler_.sequence(id);
  if (!pending) release_slot(request, index);  // the session has not seen this token
  const int64_t before = s.output_tokens() - (pending ? 1 : 0);
  if (before == 0 && index == 0) {
    stats_.prompt_tokens += static_cast<uint64_t>(s.prompt_tokens);
  }
  RequestOutput output;
  if (request.unwanted[static_cast<size_t>(index)]) {
    output.finish = FinishReason::kCancelled;
    end_index(request, index, std::move(output));
    return;
  }
  SamplingState& state = *request.states[static_cast<size_t>(index)];
  if (!row.error) {
    if (Status accepted = state.accept(row.id); !accepted.ok()) row.error = accepted.error();
  }
  if (row.error) {
    output.finish = FinishReason::kError;
    output.error = std::move(row.error);
    end_index(request, index, std::move(output));
    return;
  }
  output.ids.push_back(row.id);
  if (request.request.sampling.logprobs >= 0) output.logprobs.push_back(std::move(row.logprobs));
  output.finish = take_token(request, state, before + 1, &output);
  if (output.finish == FinishReason::kNone) {
    if (pending) {
      scheduler_.resolve(id, row.id);
    } else {
      scheduler_.append(id, row.id);
      output.finish = jump_forward(request, index, &output);
    }
  }
  if (output.finish != FinishReason::kNone) {
    end_index(request, index, std::move(output));
  } else {
    emit(request, index, std::move(output));
  }
}

// What the last token of the event, the `output`th of its sequence, means for the request.
FinishReason StepLoop::take_token(ActiveRequest& request, SamplingState& state, int64_t output,
                                  RequestOutput* event) {
  ++stats_.generation_tokens;
  const int32_t token = event->ids.back();
  const StopConditions& stop = request.request.sampling.stop;
  const bool eos = !stop.ignore_eos && contains(info_.eos_ids, token);
  if (eos) {
    event->ids.pop_back();
    if (!event->logprobs.empty()) event->logprobs.pop_back();
  }
  if (eos || contains(stop.stop_ids, token)) {
    event->stop_id = token;
    return FinishReason::kStop;
  }
  if (state.complete()) return FinishReason::kStop;
  return output >= request.max_output ? FinishReason::kLength : FinishReason::kNone;
}

// Text that the grammar prescribes is not sampled: its tokens run with the next step, as a chunk.
FinishReason StepLoop::jump_forward(ActiveRequest& request, int index, RequestOutput* event) {
  SamplingState& state = *request.states[static_cast<size_t>(index)];
  if (!state.has_mask()) return FinishReason::kNone;
  const SeqId id = request.sequences[static_cast<size_t>(index)];
  const auto left = request.max_output - scheduler_.sequence(id).output_tokens();
  forced_.clear();
  state.forced(static_cast<size_t>(left), &forced_);
  for (const int32_t token : forced_) {
    if (Status accepted = state.accept(token); !accepted.ok()) {
      event->error = accepted.error();
      return FinishReason::kError;
    }
    event->ids.push_back(token);
    const int64_t output = scheduler_.sequence(id).output_tokens() + 1;
    const FinishReason finish = take_token(request, state, output, event);
    if (finish != FinishReason::kNone) return finish;
    scheduler_.append(id, token);
  }
  return FinishReason::kNone;
}

// Requests that want no tokens end with their prompt.
void StepLoop::end_prompts(const StepPlan& plan) {
  scratch_.clear();
  for (const PlanItem& item : plan.items) {
    const ActiveRequest* request = owner(item.sequence).request;
    if (request == nullptr || request->max_output > 0) continue;
    const int64_t known = scheduler_.sequence(item.sequence).known();
    if (item.start + item.count == known) scratch_.push_back(item.sequence);
  }
  for (const SeqId id : scratch_) {
    stats_.prompt_tokens += static_cast<uint64_t>(scheduler_.sequence(id).known());
    end(owner(id).request->id, FinishReason::kLength);
  }
}

}  // namespace ramjet::runtime

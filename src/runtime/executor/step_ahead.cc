// Running ahead of a session that chooses tokens itself: step N + 1 is scheduled and queued before
// the tokens of step N are known here, so that the device never waits for the host.
//
// A chosen token that is not known yet stands in its sequence under a name (session.h). A sequence
// that turns out to have ended is in one step too many; what that step says of it is dropped.
#include <exception>

#include "base/check.h"
#include "runtime/executor/step_loop.h"

namespace ramjet::runtime {

/// What only the host can do: choose several tokens from one row, score prompts, hand out logits,
/// and parameters that the session does not take.
bool StepLoop::wants_host(const ActiveRequest& request) const {
  const SamplingParams& params = request.request.sampling;
  const bool unforked = request.request.n > 1 && request.sequences.back() == kNoSeq;
  return unforked || request.feed != nullptr || request.max_output == 0 ||
         params.prompt_logprobs >= 0 || !parts_.session->samples(params);
}

void StepLoop::set_host_sampled(ActiveRequest& request, bool on) {
  host_requests_ += (on ? 1 : 0) - (request.host_sampled ? 1 : 0);
  request.host_sampled = on;
}

void StepLoop::release_slot(ActiveRequest& request, int index) {
  int32_t& slot = request.slots[static_cast<size_t>(index)];
  if (slot >= 0) free_slots_.push_back(slot);
  slot = -1;
}

// A sequence that restarts later gets another slot, which is filled from its history.
void StepLoop::release_preempted(const StepPlan& plan) {
  for (const SeqId id : plan.preempted) {
    if (const Owner& to = owner(id); to.request != nullptr) release_slot(*to.request, to.index);
  }
}

Status StepLoop::queue(const StepPlan& plan, Flight* flight) {
  flight->rows.clear();
  sampling_.clear();
  for (const PlanItem& item : plan.items) {
    if (item.rows() == 0) continue;
    CHECK(item.rows() == 1, "a sequence that runs ahead has one row");
    const Owner& to = owner(item.sequence);
    const Sequence& s = scheduler_.sequence(item.sequence);
    flight->rows.push_back({to.request->id, to.index});
    int32_t& slot = to.request->slots[static_cast<size_t>(to.index)];
    const bool fresh = slot < 0;
    if (fresh) {
      CHECK(!free_slots_.empty(), "more sequences run than the session takes");
      slot = free_slots_.back();
      free_slots_.pop_back();
    }
    sampling_.push_back({&to.request->request.sampling, to.request->seed,
                         static_cast<uint32_t>(to.index), s.spec.tokens, s.prompt_tokens, slot,
                         fresh});
  }
  const StepBatch batch = inputs_.bind(plan, scheduler_, blocks_);
  try {
    return parts_.session->launch(batch, sampling_);
  } catch (const std::exception& e) {
    return internal_error("the session threw: {}", e.what());
  } catch (...) {
    return internal_error("the session threw");
  }
}

Status StepLoop::collect(size_t rows) {
  sampled_.assign(rows, {});
  try {
    return parts_.session->collect(sampled_);
  } catch (const std::exception& e) {
    return internal_error("the session threw: {}", e.what());
  } catch (...) {
    return internal_error("the session threw");
  }
}

// Waits for the step under way and hands out its tokens. After an error its requests have ended.
Status StepLoop::land() {
  const Flight flight = std::move(*flight_);
  flight_.reset();
  Status collected = collect(flight.rows.size());
  if (!collected.ok()) collected = judge(collected.error());
  for (size_t i = 0; i < flight.rows.size(); ++i) {
    const auto found = requests_.find(flight.rows[i].request);
    if (found == requests_.end()) continue;
    ActiveRequest& request = *found->second;
    const int index = flight.rows[i].index;
    if (request.finished[static_cast<size_t>(index)]) continue;
    if (collected.ok()) {
      take_sample(request, index, sampled_[i], true);
      continue;
    }
    scheduler_.distrust(request.sequences[static_cast<size_t>(index)]);
    end(request.id, FinishReason::kError, collected.error());
  }
  if (lost_) end_started();
  failed_in_a_row_.store(collected.ok() ? 0 : failed_in_a_row() + 1, std::memory_order_relaxed);
  return collected;
}

// The sequences of a queued step go on with tokens that only the session knows. One that needs no
// further step waits for its last token.
void StepLoop::append_pending(const Flight& flight) {
  for (size_t i = 0; i < flight.rows.size(); ++i) {
    const auto found = requests_.find(flight.rows[i].request);
    if (found == requests_.end()) continue;
    ActiveRequest& request = *found->second;
    const auto index = static_cast<size_t>(flight.rows[i].index);
    if (request.finished[index]) continue;
    const SeqId id = request.sequences[index];
    scheduler_.append_pending(id, -1 - static_cast<int32_t>(i));
    if (scheduler_.sequence(id).output_tokens() >= request.max_output) {
      scheduler_.set_paused(id, true);
    }
  }
}

void StepLoop::step_ahead(const StepPlan& plan) {
  const Status queued = queue(plan, &next_);
  if (queued.ok()) count_step(plan);
  const Status landed = flight_ ? land() : ok_status();
  if (queued.ok() && landed.ok()) {
    scheduler_.complete();
    append_pending(next_);
    flight_ = std::move(next_);
    return;
  }
  if (queued.ok()) {
    (void)collect(next_.rows.size());  // what it gives rests on what failed
  } else {
    failed_in_a_row_.fetch_add(1, std::memory_order_relaxed);
  }
  fail(queued.ok() ? landed.error() : judge(queued.error()));
}

}  // namespace ramjet::runtime

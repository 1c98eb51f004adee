#include "runtime/executor/step_loop.h"

#include <algorithm>
#include <bit>
#include <exception>

#include "base/check.h"
#include "base/hash.h"

namespace ramjet::runtime {

StepLoop::StepLoop(const Parts& parts, const SchedulerConfig& scheduler,
                   const kv::BlockManagerConfig& blocks)
    : parts_(parts),
      info_(parts.session->info()),
      blocks_(blocks),
      scheduler_(scheduler, &blocks_),
      sampler_(info_.vocab_size, parts.pool),
      masks_(info_.vocab_size),
      inputs_(info_) {
  std::sort(info_.eos_ids.begin(), info_.eos_ids.end());
  for (int64_t i = info_.max_batch_size; i > 0; --i) {
    free_slots_.push_back(static_cast<int32_t>(i - 1));
  }
  stats_.block_tokens = blocks.block_tokens;
  stats_.kv_bytes = info_.kv_bytes;
  stats_.device = info_.device;
}

StepLoop::Owner& StepLoop::owner(SeqId id) {
  if (owners_.size() <= static_cast<size_t>(id)) owners_.resize(static_cast<size_t>(id) + 1);
  return owners_[static_cast<size_t>(id)];
}

void StepLoop::add(std::unique_ptr<ActiveRequest> request) {
  ActiveRequest& r = *request;
  SequenceSpec spec;
  spec.tokens = r.request.prompt_ids;
  spec.max_output = r.max_output;
  spec.ends_early =
      !r.request.sampling.stop.ignore_eos || !r.request.sampling.stop.stop_ids.empty();
  spec.fanout = r.request.n;
  spec.priority = r.request.priority;
  spec.turn = r.request.turn;
  spec.deadline_ns = r.deadline_ns;
  spec.extra = r.request.cache_salt;
  if (r.adapter != nullptr) {
    spec.adapter_slot = r.adapter->slot;
    spec.extra = hash64(std::as_bytes(std::span(&r.adapter->id, 1)), spec.extra);
  }
  const auto prompt = static_cast<int64_t>(spec.tokens.size());
  if (info_.length_free_tokens > 0 && prompt > info_.length_free_tokens) {
    spec.extra = hash64(std::as_bytes(std::span(&prompt, 1)), spec.extra);
  }
  spec.logits_from = r.logits_from;
  spec.max_logit_rows = r.max_logit_rows;
  const auto count = static_cast<size_t>(r.request.n);
  r.sequences.assign(count, kNoSeq);
  r.slots.assign(count, -1);
  r.finished.assign(count, false);
  r.unwanted.assign(count, false);
  r.unfinished = r.request.n;
  set_host_sampled(r, wants_host(r));
  r.sequences[0] = scheduler_.add(std::move(spec));
  owner(r.sequences[0]) = {&r, 0};
  requests_.emplace(r.id, std::move(request));
}

void StepLoop::end(uint64_t request, FinishReason reason, std::optional<Error> error) {
  const auto found = requests_.find(request);
  if (found == requests_.end()) return;
  ActiveRequest& r = *found->second;
  for (int left = r.unfinished, index = 0; left > 0; ++index) {
    if (r.finished[static_cast<size_t>(index)]) continue;
    RequestOutput output;
    output.finish = reason;
    output.error = error;
    end_index(r, index, std::move(output));  // the last one deletes r
    --left;
  }
}

void StepLoop::cancel_index(uint64_t request, int index) {
  const auto found = requests_.find(request);
  if (found == requests_.end()) return;
  ActiveRequest& r = *found->second;
  const auto at = static_cast<size_t>(index);
  if (at >= r.finished.size() || r.finished[at]) return;
  r.unwanted[at] = true;
  const bool forked = r.sequences.back() != kNoSeq;
  if (forked) {
    RequestOutput output;
    output.finish = FinishReason::kCancelled;
    end_index(r, index, std::move(output));
  } else if (std::find(r.unwanted.begin(), r.unwanted.end(), false) == r.unwanted.end()) {
    end(request, FinishReason::kCancelled);
  }
}

void StepLoop::end_all(FinishReason reason, const std::optional<Error>& error) {
  while (!requests_.empty()) end(requests_.begin()->first, reason, error);
}

void StepLoop::resume(uint64_t request) {
  const auto found = requests_.find(request);
  if (found != requests_.end()) scheduler_.set_paused(found->second->sequences[0], false);
}

void StepLoop::expire(int64_t now_ns) {
  scratch_.clear();
  scheduler_.expired(now_ns, &scratch_);
  for (const SeqId id : scratch_) {
    const ActiveRequest* r = owner(id).request;
    if (r == nullptr) continue;  // ended with a sibling
    end(r->id, FinishReason::kError,
        make_error(ErrorCode::kDeadlineExceeded,
                   "the request did not end within its deadline of "
                   "{} s",
                   r->request.deadline_s));
  }
}

int64_t StepLoop::ns_to_deadline() const {
  const int64_t next = scheduler_.next_deadline_ns();
  return next == 0 ? -1 : std::max<int64_t>(0, next - parts_.clock->now_ns());
}

bool StepLoop::step() {
  const int64_t begin = parts_.clock->now_ns();
  expire(begin);
  if (lost_) return false;
  const bool ahead = host_requests_ == 0 && parts_.session->samples(SamplingParams{});
  if (!ahead && flight_) (void)land();  // those it failed have been told
  if (lost_) return true;
  const StepPlan& plan = scheduler_.schedule(begin);
  release_preempted(plan);
  if (plan.items.empty() && !flight_) return false;
  mark_started(plan, begin);
  if (plan.items.empty()) {
    (void)land();
  } else if (ahead) {
    step_ahead(plan);
  } else {
    step_now(plan);
  }
  stats_.busy_s += static_cast<double>(parts_.clock->now_ns() - begin) * 1e-9;
  return true;
}

void StepLoop::step_now(const StepPlan& plan) {
  begin_masks(plan);
  const Result<std::span<const float>> logits = launch(plan);
  masks_.wait();
  if (!logits.ok()) {
    failed_in_a_row_.fetch_add(1, std::memory_order_relaxed);
    return fail(judge(logits.error()));
  }
  failed_in_a_row_.store(0, std::memory_order_relaxed);
  collect_jobs(plan, *logits);
  sampler_.sample(std::span(jobs_).first(num_jobs_));
  scheduler_.complete();
  count_step(plan);
  take_results();
  end_prompts(plan);
}

// What a mask rests on is known before the step runs, so masks are computed beside it.
void StepLoop::begin_masks(const StepPlan& plan) {
  masked_.clear();
  for (const PlanItem& item : plan.items) {
    const Sequence& s = scheduler_.sequence(item.sequence);
    if (item.rows() == 0 || item.start + item.count < s.known()) continue;
    const Owner& to = owner(item.sequence);
    if (to.request->request.sampling.controls.mask == nullptr) continue;
    const int end = s.spec.fanout > 1 ? to.request->request.n : to.index + 1;
    for (int index = to.index; index < end; ++index) {
      masked_.push_back(to.request->states[static_cast<size_t>(index)].get());
    }
  }
  masks_.begin(masked_);
}

void StepLoop::mark_started(const StepPlan& plan, int64_t now_ns) {
  tags_.clear();
  for (const PlanItem& item : plan.items) {
    ActiveRequest& request = *owner(item.sequence).request;
    if (request.start_ns != 0) continue;
    request.start_ns = now_ns;
    tags_.push_back(request.request.tag);
  }
  const bool told = !tags_.empty() && parts_.hooks != nullptr && parts_.hooks->on_start;
  if (told) parts_.hooks->on_start(tags_);
}

Result<std::span<const float>> StepLoop::launch(const StepPlan& plan) {
  const StepBatch batch = inputs_.bind(plan, scheduler_, blocks_);
  Result<std::span<const float>> logits = internal_error("no result");
  try {
    logits = parts_.session->step(batch);
  } catch (const std::exception& e) {
    logits = internal_error("the session threw: {}", e.what());
  } catch (...) {
    logits = internal_error("the session threw");
  }
  if (logits.ok() && static_cast<int64_t>(logits->size()) != plan.rows * info_.vocab_size) {
    return internal_error("the session returned {} logits for {} rows of {}", logits->size(),
                          plan.rows, info_.vocab_size);
  }
  return logits;
}

void StepLoop::count_step(const StepPlan& plan) {
  ++stats_.steps;
  stats_.slot_steps += plan.items.size();
  const auto tokens = static_cast<uint64_t>(plan.tokens);
  stats_.batched_tokens += tokens;
  const auto bucket = static_cast<size_t>(std::bit_width(tokens - 1));
  ++stats_.steps_by_tokens[std::min(bucket, stats_.steps_by_tokens.size() - 1)];
  const TokenUse use = scheduler_.token_use();
  stats_.kv_live_token_steps += static_cast<uint64_t>(use.live);
  stats_.kv_reserved_token_steps += static_cast<uint64_t>(use.reserved);
}

void StepLoop::fail(const Error& error) {
  scheduler_.fail_step();
  for (auto& [id, request] : requests_) {  // the others restart
    for (int index = 0; index < request->request.n; ++index) release_slot(*request, index);
  }
  scratch_.clear();
  const StepPlan& plan = scheduler_.plan();
  for (const PlanItem& item : plan.items) scratch_.push_back(item.sequence);
  for (const SeqId id : scratch_) {
    if (const ActiveRequest* r = owner(id).request; r != nullptr) {
      end(r->id, FinishReason::kError, error);
    }
  }
  if (lost_) end_started();
}

// What a failed step's requests are told; finds out whether the device is lost.
Error StepLoop::judge(const Error& error) {
  if (!lost_ && parts_.session->lost()) {
    lost_ = make_error(ErrorCode::kUnavailable, "the device was lost in a step: {}", error.message);
  }
  return lost_ ? *lost_ : error.with_context("the step failed");
}

// Their caches went with the device.
void StepLoop::end_started() {
  std::vector<uint64_t> started;
  for (const auto& [id, request] : requests_) {
    if (request->start_ns != 0) started.push_back(id);
  }
  for (const uint64_t id : started) end(id, FinishReason::kError, lost_);
}

void StepLoop::emit(ActiveRequest& request, int index, RequestOutput output) {
  if (request.feed != nullptr) return;
  const SeqId id = request.sequences[static_cast<size_t>(index)];
  if (id != kNoSeq) {
    request.cached_tokens = static_cast<int>(scheduler_.sequence(id).cached_tokens);
  }
  output.request = request.id;
  output.index = index;
  output.prompt_tokens = static_cast<int>(request.request.prompt_ids.size());
  output.cached_tokens = request.cached_tokens;
  const int64_t start = request.start_ns != 0 ? request.start_ns : parts_.clock->now_ns();
  output.queue_s = static_cast<double>(start - request.submit_ns) * 1e-9;
  if (index == 0 && request.prompt_logprobs.size() == request.request.prompt_ids.size()) {
    output.prompt_logprobs = std::move(request.prompt_logprobs);
    request.prompt_logprobs.clear();
  }
  events_.push_back({request.sink, std::move(output), false});
}

// Ends one of the n sequences; with the last one the request goes.
void StepLoop::end_index(ActiveRequest& request, int index, RequestOutput output) {
  const auto at = static_cast<size_t>(index);
  CHECK(!request.finished[at], "a sequence ended twice");
  request.finished[at] = true;
  output.last = --request.unfinished == 0;
  const bool last = output.last;
  if (request.feed != nullptr) finish_feed(request, output);
  emit(request, index, std::move(output));
  if (const SeqId id = request.sequences[at]; id != kNoSeq) {
    owner(id) = {};
    release_slot(request, index);
    scheduler_.finish(id);
  }
  if (!last) return;
  set_host_sampled(request, false);
  requests_.erase(request.id);
}

ExecutorStats StepLoop::stats() const {
  ExecutorStats stats = stats_;
  const kv::PoolCounts counts = blocks_.pool().counts();
  stats.requests_running = static_cast<int>(scheduler_.num_running());
  stats.requests_waiting = static_cast<int>(scheduler_.num_waiting());
  stats.kv_blocks_total = counts.total;
  stats.kv_blocks_active = counts.active;
  stats.kv_blocks_cached = counts.cached;
  stats.prefix_queries = scheduler_.counters().prefix_queries;
  stats.prefix_hits = scheduler_.counters().prefix_hits;
  stats.preemptions = scheduler_.counters().preemptions;
  stats.device_busy_s = parts_.session->device_busy_s();
  return stats;
}

Status StepLoop::check_integrity() const {
  if (idle() && !(scheduler_.idle() && blocks_.open_tables() == 0)) {
    return internal_error(
        "executor: no request is left, but the scheduler holds {} waiting and "
        "{} running sequences",
        scheduler_.num_waiting(), scheduler_.num_running());
  }
  if (idle() && static_cast<int64_t>(free_slots_.size()) != info_.max_batch_size) {
    return internal_error("executor: no request is left, but {} of {} slots are free",
                          free_slots_.size(), info_.max_batch_size);
  }
  return scheduler_.check_integrity();
}

}  // namespace ramjet::runtime

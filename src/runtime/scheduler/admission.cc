// Which waiting sequence may start: slots, tokens, and above all blocks.
#include <algorithm>

#include "base/check.h"
#include "runtime/scheduler/scheduler.h"

namespace ramjet::runtime {

bool Scheduler::guaranteed() const {
  return config_.capacity == CapacityPolicy::kGuaranteedNoEvict ||
         config_.batching == BatchingMode::kStatic;
}

int64_t Scheduler::slots_used() const {
  int64_t slots = 0;
  for (const SeqId id : running_) slots += sequence(id).spec.fanout;
  return slots;
}

namespace {
// Tokens in the cache when the sequence ends: the last sampled one is never computed.
int64_t final_tokens(int64_t prompt_tokens, int64_t max_output) {
  return prompt_tokens + std::max<int64_t>(0, max_output - 1);
}
}  // namespace

// What forks draw beside the blocks of their parent, the copy of a partial last block included.
int64_t Scheduler::fork_need(const SequenceSpec& spec, int64_t prompt_tokens) const {
  if (spec.fanout <= 1) return 0;
  const int64_t block_tokens = blocks_->config().block_tokens;
  const int64_t own = blocks_->blocks_for(final_tokens(prompt_tokens, spec.max_output)) -
                      prompt_tokens / block_tokens;
  return (spec.fanout - 1) * own + (prompt_tokens % block_tokens != 0 ? 1 : 0);
}

int64_t Scheduler::blocks_needed(const SequenceSpec& spec, int64_t prompt_tokens) const {
  const int64_t alone = blocks_->blocks_for(final_tokens(prompt_tokens, spec.max_output));
  // Forks may be preempted one by one, so that only the last one has to fit.
  return guaranteed() ? alone + fork_need(spec, prompt_tokens) : alone;
}

// Blocks that a running sequence may still draw until it ends.
int64_t Scheduler::future_need(const Sequence& s) const {
  const int64_t end = final_tokens(s.prompt_tokens, s.spec.max_output);
  return blocks_->blocks_wanted(s.table, end) + fork_need(s.spec, s.prompt_tokens);
}

int64_t Scheduler::prefix_limit(const Sequence& s) const {
  const int64_t last = s.known() - 1;
  return s.spec.logits_from >= 0 ? std::min(last, s.spec.logits_from) : last;
}

// `extra_free`: blocks that preemptions would add.
bool Scheduler::memory_allows(const Sequence& s, const kv::PrefixMatch& match,
                              int64_t extra_free) const {
  const int64_t matched = blocks_->blocks_for(match.tokens);
  int64_t left = blocks_->available() + extra_free - match.inactive;
  if (guaranteed()) {
    for (const SeqId id : running_) left -= future_need(sequence(id));
    const int64_t end = final_tokens(s.prompt_tokens, s.spec.max_output);
    return blocks_->blocks_for(end) - matched + fork_need(s.spec, s.prompt_tokens) <= left;
  }
  // Enough for all known tokens of everybody, and a reserve for what running ones will append.
  for (const SeqId id : running_) {
    left -= blocks_->blocks_wanted(sequence(id).table, sequence(id).known());
  }
  if (!running_.empty()) left -= 1 + blocks_->config().num_blocks / 100;
  return blocks_->blocks_for(s.known()) - matched <= left;
}

// Blocks of common prefixes count for each that holds them, on both sides of the comparison.
bool Scheduler::growth_fits(const Sequence& s, const kv::PrefixMatch& match) {
  // Where a window slides, a cache stops growing.
  if (config_.capacity != CapacityPolicy::kMaxUtilization || blocks_->config().window > 0) {
    return true;
  }
  int64_t held = blocks_->available() - match.inactive;
  growth_.clear();
  const auto add = [this](const Sequence& q, int64_t tokens) {
    const int64_t produced = q.output_tokens(), most = q.spec.max_output;
    const int64_t in_all = q.spec.ends_early ? lengths_.expected(produced, most) : most;
    growth_.push_back({std::max<int64_t>(0, in_all - produced - 1), tokens, q.spec.fanout});
  };
  for (const SeqId id : running_) {
    const Sequence& q = sequence(id);
    if (q.paused) continue;
    held += blocks_->held(q.table);
    add(q, q.known());
  }
  add(s, s.known() - match.tokens);
  return growth_.size() == 1 || peak_blocks(growth_, blocks_->config().block_tokens) <= held;
}

void Scheduler::admit_waiting() {
  for (size_t i = 0; i < waiting_.size();) {
    switch (try_admit(waiting_[i])) {
      case Admission::kAdmitted: break;  // it left the list
      case Admission::kSkip: ++i; break;
      case Admission::kStop: return;  // nobody overtakes it: it would starve
    }
  }
}

Scheduler::Admission Scheduler::try_admit(SeqId id) {
  const Sequence& s = sequence(id);
  const bool in_flight = config_.batching == BatchingMode::kInFlight;
  if (s.paused) return Admission::kSkip;
  if (in_flight && plan_.tokens >= config_.max_num_tokens) return Admission::kStop;
  const bool has_slot = slots_used() + s.spec.fanout <= config_.max_batch_size;
  // Before the look-up: under load this is the answer in most steps.
  if (!has_slot && !outranks_last(s)) return Admission::kStop;
  const kv::PrefixMatch match = blocks_->match(s.key, s.spec.tokens, prefix_limit(s));
  // Another sequence is computing what this one needs next: waiting is cheaper than computing.
  if (in_flight && match.next_pending) return Admission::kSkip;
  const bool outranks = outranks_last(s);
  const bool fits = has_slot && memory_allows(s, match, 0) && (outranks || growth_fits(s, match));
  if (!fits && !(outranks && push_out_for(id, match))) return Admission::kStop;
  start(id);
  if (in_flight) plan_sequence(id);
  return Admission::kAdmitted;
}

bool Scheduler::outranks_last(const Sequence& s) const {
  return !guaranteed() && !running_.empty() &&
         sequence(running_.back()).spec.priority < s.spec.priority;
}

// Preempts running sequences of lower priority until `id` fits, if that can succeed.
bool Scheduler::push_out_for(SeqId id, const kv::PrefixMatch& match) {
  const Sequence& s = sequence(id);
  if (guaranteed()) return false;
  size_t victims = 0;
  int64_t slots = slots_used(), blocks = 0;
  const auto fits = [&] {
    return slots + s.spec.fanout <= config_.max_batch_size && memory_allows(s, match, blocks);
  };
  while (!fits()) {
    if (victims == running_.size()) return false;
    const Sequence& victim = sequence(running_[running_.size() - 1 - victims]);
    if (victim.spec.priority >= s.spec.priority) return false;
    ++victims;
    slots -= victim.spec.fanout;
    blocks += blocks_->held(victim.table);
  }
  for (; victims > 0; --victims) preempt(running_.back());
  // Shared blocks count once only, so the estimate may have been too good.
  return memory_allows(s, blocks_->match(s.key, s.spec.tokens, prefix_limit(s)), 0);
}

void Scheduler::start(SeqId id) {
  Sequence& s = at(id);
  const int level = std::clamp(kv::BlockPool::kDefaultLevel + std::clamp(s.spec.priority, -8, 8), 0,
                               kv::BlockPool::kLevels - 1);
  s.table = blocks_->open(level);
  const int64_t found = blocks_->adopt(s.table, s.key, s.spec.tokens, prefix_limit(s));
  if (config_.batching == BatchingMode::kInFlight) blocks_->announce(s.table, s.key);
  if (!s.admitted) {
    s.admitted = true;
    s.cached_tokens = found;
    if (blocks_->config().prefix_caching) {
      counters_.prefix_queries += static_cast<uint64_t>(s.prompt_tokens);
      counters_.prefix_hits += static_cast<uint64_t>(found);
    }
  }
  s.state = SequenceState::kRunning;
  std::erase(waiting_, id);
  insert_sorted(running_, id);
}

}  // namespace ramjet::runtime

#include "runtime/scheduler/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace ramjet::runtime {

Scheduler::Scheduler(const SchedulerConfig& config, kv::BlockManager* blocks)
    : config_(config), blocks_(blocks) {
  CHECK(config.max_batch_size >= 1 && config.max_num_tokens >= config.max_batch_size);
  CHECK(config.max_logit_rows >= config.max_batch_size);
}

bool Scheduler::before(SeqId a, SeqId b) const {
  const Sequence& x = sequence(a);
  const Sequence& y = sequence(b);
  if (x.spec.priority != y.spec.priority) return x.spec.priority > y.spec.priority;
  if (x.spec.turn != y.spec.turn) return x.spec.turn < y.spec.turn;
  return x.order != y.order ? x.order < y.order : a < b;
}

void Scheduler::insert_sorted(std::vector<SeqId>& list, SeqId id) {
  const auto place = std::lower_bound(list.begin(), list.end(), id,
                                      [this](SeqId a, SeqId b) { return before(a, b); });
  list.insert(place, id);
}

SeqId Scheduler::new_slot() {
  if (vacant_.empty()) {
    sequences_.emplace_back();
    return static_cast<SeqId>(sequences_.size() - 1);
  }
  const SeqId id = vacant_.back();
  vacant_.pop_back();
  return id;
}

SeqId Scheduler::add(SequenceSpec spec) {
  CHECK(!spec.tokens.empty() && spec.fanout >= 1 && spec.fanout <= config_.max_batch_size);
  CHECK(
      blocks_needed(spec, static_cast<int64_t>(spec.tokens.size())) <= blocks_->config().num_blocks,
      "a sequence exceeds the cache");
  const SeqId id = new_slot();
  Sequence& s = at(id);
  s = Sequence{};
  s.spec = std::move(spec);
  s.prompt_tokens = s.known();
  s.order = next_order_++;
  s.key.extra = s.spec.extra;
  if (blocks_->config().prefix_caching) {
    s.key.extend(s.spec.tokens, blocks_->config().block_tokens);
  }
  s.state = SequenceState::kWaiting;
  num_deadlines_ += s.spec.deadline_ns != 0 ? 1 : 0;
  insert_sorted(waiting_, id);
  return id;
}

int64_t Scheduler::computed(SeqId id) const {
  const Sequence& s = sequence(id);
  return s.table == kv::kNoTable ? 0 : blocks_->committed(s.table);
}

// In a static batch a sequence without output still belongs to the prefill phase.
bool Scheduler::prefilling(SeqId id) const {
  const Sequence& s = sequence(id);
  if (config_.batching == BatchingMode::kStatic && s.output_tokens() == 0) return true;
  return s.known() - computed(id) > 1;
}

const StepPlan& Scheduler::schedule(int64_t now_ns) {
  // Time does not change the plan today: deadlines are the caller's to enforce, from expired().
  (void)now_ns;
  plan_.clear();
  if (config_.batching == BatchingMode::kStatic) {
    if (running_.empty()) admit_waiting();
    plan_running(false);
    const bool prefill =
        std::any_of(running_.begin(), running_.end(), [this](SeqId id) { return prefilling(id); });
    if (!prefill) plan_running(true);
    return plan_;
  }
  plan_running(true);
  plan_running(false);
  // Whoever just took blocks from a running sequence would take them from a new one as well.
  if (plan_.preempted.empty()) admit_waiting();
  return plan_;
}

// One pass over the running sequences, best first: those that need one token, or the others.
void Scheduler::plan_running(bool decodes) {
  for (size_t i = 0; i < running_.size() && plan_.tokens < config_.max_num_tokens; ++i) {
    const SeqId id = running_[i];
    // A preemption only removes from the back, so i stays valid.
    if (!sequence(id).paused && prefilling(id) != decodes) plan_sequence(id);
  }
}

// The next positions of a sequence under what the step has left of tokens and logit rows.
bool Scheduler::next_chunk(SeqId id, PlanItem* item) const {
  const Sequence& s = sequence(id);
  const int64_t start = computed(id);
  const int64_t last = s.known() - 1;
  const int64_t wanted = s.spec.logits_from >= 0 ? std::min(s.spec.logits_from, last) : last;
  int64_t rows = config_.max_logit_rows - plan_.rows;
  if (s.spec.max_logit_rows > 0) rows = std::min(rows, s.spec.max_logit_rows);
  const int64_t first_row = std::max(start, wanted);
  int64_t end = std::min(s.known(), start + config_.max_num_tokens - plan_.tokens);
  end = std::min(end, first_row + rows);
  if (end <= start) return false;
  *item = {id, start, end - start, std::min(first_row, end)};
  return true;
}

bool Scheduler::plan_sequence(SeqId id) {
  PlanItem item;
  if (!next_chunk(id, &item)) return true;
  if (!make_room(id, item.start + item.count)) return false;
  plan_.items.push_back(item);
  plan_.tokens += item.count;
  plan_.rows += item.rows();
  return true;
}

bool Scheduler::make_room(SeqId id, int64_t tokens) {
  while (!blocks_->reserve(sequence(id).table, tokens, &plan_.copies)) {
    // Under guaranteed_no_evict only blocks held by leases can lead here.
    const SeqId victim = running_.back();
    preempt(victim);
    if (victim == id) return false;
  }
  return true;
}

void Scheduler::preempt(SeqId id) {
  Sequence& s = at(id);
  CHECK(s.state == SequenceState::kRunning);
  unplan(id);
  blocks_->close(s.table);
  s.table = kv::kNoTable;
  s.state = SequenceState::kWaiting;
  std::erase(running_, id);
  insert_sorted(waiting_, id);
  plan_.preempted.push_back(id);
  ++counters_.preemptions;
}

// Its copies stay in the plan: they come first in a step, so whoever owns the target block now
// overwrites it afterwards.
void Scheduler::unplan(SeqId id) {
  const auto item = std::find_if(plan_.items.begin(), plan_.items.end(),
                                 [id](const PlanItem& i) { return i.sequence == id; });
  if (item == plan_.items.end()) return;
  plan_.tokens -= item->count;
  plan_.rows -= item->rows();
  plan_.items.erase(item);
}

void Scheduler::complete() {
  for (const PlanItem& item : plan_.items) {
    Sequence& s = at(item.sequence);
    const int64_t end = item.start + item.count;
    const auto tokens = std::span<const int32_t>(s.spec.tokens).first(static_cast<size_t>(end));
    blocks_->commit(s.table, tokens, s.key);
    if (s.spec.logits_from >= 0) {
      s.spec.logits_from = end >= s.prompt_tokens ? -1 : std::max(s.spec.logits_from, end);
    }
  }
}

void Scheduler::fail_step() {
  for (const PlanItem& item : plan_.items) blocks_->distrust(sequence(item.sequence).table);
  const std::vector<SeqId> running = running_;
  for (const SeqId id : running) {
    const bool planned = std::any_of(plan_.items.begin(), plan_.items.end(),
                                     [id](const PlanItem& i) { return i.sequence == id; });
    if (!planned) preempt(id);
  }
}

void Scheduler::append(SeqId id, int32_t token) {
  Sequence& s = at(id);
  CHECK(s.state == SequenceState::kRunning);
  s.spec.tokens.push_back(token);
  if (blocks_->config().prefix_caching) {
    s.key.extend(s.spec.tokens, blocks_->config().block_tokens);
  }
}

void Scheduler::append_pending(SeqId id, int32_t name) {
  Sequence& s = at(id);
  CHECK(s.state == SequenceState::kRunning && name < 0);
  s.spec.tokens.push_back(name);
}

void Scheduler::resolve(SeqId id, int32_t token) {
  Sequence& s = at(id);
  CHECK(s.state != SequenceState::kFree && s.spec.tokens.back() < 0 && token >= 0);
  s.spec.tokens.back() = token;
  if (blocks_->config().prefix_caching) {
    s.key.extend(s.spec.tokens, blocks_->config().block_tokens);
  }
}

void Scheduler::distrust(SeqId id) {
  if (sequence(id).table != kv::kNoTable) blocks_->distrust(sequence(id).table);
}

SeqId Scheduler::fork(SeqId parent) {
  const SeqId id = new_slot();
  Sequence& from = at(parent);
  CHECK(from.state == SequenceState::kRunning && from.spec.fanout > 1);
  CHECK(from.output_tokens() == 0, "a sequence forks before it has output");
  --from.spec.fanout;
  Sequence& to = at(id);
  to = from;
  to.spec.fanout = 1;
  to.table = blocks_->fork(from.table);
  num_deadlines_ += to.spec.deadline_ns != 0 ? 1 : 0;
  insert_sorted(running_, id);
  return id;
}

void Scheduler::finish(SeqId id) {
  Sequence& s = at(id);
  CHECK(s.state != SequenceState::kFree, "a sequence was finished twice");
  unplan(id);
  if (s.output_tokens() > 0) lengths_.record(s.output_tokens());
  if (s.table != kv::kNoTable) blocks_->close(s.table);
  std::erase(s.state == SequenceState::kRunning ? running_ : waiting_, id);
  num_deadlines_ -= s.spec.deadline_ns != 0 ? 1 : 0;
  s.state = SequenceState::kFree;
  s.table = kv::kNoTable;
  s.spec.tokens = {};
  s.key.hashes = {};
  vacant_.push_back(id);
}

void Scheduler::set_paused(SeqId id, bool paused) {
  Sequence& s = at(id);
  s.paused = paused;
  if (paused && s.table != kv::kNoTable) blocks_->unannounce(s.table);
}

void Scheduler::expired(int64_t now_ns, std::vector<SeqId>* out) const {
  if (num_deadlines_ == 0) return;
  for (const auto* list : {&running_, &waiting_}) {
    for (const SeqId id : *list) {
      const int64_t deadline = sequence(id).spec.deadline_ns;
      if (deadline != 0 && now_ns >= deadline) out->push_back(id);
    }
  }
}

int64_t Scheduler::next_deadline_ns() const {
  int64_t next = 0;
  if (num_deadlines_ == 0) return next;
  for (const auto* list : {&running_, &waiting_}) {
    for (const SeqId id : *list) {
      const int64_t deadline = sequence(id).spec.deadline_ns;
      if (deadline != 0 && (next == 0 || deadline < next)) next = deadline;
    }
  }
  return next;
}

TokenUse Scheduler::token_use() const {
  TokenUse use;
  for (const SeqId id : running_) {
    const kv::TableId table = sequence(id).table;
    use.live += blocks_->live_tokens(table);
    use.reserved += blocks_->held(table) * blocks_->config().block_tokens;
  }
  return use;
}

Status Scheduler::check_lists() const {
  int64_t tables = 0, listed = 0;
  for (const auto* list : {&waiting_, &running_}) {
    const auto state = list == &running_ ? SequenceState::kRunning : SequenceState::kWaiting;
    for (size_t i = 0; i < list->size(); ++i) {
      const SeqId id = (*list)[i];
      if (sequence(id).state != state || (i > 0 && !before((*list)[i - 1], id))) {
        return internal_error("scheduler: sequence {} is wrongly listed", id);
      }
      ++listed;
    }
  }
  for (const Sequence& s : sequences_) {
    const bool running = s.state == SequenceState::kRunning;
    if (running != (s.table != kv::kNoTable)) {
      return internal_error("scheduler: a sequence of order {} has a wrong block table", s.order);
    }
    tables += running ? 1 : 0;
    listed -= s.state == SequenceState::kFree ? 0 : 1;
  }
  if (listed != 0 || tables != blocks_->open_tables()) {
    return internal_error("scheduler: {} block tables are open for {} running sequences",
                          blocks_->open_tables(), tables);
  }
  return ok_status();
}

Status Scheduler::check_integrity() const {
  if (Status lists = check_lists(); !lists.ok()) return lists;
  if (slots_used() > config_.max_batch_size) {
    return internal_error("scheduler: {} sequences run, the limit is {}", slots_used(),
                          config_.max_batch_size);
  }
  return blocks_->check_integrity();
}

}  // namespace ramjet::runtime

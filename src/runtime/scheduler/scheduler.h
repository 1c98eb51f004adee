// Scheduler: decides what runs in the next step, memory first, then compute.
//
// A pure function of its state: the same calls with the same arguments give the same plans; time
// is an argument. Not thread-safe. Borrows the BlockManager. It knows tokens, counts and blocks;
// what a token means (stop ids, sampling) is its caller's business.
//
// One iteration: schedule(now) -> the caller runs the plan -> complete() -> append() or finish()
// for each sequence that got the logits of its last token. A failed step: fail_step() instead.
//
// Order is (priority, then turn, then arrival). Decodes come before prefill chunks, so that a long
// prompt never stalls a running sequence. Under kMaxUtilization a sequence that cannot get a block
// takes them from the last in that order, which restarts later from its tokens, generated ones
// included (most of its blocks are found in the prefix index); a waiting sequence may push out
// running ones of lower priority only. Progress: the first running sequence is never preempted and
// fits alone. Since a restart computes everything again, kMaxUtilization also looks ahead: a
// sequence starts when the blocks that all will hold at the worst moment, by forecast.h, are there.
#pragma once

#include <ramjet/executor.h>

#include <cstdint>
#include <vector>

#include "runtime/scheduler/forecast.h"
#include "runtime/scheduler/sequence.h"

namespace ramjet::runtime {

struct SchedulerConfig {
  int64_t max_batch_size = 1;  // sequences that hold blocks
  int64_t max_num_tokens = 1;  // of a step; at least max_batch_size
  int64_t max_logit_rows = 1;  // of a step; at least max_batch_size
  CapacityPolicy capacity = CapacityPolicy::kMaxUtilization;
  BatchingMode batching = BatchingMode::kInFlight;
};

struct TokenUse {  // of the caches of running sequences; shared blocks count once for each
  int64_t live = 0;
  int64_t reserved = 0;  // room in the blocks they hold
};

struct SchedulerCounters {  // since start
  uint64_t preemptions = 0;
  uint64_t prefix_queries = 0;  // prompt tokens looked up
  uint64_t prefix_hits = 0;     // prompt tokens found
};

class Scheduler {
 public:
  Scheduler(const SchedulerConfig& config, kv::BlockManager* blocks);

  /// Queues a sequence. blocks_needed() must not exceed the cache.
  SeqId add(SequenceSpec spec);
  /// Valid until the next call.
  const StepPlan& schedule(int64_t now_ns);
  const StepPlan& plan() const { return plan_; }
  /// The planned step succeeded: its positions are computed.
  void complete();
  /// The planned step failed: the blocks it touched are not trusted. The caller finishes the
  /// planned sequences; the other running ones restart.
  void fail_step();

  void append(SeqId sequence, int32_t token);
  /// Appends a token that is chosen but not known yet, by its name (below 0); the sequence can be
  /// scheduled. resolve() must tell the token before the step that computes it is completed.
  void append_pending(SeqId sequence, int32_t name);
  void resolve(SeqId sequence, int32_t token);
  /// Nobody may reuse the blocks of this sequence.
  void distrust(SeqId sequence);
  /// A sequence that shares all computed tokens with `parent`, which must have no output yet.
  SeqId fork(SeqId parent);
  /// Releases everything, in any state; a plan that is not completed yet forgets it.
  void finish(SeqId sequence);
  /// A paused sequence keeps its place and its blocks, but nobody waits for its blocks.
  void set_paused(SeqId sequence, bool paused);
  /// Appends those whose deadline has passed, in order of arrival.
  void expired(int64_t now_ns, std::vector<SeqId>* out) const;
  /// The earliest deadline; 0: none.
  int64_t next_deadline_ns() const;

  const Sequence& sequence(SeqId id) const { return sequences_[static_cast<size_t>(id)]; }
  int64_t computed(SeqId id) const;
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  TokenUse token_use() const;
  const SchedulerCounters& counters() const { return counters_; }
  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// Blocks that a sequence with its forks may come to hold at once. Any thread.
  int64_t blocks_needed(const SequenceSpec& spec, int64_t prompt_tokens) const;
  /// Lists, states and tables agree; includes the block manager's own check.
  Status check_integrity() const;

 private:
  enum class Admission : uint8_t { kAdmitted, kSkip, kStop };

  Sequence& at(SeqId id) { return sequences_[static_cast<size_t>(id)]; }
  bool before(SeqId a, SeqId b) const;
  void insert_sorted(std::vector<SeqId>& list, SeqId id);
  SeqId new_slot();

  void plan_running(bool decodes);
  bool plan_sequence(SeqId id);
  bool next_chunk(SeqId id, PlanItem* item) const;
  bool make_room(SeqId id, int64_t tokens);
  void preempt(SeqId id);
  void unplan(SeqId id);

  void admit_waiting();
  Admission try_admit(SeqId id);
  bool memory_allows(const Sequence& s, const kv::PrefixMatch& match, int64_t extra_free) const;
  bool growth_fits(const Sequence& s, const kv::PrefixMatch& match);
  bool outranks_last(const Sequence& s) const;
  bool push_out_for(SeqId id, const kv::PrefixMatch& match);
  void start(SeqId id);
  bool guaranteed() const;
  int64_t prefix_limit(const Sequence& s) const;
  int64_t future_need(const Sequence& s) const;
  int64_t fork_need(const SequenceSpec& spec, int64_t prompt_tokens) const;
  int64_t slots_used() const;
  bool prefilling(SeqId id) const;
  Status check_lists() const;

  SchedulerConfig config_;
  kv::BlockManager* blocks_;
  std::vector<Sequence> sequences_;
  std::vector<SeqId> vacant_;
  std::vector<SeqId> waiting_;  // sorted
  std::vector<SeqId> running_;  // sorted
  StepPlan plan_;
  OutputLengths lengths_;
  std::vector<Growth> growth_;  // scratch
  SchedulerCounters counters_;
  uint64_t next_order_ = 0;
  int64_t num_deadlines_ = 0;  // of queued and running sequences
};

}  // namespace ramjet::runtime

// StepLoop: one iteration of the runtime, admit -> schedule -> bind -> launch -> sample -> publish,
// over any Session.
//
// Single-threaded: whoever calls it owns it. ExecutorCore runs it on a thread of its own; tests
// and simulations call it directly. An error of a request ends that request; an error of a step
// ends the requests that were in it, and the others restart; an error that loses the device ends
// all that have begun, and no step is run any more. In the steady state it allocates only the
// events that it publishes and what sequences grow by.
#pragma once

#include <ramjet/executor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "runtime/executor/active_request.h"
#include "runtime/executor/publisher.h"
#include "runtime/executor/step_inputs.h"
#include "runtime/sampling/mask_worker.h"
#include "runtime/sampling/sampler.h"
#include "runtime/scheduler/scheduler.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

class StepLoop {
 public:
  struct Parts {  // borrowed
    Session* session = nullptr;
    Publisher* publisher = nullptr;
    ThreadPool* pool = nullptr;  // for sampling; may be null
    const Clock* clock = nullptr;
    const ExecutorHooks* hooks = nullptr;  // may be null
  };
  StepLoop(const Parts& parts, const SchedulerConfig& scheduler,
           const kv::BlockManagerConfig& blocks);

  void add(std::unique_ptr<ActiveRequest> request);
  /// Ends a request; unknown ids are ignored.
  void end(uint64_t request, FinishReason reason, std::optional<Error> error = std::nullopt);
  /// Cancels one of a request's sequences: at once, or as soon as it forks from its prompt.
  void cancel_index(uint64_t request, int index);
  void end_all(FinishReason reason, const std::optional<Error>& error = std::nullopt);
  /// The reader of a logits feed has taken its rows.
  void resume(uint64_t request);
  /// Runs one step. False if there is nothing to run now.
  bool step();
  /// Hands over the events of all calls since the last publish().
  void publish() { parts_.publisher->push(&events_); }

  bool idle() const { return requests_.empty(); }
  int64_t num_requests() const { return static_cast<int64_t>(requests_.size()); }
  /// Nanoseconds until the earliest deadline; -1: none.
  int64_t ns_to_deadline() const;
  /// Steps that failed since the last that did not. Any thread.
  int failed_in_a_row() const { return failed_in_a_row_.load(std::memory_order_relaxed); }
  /// Why no step will run any more, if the device is lost.
  const std::optional<Error>& lost() const { return lost_; }
  ExecutorStats stats() const;
  Status check_integrity() const;
  const Scheduler& scheduler() const { return scheduler_; }
  kv::BlockManager& blocks() { return blocks_; }

 private:
  struct Owner {  // of a scheduler's sequence
    ActiveRequest* request = nullptr;
    int index = 0;
  };
  struct Target {  // what a job's result is for
    SeqId sequence = kNoSeq;
    int index = 0;
    bool sampled = false;  // else a position of the prompt was scored
  };

  /// A launched step whose tokens are not known yet: what each row is for. Requests may have
  /// ended since, so they are named, not pointed at.
  struct Flight {
    struct Row {
      uint64_t request = 0;
      int index = 0;
    };
    std::vector<Row> rows;
  };

  void expire(int64_t now_ns);
  void step_now(const StepPlan& plan);
  void step_ahead(const StepPlan& plan);
  Status queue(const StepPlan& plan, Flight* flight);
  Status collect(size_t rows);
  Status land();
  void append_pending(const Flight& flight);
  bool wants_host(const ActiveRequest& request) const;
  void set_host_sampled(ActiveRequest& request, bool on);
  void release_slot(ActiveRequest& request, int index);
  void release_preempted(const StepPlan& plan);
  void mark_started(const StepPlan& plan, int64_t now_ns);
  void begin_masks(const StepPlan& plan);
  Result<std::span<const float>> launch(const StepPlan& plan);
  void fail(const Error& error);
  Error judge(const Error& error);
  void end_started();
  void collect_jobs(const StepPlan& plan, std::span<const float> logits);
  SampleJob& new_job(const Target& target, std::span<const float> row);
  void collect_row(const PlanItem& item, int64_t position, std::span<const float> row);
  void feed_rows(const PlanItem& item, std::span<const float> rows);
  void finish_feed(ActiveRequest& request, const RequestOutput& output);
  void take_results();
  void take_sample(ActiveRequest& request, int index, SampledRow& row, bool pending);
  FinishReason take_token(ActiveRequest& request, SamplingState& state, int64_t output,
                          RequestOutput* event);
  FinishReason jump_forward(ActiveRequest& request, int index, RequestOutput* event);
  void fork_request(ActiveRequest& request, size_t job);
  void end_prompts(const StepPlan& plan);
  void count_step(const StepPlan& plan);
  void emit(ActiveRequest& request, int index, RequestOutput output);
  void end_index(ActiveRequest& request, int index, RequestOutput output);
  Owner& owner(SeqId id);

  Parts parts_;
  SessionInfo info_;
  kv::BlockManager blocks_;
  Scheduler scheduler_;
  Sampler sampler_;
  MaskWorker masks_;
  StepInputs inputs_;
  std::unordered_map<uint64_t, std::unique_ptr<ActiveRequest>> requests_;
  std::vector<Owner> owners_;  // by SeqId
  std::vector<SampleJob> jobs_;
  std::vector<Target> targets_;  // of jobs_
  size_t num_jobs_ = 0;
  std::vector<int32_t> free_slots_;  // of RowSampling
  int64_t host_requests_ = 0;        // whose tokens are chosen here: while there are any, all are
  std::optional<Flight> flight_;     // the step under way
  Flight next_;                      // scratch
  std::vector<RowSampling> sampling_;
  std::vector<SampledRow> sampled_;
  std::vector<SeqId> scratch_;
  std::vector<SamplingState*> masked_;  // scratch
  std::vector<int32_t> forced_;         // scratch
  std::vector<PublishEvent> events_;
  ExecutorStats stats_;
  std::vector<uint64_t> tags_;  // scratch
  std::optional<Error> lost_;
  std::atomic<int> failed_in_a_row_{0};
};

}  // namespace ramjet::runtime

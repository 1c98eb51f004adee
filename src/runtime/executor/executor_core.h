// ExecutorCore: serves many requests at once over one Session, of whatever engine.
//
// Thread-safety: all methods may be called from any thread; not from a callback of its own may the
// destructor, generate(), logits() and drain(). Owns the session, the loop's thread and the
// publisher's. The loop sleeps when nothing can run. Every submitted request ends with exactly one
// output whose `last` is true. Semantics: include/ramjet/executor.h.
#pragma once

#include <ramjet/executor.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "runtime/executor/adapter_table.h"
#include "runtime/executor/publisher.h"
#include "runtime/executor/step_loop.h"
#include "runtime/executor/validate.h"

namespace ramjet::runtime {

class ExecutorCore {
 public:
  /// `pool` samples rows in parallel; it may be the session's own, and must outlive the executor,
  /// or be null. Errors: kInvalidArgument naming the field of `config`.
  static Result<std::unique_ptr<ExecutorCore>> create(std::unique_ptr<Session> session,
                                                      const ExecutorConfig& config,
                                                      ThreadPool* pool);
  /// Cancels what runs, delivers the last events, joins. Waits for a step in progress.
  ~ExecutorCore();

  Result<uint64_t> submit(Request request, OutputCallback callback);
  /// As submit(), but the request waits until release(); its mask is given there.
  Result<uint64_t> hold(Request request, OutputCallback callback);
  /// Lets a held request run under `mask`, or ends it with an error. One that has ended is ignored.
  void release(uint64_t request, Result<std::shared_ptr<const TokenMask>> mask);
  void cancel(uint64_t request);
  void cancel(uint64_t request, int index);
  Result<std::vector<RequestOutput>> generate(Request request, double timeout_s);
  Status logits(const LogitsRequest& request,
                const std::function<void(int, std::span<const float>)>& sink);
  /// `read` is asked for the weights once there is a slot for them.
  Status load_adapter(const AdapterInfo& info, const std::function<Result<LoraWeights>()>& read);
  Status unload_adapter(const std::string& name) { return adapters_.remove(name); }
  std::vector<AdapterInfo> adapters() const { return adapters_.list(); }
  ExecutorStats stats() const;
  Status health() const;
  /// Runs between two steps. kUnavailable if the loop does not come to it in time.
  Status check_integrity();
  Status reset_prefix_cache();
  /// kDeadlineExceeded with the number of requests that had to be cancelled.
  Status drain(double deadline_s);

  const SessionInfo& session_info() const { return info_; }
  const RequestLimits& limits() const { return limits_; }

 private:
  struct Command {
    enum class Kind : uint8_t { kAdd, kCancel, kCancelAll, kResume, kCall } kind = Kind::kAdd;
    uint64_t request = 0;
    std::unique_ptr<ActiveRequest> add;
    std::function<void(StepLoop&)> call;
    int index = -1;  // of kCancel; -1: all sequences
  };

  ExecutorCore(std::unique_ptr<Session> session, const ExecutorConfig& config,
               const SchedulerConfig& scheduler, ThreadPool* pool);
  Result<std::unique_ptr<ActiveRequest>> prepare(Request request, OutputCallback callback);
  Status make_states(ActiveRequest& request);
  Status check_blocks(const ActiveRequest& request);
  Status check_queue() const;
  Result<uint64_t> enqueue(std::unique_ptr<ActiveRequest> request);
  void end_held(uint64_t request);
  void command(Command command);
  void run_loop();
  bool take_commands(std::vector<Command>* commands, bool worked);
  void rest(std::unique_lock<std::mutex>& lock);
  void execute(Command& command);
  void report();
  void lose();
  uint64_t draw_seed();
  Status consume_feed(uint64_t id, LogitsFeed& feed, const LogitsRequest& request,
                      const std::function<void(int, std::span<const float>)>& sink);

  std::unique_ptr<Session> session_;
  SessionInfo info_;
  ExecutorConfig config_;
  SchedulerConfig scheduler_config_;
  RequestLimits limits_;
  AdapterTable adapters_;
  StepLoop loop_;           // of the loop's thread only
  bool told_lost_ = false;  // of the loop's thread
  bool unchecked_ = false;  // steps ran since the last check_integrity(); of the loop's thread

  mutable std::mutex mutex_;
  std::condition_variable wake_;   // the loop: commands, or stop
  std::condition_variable quiet_;  // drain: the number of requests fell
  std::vector<Command> inbox_;
  std::map<uint64_t, std::unique_ptr<ActiveRequest>> held_;  // until their masks are made
  int64_t requests_ = 0;                                     // held, queued or active
  int64_t inbox_sequences_ = 0;                              // of requests in the inbox
  bool draining_ = false;
  bool stopping_ = false;
  std::optional<Error> lost_;  // the device
  ExecutorStats stats_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<uint64_t> seed_counter_{0};
  std::atomic<int64_t> beat_ns_{0};  // the loop's last sign of life while it has work; 0: asleep
  Publisher publisher_;              // after all that its callbacks may touch
  std::thread thread_;
};

}  // namespace ramjet::runtime

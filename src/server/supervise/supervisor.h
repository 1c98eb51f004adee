// Supervisor: a backend whose executor runs in a process of its own, which is replaced when it is
// lost: when it ends, when its device fails, when it is silent, or when a step outlasts its limit.
//
// Requests that have begun end with an error then; those that have not wait here for the next
// process, in their order. After too many losses in a row of time it gives up: what waits ends with
// an error, health() fails and nothing is taken any more. No wait is without an end.
//
// Thread-safe, like any Backend. One thread does all reading, all callbacks and all starting; other
// threads only append to the socket. It owns the requests until their last output.
#pragma once

#include <ramjet/executor.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/backend.h"
#include "server/supervise/child_process.h"
#include "server/supervise/wire.h"

namespace ramjet::server {

struct SupervisorOptions {
  ExecutorLauncher launch;
  ExecutorConfig executor;
  int max_restarts = 5;  // within window_s; the next loss is the last
  double window_s = 300;
  double backoff_s = 0.1;  // before the first restart in the window; doubles
  double max_backoff_s = 10;
  double start_limit_s = 900;  // from the start of a process until it is ready
  double silence_limit_s = 10;
};

class Supervisor final : public Backend {
 public:
  /// Waits until the first process is ready. Errors: what its executor could not be made for.
  static Result<std::unique_ptr<Supervisor>> start(SupervisorOptions options);
  ~Supervisor() override;  // cancels what runs and ends the process

  Result<uint64_t> submit(Request request, OutputCallback callback) override;
  void cancel(uint64_t request) override;
  void cancel(uint64_t request, int index) override;
  ExecutorStats stats() const override;
  Status health() const override;
  Status drain(double deadline_s) override;
  Status reset_prefix_cache() override;

 private:
  enum class State : uint8_t {
    kStarting,  // a process loads
    kReady,
    kWaiting,  // for the next start
    kFailed,   // for good
  };
  struct Pending {
    uint64_t id = 0;
    Request request;  // emptied when it begins
    int n = 1;
    int64_t submit_ns = 0;
    int64_t deadline_ns = 0;  // 0: none
    bool sent = false;        // to the process there is
    bool begun = false;
    bool awaited = false;  // submit() waits for the verdict
    int losses = 0;        // processes that were lost while they held it
    std::optional<Error> refused;
    std::vector<int> unwanted;  // sequences cancelled before it was sent
    // Of the supervisor's thread alone.
    int64_t merge_at = -1;  // the gathered output that the next may be merged into
    OutputCallback callback;
    std::vector<bool> finished;
  };
  using PendingPtr = std::shared_ptr<Pending>;  // owners: the table and whoever delivers or waits
  struct Ending {
    PendingPtr request;
    FinishReason reason = FinishReason::kError;
    std::optional<Error> error;
  };

  struct Gathered {
    PendingPtr request;  // null: of no request that there is
    RequestOutput output;
  };

  explicit Supervisor(SupervisorOptions options);
  void wake() const;
  void run();
  void turn();
  void launch();
  Status read_socket();
  Status watch(double waited_s);
  void lose(const Error& cause);
  std::vector<Ending> drop_process(const Error& cause);
  void plan_restart(const Error& cause);
  void shut_down();

  Status handle(const Frame& frame);
  Status on_ready(const Frame& frame);
  Status on_status(const Frame& frame);
  Status on_verdict(const Frame& frame, bool accepted);
  Status on_started(const Frame& frame);
  Status on_outputs(const Frame& frame);
  void merge_gathered();
  void deliver_gathered();
  void deliver(Pending& request, RequestOutput&& output);
  void end_all(std::vector<Ending> endings);
  std::vector<Ending> take_endings(int64_t now_ns);
  void settle(size_t ended);

  // With mutex_ held.
  void post(std::string_view bytes);
  void push_backlog();
  void send_request(Pending& request);
  int64_t waiting_here() const;

  const SupervisorOptions options_;
  const int wake_fd_;

  mutable std::mutex mutex_;         // of all below, but for what is said of Pending
  std::condition_variable changed_;  // state, verdicts, the number of requests
  State state_ = State::kStarting;
  std::optional<Error> trouble_;  // why it is not ready, or what the process says of its health
  std::map<uint64_t, PendingPtr> requests_;
  int64_t open_ = 0;                 // submitted and not delivered to the end
  std::vector<uint64_t> cancelled_;  // while they wait here
  uint64_t next_id_ = 1;
  bool draining_ = false;
  bool stopping_ = false;
  ExecutorStats stats_;       // of this process
  ExecutorStats past_stats_;  // counters of those before
  int socket_ = -1;           // of the process there is
  std::string backlog_;       // what the socket did not take yet
  std::string message_;       // scratch

  // Of the supervisor's thread.
  std::unique_ptr<ExecutorProcess> process_;
  std::unique_ptr<FrameBuffer> input_;
  std::vector<Gathered> gathered_;
  uint32_t incarnation_ = 0;
  bool was_ready_ = false;
  bool hung_up_ = false;  // the process closed the socket
  double silent_s_ = 0;
  int64_t state_end_ns_ = 0;  // of starting: the limit; of waiting: the next start
  std::deque<int64_t> losses_ns_;
  std::thread thread_;
};

/// Adds the counters of `from`; leaves the gauges.
void add_counters(ExecutorStats& to, const ExecutorStats& from);

}  // namespace ramjet::server

// EncodeQueue: the backend of an encoder. Gathers the inputs of many requests into steps of the
// model, so that small requests share one and a large one delays nobody by more than a step.
//
// A step takes inputs of one kind from the waiting requests in turn, as many as the engine's limits
// let in; who was served goes to the end of the line. Thread-safe, as every Backend. One thread
// runs the model and sleeps when there is nothing to do. Every accepted job's `done` is called
// exactly once, whatever happens.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "server/backend.h"

namespace ramjet::server {

/// Runs one step; called from one thread.
using EncodeStep =
    std::function<Result<EncodeRows>(EncodeKind kind, std::span<const EncoderInput> inputs)>;

struct EncodeQueueOptions {
  int max_batch_size = 1;       // inputs of a step
  int max_num_tokens = 1;       // of a step
  int max_queue = 1024;         // requests that wait; above: kResourceExhausted
  double step_deadline_s = 60;  // a step that takes longer makes health() fail
  std::string device;
};

class EncodeQueue final : public Backend {
 public:
  EncodeQueue(EncodeStep step, EncodeQueueOptions options);
  /// Ends what waits with kCancelled; waits for a step in progress.
  ~EncodeQueue() override;

  Result<uint64_t> encode(EncodeJob job) override;
  /// kUnsupported: an encoder generates nothing.
  Result<uint64_t> submit(Request request, OutputCallback callback) override;
  void cancel(uint64_t request) override;
  void cancel(uint64_t request, int index) override;
  ExecutorStats stats() const override;
  Status health() const override;
  Status drain(double deadline_s) override;

 private:
  struct Entry {
    uint64_t id = 0;
    EncodeJob job;
    EncodeRows rows;
    size_t next = 0;  // first input that is in no step yet
    size_t made = 0;
  };
  using EntryPtr = std::shared_ptr<Entry>;  // with the step that holds inputs of it
  struct Step {
    EncodeKind kind = EncodeKind::kEmbed;
    std::vector<EncoderInput> inputs;
    std::vector<std::pair<EntryPtr, size_t>> from;  // whose, and which of its inputs
    int64_t tokens = 0;
  };

  void run();
  Step gather();
  bool add_next(Step& step, Entry& entry) const;
  void finish(const Step& step, Result<EncodeRows> rows);
  void count(const Step& step);
  EntryPtr take_out(uint64_t id);

  const EncodeStep model_;
  const EncodeQueueOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;   // the thread
  std::condition_variable quiet_;  // drain: an entry ended
  std::map<uint64_t, EntryPtr> open_;
  std::deque<EntryPtr> waiting_;  // those with inputs in no step
  uint64_t next_id_ = 1;
  int delivering_ = 0;  // calls of `done` in progress
  bool draining_ = false;
  bool stopping_ = false;
  int64_t step_begin_ns_ = 0;  // of the step in progress; 0: none
  ExecutorStats stats_;
  std::thread thread_;
};

}  // namespace ramjet::server

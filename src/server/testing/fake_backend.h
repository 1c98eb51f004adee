// FakeBackend: a scripted model for tests of the server. A thread makes "steps": in each, every
// running sequence gets its next token. Delays, failures and limits are set by the test.
//
// Thread-safe, like any Backend. Logprobs are made up by rule (see fake_logprobs).
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/backend.h"

namespace ramjet::server {

struct FakeBehavior {
  /// What sequence `index` of a request says; its end is the model's end of sequence.
  std::function<std::vector<int32_t>(const Request&, int index)> script;
  double step_s = 0;          // pause between steps
  int max_running = 1 << 20;  // requests submitted and not ended; above: kResourceExhausted
  int fail_after = -1;        // steps of a request until it ends with kError
  int max_seq_len = 4096;
  ExecutorHooks hooks;  // on_start and on_published are called, as an executor does
};

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(FakeBehavior behavior);
  ~FakeBackend() override;

  Result<uint64_t> submit(Request request, OutputCallback callback) override;
  void cancel(uint64_t request) override;
  void cancel(uint64_t request, int index) override;
  ExecutorStats stats() const override;
  Status health() const override;
  Status drain(double deadline_s) override;

  // For tests.
  int running() const;
  Request last_request() const;
  std::atomic<int> submitted{0};
  std::atomic<int> cancelled{0};            // requests that ended by cancel()
  std::atomic<int> cancelled_sequences{0};  // of requests that went on
  std::atomic<bool> paused{false};
  std::atomic<bool> healthy{true};
  std::atomic<bool> stuck{false};  // stats() does not return

 private:
  struct Active;
  void loop();
  bool step(Active& active);
  void emit(Active& active, int index, bool& all_done);
  void end_cancelled(Active& active);

  const FakeBehavior behavior_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::shared_ptr<Active>> active_;
  Request last_;
  uint64_t next_id_ = 1;
  uint64_t generated_ = 0;
  bool draining_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

/// For token `id`: itself at -0.25, then the next ids at -1, -2, ...
PositionLogprobs fake_logprobs(int32_t id, int top);

}  // namespace ramjet::server

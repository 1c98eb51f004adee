// SleepableBackend: a backend that can give back all that it holds (KV memory, weights, device, its
// process) and come again, with the same answers.
//
// Asleep it refuses requests with kUnavailable at once, and is healthy. Thread-safe, as every
// Backend. Owns the backend inside; ids tell its lives apart, so that a late cancel() hits nobody
// (RequestOutput::request is the inner id). Counters go on over its lives.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "server/backend.h"

namespace ramjet::server {

class SleepableBackend final : public Backend {
 public:
  /// Makes the backend anew, from the engine file.
  using Make = std::function<Result<std::unique_ptr<Backend>>()>;
  SleepableBackend(std::unique_ptr<Backend> awake, Make make);

  /// Refuses new requests, gives running ones `drain_s`, ends the rest with kCancelled and lets all
  /// go. Waits for a wake_up() in progress. Ok if asleep already.
  Status sleep(double drain_s) override;
  /// Ok if awake already. On an error it stays asleep.
  Status wake_up() override;
  bool sleeping() const override;

  Result<uint64_t> submit(Request request, OutputCallback callback) override;
  Result<uint64_t> encode(EncodeJob job) override;
  void cancel(uint64_t request) override;
  void cancel(uint64_t request, int index) override;
  ExecutorStats stats() const override;
  Status health() const override;
  Status drain(double deadline_s) override;
  Status reset_prefix_cache() override;

 private:
  using BackendPtr = std::shared_ptr<Backend>;  // with the calls in progress
  struct Life {
    BackendPtr backend;  // null: asleep
    uint64_t number = 0;
  };
  Life life() const;
  Result<Life> awake() const;
  BackendPtr of_request(uint64_t& request) const;

  const Make make_;
  std::mutex change_mutex_;  // one sleep() or wake_up() at a time
  mutable std::mutex mutex_;
  Life life_;
  ExecutorStats past_;  // counters of the lives before
  bool draining_ = false;
};

}  // namespace ramjet::server

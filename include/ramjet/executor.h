// Executor: runs an engine for many requests at once (in-flight batching over a paged KV cache).
//
// Thread-safety: all methods may be called from any thread. Ownership: it shares the engine.
// Every submitted request ends with exactly one output whose `last` is true, whatever happens.
#pragma once

#include <ramjet/engine.h>
#include <ramjet/request.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ramjet {

enum class CapacityPolicy : uint8_t {
  kMaxUtilization,     // admit what will fit by forecast; pause and recompute where that was wrong
  kOvercommit,         // admit while blocks last, whatever running requests will still want
  kGuaranteedNoEvict,  // admit only what is sure to finish
};
enum class BatchingMode : uint8_t { kInFlight, kStatic };

/// For who supervises an executor. Called on its threads: they must neither block nor throw.
struct ExecutorHooks {
  /// Just before the first step of the requests with these tags (Request::tag).
  std::function<void(std::span<const uint64_t> tags)> on_start;
  /// After each group of events went through the callbacks.
  std::function<void()> on_published;
  /// Once: the device is lost to this process. What ran has ended with an error and its events are
  /// delivered; what still waits ends with the same error when this returns.
  std::function<void(const Error& error)> on_lost;
};

struct ExecutorConfig {
  uint64_t kv_bytes = 0;   // hard cap of the KV cache; 0: kv_fraction of free memory
  double kv_fraction = 0;  // of the memory free after loading; 0: half on the CPU, 0.9 on a GPU
  int max_batch_size = 0;  // 0: the engine's
  int max_num_tokens = 0;  // token budget of a step (chunked prefill); 0: the engine's
  int max_queue = 1024;    // waiting requests; above: kResourceExhausted
  int num_threads = 0;     // CPU workers; 0: the cores this process may use
  CapacityPolicy capacity = CapacityPolicy::kMaxUtilization;
  BatchingMode batching = BatchingMode::kInFlight;
  bool prefix_caching = true;
  double step_deadline_s = 60;  // a step that takes longer makes health() fail
  ExecutorHooks hooks;
};

struct ExecutorStats {
  int requests_running = 0;
  int requests_waiting = 0;
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_active = 0;  // referenced by a running request
  int64_t kv_blocks_cached = 0;  // reusable prefixes
  int64_t block_tokens = 0;
  uint64_t kv_bytes = 0;
  uint64_t prompt_tokens = 0;  // counters since start
  uint64_t generation_tokens = 0;
  uint64_t prefix_queries = 0;  // tokens
  uint64_t prefix_hits = 0;     // tokens
  uint64_t preemptions = 0;
  uint64_t integrity_checks = 0;  // check_integrity() by the idle loop itself ...
  uint64_t integrity_errors = 0;  // ... and how many found something (the log says what)
  uint64_t restarts = 0;          // of a supervised executor's process
  uint64_t steps = 0;
  uint64_t slot_steps = 0;               // sum over steps of sequences that ran
  uint64_t batched_tokens = 0;           // sum over steps of tokens
  uint64_t kv_live_token_steps = 0;      // sum over steps of tokens in the caches of sequences
  uint64_t kv_reserved_token_steps = 0;  // sum over steps of tokens their blocks could hold
  // Steps by their tokens: [i] counts those of more than 2^(i-1) and at most 2^i; the last, the
  // rest.
  std::array<uint64_t, 16> steps_by_tokens{};
  double busy_s = 0;         // time spent inside steps
  double device_busy_s = 0;  // of a GPU, without the last few steps
  std::string device;        // the path that runs, e.g. "cpu-avx512 x2"
};

/// Logits of chosen positions of one prompt (no sampling): for `ramjet logits` and perplexity.
struct LogitsRequest {
  std::vector<int32_t> ids;
  int first_position = 0;  // logits of positions first_position .. ids.size() - 1
  std::string adapter;     // as in Request
};

/// A LoRA adapter that requests can name.
struct AdapterInfo {
  std::string name;
  std::string folder;
};

class Executor {
 public:
  static Result<std::unique_ptr<Executor>> create(std::shared_ptr<const Engine> engine,
                                                  const ExecutorConfig& config);
  ~Executor();  // cancels what runs

  /// Queues a request; events arrive through `callback`. Returns its id.
  /// Errors: kInvalidArgument (parameter, limit, both numbers), kResourceExhausted (queue full),
  /// kUnavailable (draining).
  Result<uint64_t> submit(Request request, OutputCallback callback);
  /// Ends a request; its blocks are free within one step. Unknown or ended ids are ignored.
  void cancel(uint64_t request);
  /// Ends one of a request's n sequences; the others go on. While their common prompt is still
  /// being computed it ends with its first token.
  void cancel(uint64_t request, int index);
  /// Submits and waits; ids of all n sequences in order of index. `timeout_s` must be positive.
  Result<std::vector<RequestOutput>> generate(Request request, double timeout_s);
  /// Calls `sink(position, logits)` in order, logits being f32[vocab].
  Status logits(const LogitsRequest& request,
                const std::function<void(int, std::span<const float>)>& sink);

  /// Loads a LoRA adapter, a folder as PEFT saves it, while requests run. Needs an engine that was
  /// built with max_loras. Errors: kInvalidArgument (a name that is taken, what the adapter asks
  /// for and the engine lacks: rank, modules, shapes), kCorrupt, kUnsupported (DoRA and the like,
  /// by name), kResourceExhausted (no free slot), kNotFound (files).
  Status load_adapter(const std::string& name, const std::string& folder);
  /// No request can name it from now on; its slot is free once those that do have ended.
  Status unload_adapter(const std::string& name);
  std::vector<AdapterInfo> adapters() const;  // by name

  ExecutorStats stats() const;
  /// Ok while the step loop makes progress (or idles); else why not. After a device fault it stays
  /// an error: only another process can use the device again.
  Status health() const;
  /// When idle: free + cached + active = total and every count matches its owners.
  Status check_integrity() const;
  /// Requests submitted after it find no cached prefix of those before; what runs goes on.
  Status reset_prefix_cache();
  /// Refuses new requests and waits for the running ones up to `deadline_s`, then cancels them.
  Status drain(double deadline_s);

  struct Impl;

 private:
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet

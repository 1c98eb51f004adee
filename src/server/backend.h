// Backend: what the server needs of an executor, all of it plain messages but for the callback: the
// executor may live in this process, or in one of its own (supervise/supervisor.h). Also the seam
// at which tests put a scripted model.
//
// Thread-safety: all methods may be called from any thread. The contract of each is that of the
// same method of ramjet::Executor.
#pragma once

#include <ramjet/executor.h>
#include <ramjet/request.h>

#include <cstdint>
#include <memory>

#include "server/encode/encoding.h"

namespace ramjet::server {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Result<uint64_t> submit(Request request, OutputCallback callback) = 0;
  virtual void cancel(uint64_t request) = 0;
  virtual void cancel(uint64_t request, int index) = 0;
  virtual ExecutorStats stats() const = 0;
  virtual Status health() const = 0;
  virtual Status drain(double deadline_s) = 0;
  /// Of an encoder, which takes this instead of submit(). cancel() takes the id. Errors:
  /// kUnsupported for a model that generates, else as submit().
  virtual Result<uint64_t> encode(EncodeJob job);
  /// Requests that come after it find no prefix of those before. Ok where there is no cache.
  virtual Status reset_prefix_cache();
  /// Gives back memory and comes again: see sleepable_backend.h. Errors: kUnsupported.
  virtual Status sleep(double drain_s);
  virtual Status wake_up();
  virtual bool sleeping() const { return false; }
};

/// The backend over an executor of this process.
std::unique_ptr<Backend> make_executor_backend(std::unique_ptr<Executor> executor);

struct EncoderBackend {
  std::unique_ptr<Backend> backend;
  EncoderFacts facts;
};
/// The backend over an encoder's engine. Of `config` it heeds max_batch_size, max_num_tokens,
/// max_queue, num_threads and step_deadline_s.
Result<EncoderBackend> make_encoder_backend(std::shared_ptr<const Engine> engine,
                                            const ExecutorConfig& config);

}  // namespace ramjet::server

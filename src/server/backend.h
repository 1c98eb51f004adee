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
};

/// The backend over an executor of this process.
std::unique_ptr<Backend> make_executor_backend(std::unique_ptr<Executor> executor);

}  // namespace ramjet::server

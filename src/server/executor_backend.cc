#include <utility>

#include "server/backend.h"

namespace ramjet::server {
namespace {

class ExecutorBackend final : public Backend {
 public:
  explicit ExecutorBackend(std::unique_ptr<Executor> executor) : executor_(std::move(executor)) {}

  Result<uint64_t> submit(Request request, OutputCallback callback) override {
    return executor_->submit(std::move(request), std::move(callback));
  }
  void cancel(uint64_t request) override { executor_->cancel(request); }
  ExecutorStats stats() const override { return executor_->stats(); }
  Status health() const override { return executor_->health(); }
  Status drain(double deadline_s) override { return executor_->drain(deadline_s); }

 private:
  std::unique_ptr<Executor> executor_;
};

}  // namespace

std::unique_ptr<Backend> make_executor_backend(std::unique_ptr<Executor> executor) {
  return std::make_unique<ExecutorBackend>(std::move(executor));
}

}  // namespace ramjet::server

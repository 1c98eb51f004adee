// What of the server needs the executor and the engine: in a file of its own, so that tests with
// a scripted backend link without them.
#include <utility>

#include "server/backend.h"
#include "server/model_host.h"

namespace ramjet::server {
namespace {

class ExecutorBackend final : public Backend {
 public:
  explicit ExecutorBackend(std::unique_ptr<Executor> executor) : executor_(std::move(executor)) {}

  Result<uint64_t> submit(Request request, OutputCallback callback) override {
    return executor_->submit(std::move(request), std::move(callback));
  }
  void cancel(uint64_t request) override { executor_->cancel(request); }
  void cancel(uint64_t request, int index) override { executor_->cancel(request, index); }
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

Result<ModelHost::Parts> ModelHost::parts_of(const Engine& engine) {
  Parts parts;
  parts.info = engine.model();
  parts.limits = engine.limits();
  parts.names = {engine.model().name};
  const std::string_view tokenizer = engine.asset("tokenizer");
  if (tokenizer.empty()) {
    return unsupported(
        "{}: the engine holds no tokenizer; rebuild it from a checkpoint that has "
        "one",
        engine.model().name);
  }
  ASSIGN_OR_RETURN(parts.tokenizer, text::Tokenizer::from_serialized(tokenizer));
  parts.chat_template = engine.asset("chat_template");
  parts.generation_config = engine.asset("generation_config");
  parts.special_tokens = engine.asset("special_tokens");
  return parts;
}

}  // namespace ramjet::server

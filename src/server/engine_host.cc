// What of the server needs the executor and the engine: in a file of its own, so that tests with
// a scripted backend link without them.
#include <algorithm>
#include <utility>

#include "server/backend.h"
#include "server/encode/encode_queue.h"
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
  Status reset_prefix_cache() override { return executor_->reset_prefix_cache(); }

 private:
  std::unique_ptr<Executor> executor_;
};

}  // namespace

std::unique_ptr<Backend> make_executor_backend(std::unique_ptr<Executor> executor) {
  return std::make_unique<ExecutorBackend>(std::move(executor));
}

Result<EncoderBackend> make_encoder_backend(std::shared_ptr<const Engine> engine,
                                            const ExecutorConfig& config) {
  ASSIGN_OR_RETURN(std::shared_ptr<Encoder> encoder, Encoder::create(engine, config.num_threads));
  const auto smaller = [](int mine, int theirs) {
    return mine > 0 ? std::min(mine, theirs) : theirs;
  };
  EncoderBackend made;
  made.facts = {.width = encoder->width(),
                .max_tokens = encoder->max_tokens(),
                .token_types = encoder->token_types(),
                .has_head = encoder->has_head(),
                .scores_tokens = encoder->scores_tokens(),
                .labels = encoder->labels()};
  EncodeQueueOptions options;
  options.max_batch_size = smaller(config.max_batch_size, engine->limits().max_batch_size);
  options.max_num_tokens = smaller(config.max_num_tokens, engine->limits().max_num_tokens);
  options.max_queue = config.max_queue;
  options.step_deadline_s = config.step_deadline_s;
  options.device = engine->target();
  // The queue shares the encoder with nobody else: std::function wants what can be copied.
  auto step = [encoder](EncodeKind kind, std::span<const EncoderInput> inputs) {
    return kind == EncodeKind::kEmbed ? encoder->embed(inputs, {}) : encoder->scores(inputs);
  };
  made.backend = std::make_unique<EncodeQueue>(std::move(step), std::move(options));
  return made;
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

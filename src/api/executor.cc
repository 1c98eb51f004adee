#include <ramjet/executor.h>

#include <exception>

#include "api/engine_impl.h"
#include "api/grammar_worker.h"
#include "api/lora.h"
#include "base/log.h"
#include "runtime/executor/executor_core.h"
#include "runtime/session/make_session.h"

namespace ramjet {

struct Executor::Impl {
  std::shared_ptr<const Engine> engine;  // shared with the caller: the mapping must outlive us
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<runtime::ExecutorCore> core;  // before the pool: it goes first
  std::unique_ptr<GrammarWorker> grammars;      // before the core
};

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::create(std::shared_ptr<const Engine> engine,
                                                   const ExecutorConfig& config) {
  if (engine->model().architecture == "network") {
    return invalid_argument("{}: a user's network; run it with a Context, not an Executor",
                            engine->path());
  }
  if (!engine->asset("encoder").empty()) {
    return unsupported("{}: {} is an encoder, which generates nothing; use Encoder (ramjet embed)",
                       engine->path(), engine->model().architecture);
  }
  try {
    auto impl = std::make_unique<Impl>();
    impl->engine = engine;
    impl->pool = std::make_unique<ThreadPool>(config.num_threads);
    ASSIGN_OR_RETURN(auto session,
                     runtime::make_session(engine->impl().file, config, impl->pool.get()));
    ASSIGN_OR_RETURN(impl->core,
                     runtime::ExecutorCore::create(std::move(session), config, impl->pool.get()));
    impl->grammars = std::make_unique<GrammarWorker>(engine);
    return std::unique_ptr<Executor>(new Executor(std::move(impl)));
  } catch (const std::exception& e) {  // memory or threads: the engine's limits may be absurd
    return make_error(ErrorCode::kResourceExhausted, "{}: no executor for {} sequences: {}",
                      engine->path(), engine->limits().max_batch_size, e.what());
  }
}

Result<uint64_t> Executor::submit(Request request, OutputCallback callback) {
  if (request.grammar.empty()) {
    return impl_->core->submit(std::move(request), std::move(callback));
  }
  if (request.sampling.controls.mask != nullptr) {
    return invalid_argument("a request has either a grammar or a mask, not both");
  }
  std::string spec = std::move(request.grammar);
  runtime::ExecutorCore* core = impl_->core.get();
  ASSIGN_OR_RETURN(const uint64_t id, core->hold(std::move(request), std::move(callback)));
  impl_->grammars->post(std::move(spec), [core, id](Result<GrammarWorker::Mask> mask) {
    core->release(id, std::move(mask));
  });
  return id;
}
void Executor::cancel(uint64_t request) { impl_->core->cancel(request); }
void Executor::cancel(uint64_t request, int index) { impl_->core->cancel(request, index); }
Result<std::vector<RequestOutput>> Executor::generate(Request request, double timeout_s) {
  if (!request.grammar.empty()) {
    ASSIGN_OR_RETURN(request.sampling.controls.mask, impl_->grammars->compile(request.grammar));
    request.grammar.clear();
  }
  return impl_->core->generate(std::move(request), timeout_s);
}
Status Executor::logits(const LogitsRequest& request,
                        const std::function<void(int, std::span<const float>)>& sink) {
  return impl_->core->logits(request, sink);
}
Status Executor::load_adapter(const std::string& name, const std::string& folder) {
  const Engine& engine = *impl_->engine;
  return impl_->core->load_adapter({name, folder},
                                   [&] { return api::read_adapter(engine, folder); });
}
Status Executor::unload_adapter(const std::string& name) {
  return impl_->core->unload_adapter(name);
}
std::vector<AdapterInfo> Executor::adapters() const { return impl_->core->adapters(); }
ExecutorStats Executor::stats() const { return impl_->core->stats(); }
Status Executor::health() const { return impl_->core->health(); }
Status Executor::check_integrity() const { return impl_->core->check_integrity(); }
Status Executor::reset_prefix_cache() { return impl_->core->reset_prefix_cache(); }
Status Executor::drain(double deadline_s) { return impl_->core->drain(deadline_s); }

}  // namespace ramjet

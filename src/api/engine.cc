#include <ramjet/engine.h>

#include "api/engine_impl.h"
#include "base/result.h"
#include "compiler/check_programs.h"
#include "kernels/registry.h"

namespace ramjet {
namespace {

/// The engine's target must be one this machine can run.
Status check_target(const engine::EngineFile& file) {
  const std::string& name = file.manifest().provenance.target;
  ASSIGN_OR_RETURN(kernels::Target target, kernels::Target::parse(name));
  if (target.runs_here()) return ok_status();
  const std::string best = kernels::Target::best().name();
  return unsupported(
      "{}: built for {}, this machine runs at most {} — rebuild it here with: ramjet build MODEL "
      "-o {} --target {}",
      file.path(), name, best, file.path(), best);
}

}  // namespace

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::shared_ptr<const Engine>> Engine::load(const std::string& path) {
  ASSIGN_OR_RETURN(engine::EngineFile file, engine::EngineFile::open(path));
  RETURN_IF_ERROR(check_target(file));
  if (Status rules = compiler::check_programs(file.manifest()); !rules.ok()) {
    return rules.error().with_context(path);
  }
  auto impl = std::make_unique<Impl>();
  impl->file = std::make_shared<const engine::EngineFile>(std::move(file));
  return std::shared_ptr<const Engine>(new Engine(std::move(impl)));
}

const ModelInfo& Engine::model() const { return impl_->file->manifest().model; }
const EngineLimits& Engine::limits() const { return impl_->file->manifest().limits; }
const std::string& Engine::path() const { return impl_->file->path(); }
const std::string& Engine::target() const { return impl_->file->manifest().provenance.target; }

Result<const text::Tokenizer*> Engine::Impl::get_tokenizer() const {
  std::call_once(tokenizer_once, [this] {
    auto made = text::Tokenizer::from_serialized(file->asset("tokenizer"));
    if (made.ok()) tokenizer = std::move(*made);
  });
  if (tokenizer == nullptr) {
    return unsupported("{}: the engine has no tokenizer; use token ids", file->path());
  }
  return tokenizer.get();
}

Result<std::vector<int32_t>> Engine::encode(std::string_view text) const {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, impl_->get_tokenizer());
  return tokenizer->encode(text);
}
Result<std::string> Engine::decode(std::span<const int32_t> ids) const {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, impl_->get_tokenizer());
  return tokenizer->decode(ids);
}

std::string_view Engine::asset(std::string_view name) const { return impl_->file->asset(name); }

}  // namespace ramjet

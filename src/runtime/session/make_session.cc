#include "runtime/session/make_session.h"

#include "base/env.h"
#include "base/log.h"
#include "device/cuda/planted_fault.h"
#include "kernels/registry.h"
#include "runtime/session/cuda_session.h"
#include "runtime/session/engine_session.h"
#include "runtime/session/planted_session.h"

namespace ramjet::runtime {
namespace {

Result<std::unique_ptr<Session>> make_plain(std::shared_ptr<const engine::EngineFile> file,
                                            const ExecutorConfig& config, ThreadPool* pool,
                                            bool gpu) {
  if (gpu) {
    ASSIGN_OR_RETURN(auto session, CudaSession::create(std::move(file), config));
    return std::unique_ptr<Session>(std::move(session));
  }
  ASSIGN_OR_RETURN(auto session, EngineSession::create(std::move(file), config, pool));
  return std::unique_ptr<Session>(std::move(session));
}

}  // namespace

Result<std::unique_ptr<Session>> make_session(std::shared_ptr<const engine::EngineFile> file,
                                              const ExecutorConfig& config, ThreadPool* pool) {
  ASSIGN_OR_RETURN(const kernels::Target target,
                   kernels::Target::parse(file->manifest().provenance.target));
  const std::optional<std::string> planted = env("RAMJET_PLANT");
  if (!planted) return make_plain(std::move(file), config, pool, target.is_gpu());
  ASSIGN_OR_RETURN(const Plant what, Plant::parse(*planted));
  log_warn("RAMJET_PLANT={}: this executor will fail on purpose", *planted);
  ASSIGN_OR_RETURN(auto session, make_plain(std::move(file), config, pool, target.is_gpu()));
  return plant(std::move(session), what,
               target.is_gpu() ? device::cuda::plant_illegal_address : std::function<Status()>());
}

}  // namespace ramjet::runtime

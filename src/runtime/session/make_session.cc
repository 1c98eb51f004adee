#include "runtime/session/make_session.h"

#include "kernels/registry.h"
#include "runtime/session/cuda_session.h"
#include "runtime/session/engine_session.h"

namespace ramjet::runtime {

Result<std::unique_ptr<Session>> make_session(std::shared_ptr<const engine::EngineFile> file,
                                              const ExecutorConfig& config, ThreadPool* pool) {
  ASSIGN_OR_RETURN(const kernels::Target target,
                   kernels::Target::parse(file->manifest().provenance.target));
  if (target.is_gpu()) {
    ASSIGN_OR_RETURN(auto session, CudaSession::create(std::move(file), config));
    return std::unique_ptr<Session>(std::move(session));
  }
  ASSIGN_OR_RETURN(auto session, EngineSession::create(std::move(file), config, pool));
  return std::unique_ptr<Session>(std::move(session));
}

}  // namespace ramjet::runtime

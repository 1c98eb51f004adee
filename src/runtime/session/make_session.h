// The session that an engine wants: on the GPU it was compiled for, or on the CPU.
#pragma once

#include <ramjet/executor.h>

#include <memory>

#include "base/thread_pool.h"
#include "engine/engine_file.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

/// `pool` runs CPU engines; it must outlive the session. There is no fallback from one device to
/// the other.
Result<std::unique_ptr<Session>> make_session(std::shared_ptr<const engine::EngineFile> file,
                                              const ExecutorConfig& config, ThreadPool* pool);

}  // namespace ramjet::runtime

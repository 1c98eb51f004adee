// What stands behind the public Engine: the mapped file. For src/api alone.
#pragma once

#include <ramjet/engine.h>

#include <memory>

#include "engine/engine_file.h"

namespace ramjet {

struct Engine::Impl {
  std::shared_ptr<const engine::EngineFile> file;  // shared with sessions and contexts
};

}  // namespace ramjet

// What stands behind the public Engine: the mapped file. For src/api alone.
#pragma once

#include <ramjet/engine.h>

#include <memory>
#include <mutex>

#include "engine/engine_file.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet {

struct Engine::Impl {
  std::shared_ptr<const engine::EngineFile> file;  // shared with sessions and contexts
  // Made on first use: servers have tokenizers of their own.
  mutable std::once_flag tokenizer_once;
  mutable std::unique_ptr<text::Tokenizer> tokenizer;

  Result<const text::Tokenizer*> get_tokenizer() const;
};

}  // namespace ramjet

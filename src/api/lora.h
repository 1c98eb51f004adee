// LoRA adapters between a PEFT folder, the engine's facts and the runtime. For src/api alone.
#pragma once

#include <ramjet/engine.h>

#include <string>

#include "base/result.h"
#include "runtime/session/session.h"

namespace ramjet::api {

/// The folder's matrices by the engine's modules. Errors name the file, the module, the limit and
/// what to do: kInvalidArgument for a rank, a shape or a module that the engine has no room for,
/// else as checkpoint::LoraFolder.
Result<runtime::LoraWeights> read_adapter(const Engine& engine, const std::string& folder);

}  // namespace ramjet::api

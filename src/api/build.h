// Shared steps of building: options to compiler options, checkpoint to manifest. For src/api alone.
#pragma once

#include <ramjet/engine.h>

#include <string>

#include "base/result.h"
#include "compiler/compiler.h"
#include "models/model.h"

namespace ramjet::api {

/// Validates target, quantization and parallelism. Errors name the option, its value and the
/// values it may take.
Result<compiler::CompileOptions> compile_options(const BuildOptions& options);

/// What the engine says of its adapters, as an asset; empty: it takes none.
std::string lora_asset(const models::Model& model, const models::ModelOptions& options);

/// One line that tells two builds apart: every option that changes the engine.
std::string options_text(const BuildOptions& options);

/// "auto" becomes the checkpoint's dtype; f16 checkpoints run as bf16.
Result<DType> activation_dtype(const BuildOptions& options, std::string_view checkpoint_dtype);

}  // namespace ramjet::api

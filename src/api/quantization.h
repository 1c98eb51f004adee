// What --quantize comes to for a checkpoint: its own eight-bit weights, or ours. For src/api alone.
#pragma once

#include <ramjet/engine.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "compiler/compiler.h"

namespace ramjet::api {

/// none, int8, fp8; nullopt for auto. Errors: kInvalidArgument listing these.
Result<std::optional<WeightQuant>> parse_quantize(const std::string& name);

/// "none", "int8", "fp8".
std::string quantize_name(WeightQuant quant);

/// Sets quant. auto follows the checkpoint: fp8 if its weights are. Adds to `unquantized`, which
/// holds head and embedding, what a checkpoint of fp8 weights has left in floats. Says in the log
/// what becomes of the checkpoint's own scales.
Status plan_quantization(const BuildOptions& options, const checkpoint::Checkpoint& checkpoint,
                         compiler::CompileOptions& compile);

/// The checkpoint's calibrated scale of the keys ("k") or values ("v") of an attention layer, by
/// the layer's name; 1 where it has none.
double cache_scale(const checkpoint::Checkpoint& checkpoint, const std::string& attention,
                   char which);

}  // namespace ramjet::api

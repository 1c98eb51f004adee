// Streams weights into an engine file: materialised by a few threads ahead of the writer, in
// order, with a bound on the bytes that wait.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "compiler/compiler.h"
#include "engine/engine_file.h"

namespace ramjet::compiler {

struct WeightJob {
  const ir::Value* weight = nullptr;
  engine::WeightEntry* entry = nullptr;  // its offset is filled in
};

/// `source` null: dummy values. `progress` is called from this thread with the share of bytes.
Status write_weights(std::span<const WeightJob> jobs, const WeightSource* source, int num_threads,
                     engine::EngineWriter& writer, const std::function<void(double)>& progress);

}  // namespace ramjet::compiler

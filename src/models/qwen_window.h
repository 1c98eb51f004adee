// Which layers of Qwen2 and Qwen3 see a window only. Stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "models/config_reader.h"

namespace ramjet::models {

/// Windows of each layer by use_sliding_window, sliding_window, max_window_layers (or layer_types).
Result<std::vector<int64_t>> qwen_windows(const ConfigReader& config, int64_t num_layers);

}  // namespace ramjet::models

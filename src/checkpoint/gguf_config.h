// The config.json and the other text assets that a GGUF's metadata amount to. Pure functions.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/gguf/gguf.h"
#include "base/result.h"
#include "checkpoint/gguf_names.h"

namespace ramjet::checkpoint {

/// What a configuration needs of the tensors.
struct GgufTensors {
  std::function<const gguf::TensorInfo*(std::string_view name)> find;  // null: no such tensor
  /// The numbers of a small f32 tensor; nothing for one that is absent.
  std::function<Result<std::optional<std::vector<double>>>(std::string_view name)> numbers;
};

/// A Hugging Face config.json. Errors: kUnsupported for an architecture that has no mapping or a
/// feature that the Hugging Face form cannot say; kInvalidArgument naming a key.
Result<nlohmann::json> hf_config(const gguf::Header& header, const GgufArchitecture& architecture,
                                 const GgufTensors& tensors);

/// "chat_template" and further named ones, "special_tokens" and "generation_config", as
/// Checkpoint::assets() has them. Errors: kInvalidArgument naming a key.
Result<std::map<std::string, std::string>> gguf_assets(const gguf::Header& header);

}  // namespace ramjet::checkpoint

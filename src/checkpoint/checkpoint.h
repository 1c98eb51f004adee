// A checkpoint: a model's configuration, its named tensors and its text assets, whatever the
// container (Hugging Face folder now, GGUF later).
//
// Tensors are mapped; views live as long as the checkpoint. Immutable, thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "tensor/tensor_view.h"

namespace ramjet::checkpoint {

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const std::string& path() const = 0;
  /// config.json, whole.
  virtual const nlohmann::json& config() const = 0;
  /// Errors: kNotFound when absent, listing near names; kUnsupported for a dtype we do not read.
  virtual Result<TensorView> tensor(std::string_view name) const = 0;
  virtual bool has_tensor(std::string_view name) const = 0;
  virtual std::vector<std::string> tensor_names() const = 0;
  /// "tokenizer", "chat_template", "generation_config", "special_tokens"; absent ones missing.
  /// Further named templates are "chat_template.NAME" ("chat_template.tool_use").
  virtual const std::map<std::string, std::string>& assets() const = 0;
  /// Of names, sizes, times of change and headers: changes when the content does, cheap to take.
  virtual Hash128 fingerprint() const = 0;
};

/// Opens a folder with config.json and (unless `weights` is false) safetensors, single or sharded.
/// Without weights, `path` may also be a config.json itself.
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path, bool weights = true);

}  // namespace ramjet::checkpoint

// A checkpoint: a model's configuration, its named tensors and its text assets, whatever the
// container: a Hugging Face folder, or a GGUF file under Hugging Face names.
//
// Tensors are mapped, or converted when they are first asked for; views live as long as the
// checkpoint. Immutable to its users, thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "tensor/held_tensor.h"

namespace ramjet::checkpoint {

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const std::string& path() const = 0;
  /// config.json, whole.
  virtual const nlohmann::json& config() const = 0;
  /// Errors: kNotFound when absent, listing near names; kUnsupported for a dtype we do not read.
  virtual Result<TensorView> tensor(std::string_view name) const = 0;
  /// As tensor(), but for its dtype and shape alone: `data` may be null, nothing is converted.
  virtual Result<TensorView> described(std::string_view name) const { return tensor(name); }
  /// As tensor(), but where tensors are converted the memory is given back with the holder.
  virtual Result<HeldTensor> hold(std::string_view name) const {
    ASSIGN_OR_RETURN(const TensorView view, tensor(name));
    return HeldTensor{view, nullptr};
  }
  virtual bool has_tensor(std::string_view name) const = 0;
  virtual std::vector<std::string> tensor_names() const = 0;
  /// "tokenizer", "chat_template", "generation_config", "special_tokens"; absent ones missing. (A
  /// GGUF's tokenizer is none of them: text::Tokenizer::load() reads it from the same path.)
  /// Further named templates are "chat_template.NAME" ("chat_template.tool_use").
  virtual const std::map<std::string, std::string>& assets() const = 0;
  /// Of names, sizes, times of change and headers: changes when the content does, cheap to take.
  virtual Hash128 fingerprint() const = 0;
};

/// Opens a folder with config.json and (unless `weights` is false) safetensors, single or sharded,
/// or a GGUF (any part of a split one). Without weights, `path` may also be a config.json itself.
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path, bool weights = true);

/// The GGUF alone; open_checkpoint() calls it. Floats and Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K
/// and Q6_K are read, the quantized ones as f32. Errors: kUnsupported naming an architecture or a
/// tensor's type that is not read; kCorrupt as gguf::parse().
Result<std::unique_ptr<Checkpoint>> open_gguf(const std::string& path);

}  // namespace ramjet::checkpoint

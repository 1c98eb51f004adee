// A LoRA adapter as PEFT saves it: a folder with adapter_config.json and adapter_model.safetensors.
//
// Tensors are mapped; views live as long as the folder. Immutable. Both files are foreign: sizes
// are checked, values are not. What changes a model in other ways than W + scale * B A is refused
// by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "checkpoint/safetensors.h"
#include "tensor/tensor_view.h"

namespace ramjet::checkpoint {

struct LoraMatrices {
  int64_t rank = 0;
  TensorView a;  // [rank, in]
  TensorView b;  // [out, rank]
};

class LoraFolder {
 public:
  /// Errors: kNotFound, kCorrupt naming the file and tensor; kUnsupported naming what the adapter
  /// has beside its matrices (DoRA, biases, modules_to_save, ..); kInvalidArgument for bad fields.
  static Result<LoraFolder> open(const std::string& folder);

  const std::string& path() const { return path_; }
  double scale() const { return scale_; }  // lora_alpha / r, or / sqrt(r)
  /// By the module's name in the model: "model.layers.0.self_attn.q_proj".
  const std::map<std::string, LoraMatrices>& modules() const { return modules_; }

 private:
  explicit LoraFolder(Safetensors file) : file_(std::move(file)) {}
  Status pair_up();

  std::string path_;
  double scale_ = 1;
  Safetensors file_;
  std::map<std::string, LoraMatrices> modules_;
};

}  // namespace ramjet::checkpoint

// Model families: a function from a checkpoint's configuration to a network and facts.
//
// One file a family; a family names its weights as the checkpoint does, so that no map is needed
// for Hugging Face folders. No kernels here.
#pragma once

#include <ramjet/engine.h>
#include <ramjet/functional.h>

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::models {

struct ModelOptions {
  DType dtype = DType::kBf16;  // of activations and unquantized weights
  int64_t max_batch_size = 256;
  int64_t max_num_tokens = 2048;
  int64_t max_seq_len = 0;  // 0: the configuration's
  int64_t block_tokens = 16;
  DType kv_dtype = DType::kBf16;
  int64_t max_loras = 0;  // adapters held at once; 0: the graph knows none
  int64_t max_lora_rank = 16;
  /// Scale of an fp8 cache's keys ('k') or values ('v') by the attention layer's name; empty: 1.
  std::function<double(const std::string& attention, char which)> cache_scale;
};

/// Cache geometry that the graph's attention ops assume; becomes engine::KvGroup.
struct KvGroupSpec {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  int64_t window = 0;
};

/// A projection that adapters may be added to: inputs "lora_a." and "lora_b." + `name` of the
/// graph. Its rows are all, or some, of those of the checkpoint's module `stored`.
struct LoraModule {
  std::string name, stored;
  int64_t first = 0, count = 0, run = 0, stride = 0;  // as ir::RowSelection
};

struct Model {
  std::unique_ptr<Network> network;  // output "logits" f32[logit_rows, vocab]
  ModelInfo info;
  std::vector<KvGroupSpec> kv_groups;
  /// Embedding and head: what fp8 leaves in floats.
  std::vector<std::string> float_tensors = {"lm_head.weight", "model.embed_tokens.weight"};
  std::vector<LoraModule> lora_modules;
  std::string encoder;  // facts of an encoder (bert.cc), which has no logits; empty for others
};

/// Builds the network of `config` (config.json). `has_tensor` says what the checkpoint holds
/// (untied heads, biases); for dummy weights it may always answer no.
/// Errors: kUnsupported naming the architecture and the known ones; kInvalidArgument naming the
/// field and its value.
Result<Model> build_model(const nlohmann::json& config, const ModelOptions& options,
                          const std::function<bool(std::string_view)>& has_tensor);

/// Token ids of generation_config.json, if it has them, take the place of config.json's: that is
/// what ends a generation. Errors: kInvalidArgument.
Status apply_generation_config(std::string_view generation_config, ModelInfo& info);

/// Names of the architectures this build knows.
std::vector<std::string_view> known_architectures();

}  // namespace ramjet::models

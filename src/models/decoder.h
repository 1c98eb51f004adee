// The skeleton that the Llama-like families share: pre-norm blocks of grouped-query attention with
// rotary embedding and of a gated MLP. A family reads its configuration into a DecoderConfig; what
// it does not set is absent from the graph.
//
// Plain values and free functions; weights are named as in Hugging Face checkpoints.
#pragma once

#include <string>
#include <vector>

#include "models/config_reader.h"
#include "models/model.h"
#include "op/descriptors.h"

namespace ramjet::models {

enum class Activation : uint8_t { kSilu, kGelu, kGeluTanh, kRelu };

struct AttentionConfig {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  bool qkv_bias = false;
  bool o_bias = false;
  bool qk_norm = false;          // RMS norm of each head of q and k before rotation
  std::vector<int64_t> windows;  // of each layer; 0: all keys
};

struct MlpConfig {
  int64_t intermediate_size = 0;
  Activation activation = Activation::kSilu;
  bool bias = false;
};

struct DecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t max_positions = 0;  // max_position_embeddings under the rope's scaling
  double norm_eps = 1e-6;
  bool tied_embeddings = false;
  AttentionConfig attention;
  MlpConfig mlp;
  RopeSpec rope;
};

/// What build_model was given, for a family.
struct FamilyInput {
  ConfigReader config;
  const ModelOptions& options;
  const std::function<bool(std::string_view)>& has_tensor;
};

/// What transformers assumes where a configuration is silent.
struct FamilyDefaults {
  int64_t max_position_embeddings = 2048;
  int64_t num_kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;      // 0: hidden_size / num_attention_heads
};

/// The fields that all families share. Errors name the field and its value.
Result<DecoderConfig> read_decoder_config(const FamilyInput& input, const FamilyDefaults& defaults);

/// Windows of `num_layers` layers: `layer_types` if given, else `window` from layer `first` on.
Result<std::vector<int64_t>> layer_windows(const ConfigReader& config, int64_t num_layers,
                                           int64_t window, int64_t first);

Result<Model> build_decoder(const DecoderConfig& config, const FamilyInput& input);

}  // namespace ramjet::models

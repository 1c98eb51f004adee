// The skeleton that decoders share: blocks of grouped-query attention and of an MLP around a
// residual stream. A family reads its configuration into a DecoderConfig; the defaults are Llama's,
// and what a family does not set is absent from the graph.
//
// Plain values and free functions; weights are named as in Hugging Face checkpoints.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/config_reader.h"
#include "models/model.h"
#include "models/rope_config.h"
#include "op/descriptors.h"

namespace ramjet::models {

enum class Activation : uint8_t { kSilu, kGelu, kGeluTanh, kRelu };

/// Where the norms of a layer stand; empty: none there.
struct BlockNorms {
  std::string before_attention = "input_layernorm";
  std::string after_attention;
  std::string before_mlp = "post_attention_layernorm";
  std::string after_mlp;
};

struct NormConfig {
  NormKind kind = NormKind::kRms;
  double eps = 1e-6;
  double weight_offset = 0;  // 1: a stored weight of 0 leaves a value as it is
  bool bias = false;         // of layer norms
  BlockNorms names;
};

/// A tensor `name` may hold q, k and v, as all of q, then k, then v (kStacked), or as the query
/// heads, key and value of one KV head after another (kGrouped).
enum class QkvForm : uint8_t { kSeparate, kStacked, kGrouped };
enum class QkNorm : uint8_t { kNone, kHead, kWidth };  // over each head, or all heads together

struct AttentionNames {
  std::string scope = "self_attn";
  std::string q = "q_proj", k = "k_proj", v = "v_proj";
  std::string qkv = "qkv_proj";  // of a QkvForm other than kSeparate
  std::string o = "o_proj";
};

struct AttentionConfig {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  double scale = 0;  // of q.k; 0: 1 / sqrt(head_dim)
  double softcap = 0;
  bool qkv_bias = false;
  bool o_bias = false;
  bool sinks = false;              // a logit for each head that takes weight and gives no value
  QkNorm qk_norm = QkNorm::kNone;  // RMS norm of q and k before rotation
  std::vector<int64_t> windows;    // of each layer; 0: all keys
  std::vector<int> ropes;          // of each layer: index into DecoderConfig::ropes; -1: none
  QkvForm form = QkvForm::kSeparate;
  AttentionNames names;
};

struct MlpConfig {
  int64_t intermediate_size = 0;
  Activation activation = Activation::kSilu;
  bool gated = true;  // down(act(gate(x)) * up(x)), else down(act(up(x)))
  bool bias = false;
  std::string scope = "mlp";
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
  std::string gate_up;  // the tensor that holds gate above up, if one does
};

struct DecoderNames {
  std::string embedding = "model.embed_tokens";
  std::string positions;  // a learned embedding of positions, if there is one
  std::string layers = "model.layers";
  std::string final_norm = "model.norm";
  std::string head = "lm_head";
  bool head_bias = false;
  bool transposed = false;  // the layers' matrices lie as [in, out]
};

struct DecoderScales {
  double embedding = 1;
  double residual = 1;  // of what a branch adds
  double logits = 1;
  double logit_softcap = 0;  // 0: none
};

/// What build_model was given, for a family.
struct FamilyInput {
  ConfigReader config;
  const ModelOptions& options;
  const std::function<bool(std::string_view)>& has_tensor;
};

/// Where a family's own MLP goes, and what it may use.
struct MlpSite {
  Network& network;
  const FamilyInput& input;
  Tensor x;           // normed, [tokens, width]
  int64_t width = 0;  // hidden_size
  std::string layer;  // "model.layers.0"
  int64_t index = 0;
  /// The dense MLP with weights under a name; of the configuration's width if 0.
  std::function<Tensor(const std::string& name, int64_t intermediate_size)> dense;
};

struct DecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t max_positions = 0;  // max_position_embeddings under the rope's scaling
  bool tied_embeddings = false;
  bool parallel = false;  // attention and MLP read the same residual; without before_mlp one norm
  DecoderNames names;
  DecoderScales scales;
  NormConfig norm;
  AttentionConfig attention;
  MlpConfig mlp;
  std::function<Tensor(const MlpSite&)> mlp_hook;  // in place of the MLP of all layers
  std::vector<RopeSpec> ropes;
};

/// What transformers assumes where a configuration is silent. 0 heads, vocabulary or intermediate
/// size: the field must be there.
struct FamilyDefaults {
  int64_t max_position_embeddings = 2048;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;      // 0: hidden_size / num_attention_heads
  int64_t vocab_size = 0;
  int64_t intermediate_size = 0;
  bool tied = false;
  const char* eps_field = "rms_norm_eps";
  double eps = 1e-6;
  const char* activation_field = "hidden_act";
  const char* activation = "silu";
  RopeDefaults rope;
};

/// The fields that most families share. Errors name the field and its value.
Result<DecoderConfig> read_decoder_config(const FamilyInput& input, const FamilyDefaults& defaults);
Result<Activation> read_activation(const ConfigReader& config, const char* field,
                                   const char* fallback);

/// Which of `num_layers` layers see a window: `layer_types` if given, else what `otherwise` says.
Result<std::vector<bool>> sliding_layers(const ConfigReader& config, int64_t num_layers,
                                         const std::function<bool(int64_t)>& otherwise);
std::vector<int64_t> windows_of(const std::vector<bool>& sliding, int64_t window);

Status check_options(const ModelOptions& options);
/// Elements of all weights.
int64_t count_parameters(const Network& network);

/// The graph alone, and what adapters may be added to; `max_blocks`: of a sequence's cache. Misuse
/// is in the network's status.
std::unique_ptr<Network> decoder_graph(const DecoderConfig& config, const FamilyInput& input,
                                       int64_t max_blocks, std::vector<LoraModule>* lora_modules);
Result<Model> build_decoder(const DecoderConfig& config, const FamilyInput& input);

}  // namespace ramjet::models

#include <algorithm>

#include "base/json.h"
#include "models/decoder.h"
#include "models/rope_config.h"

namespace ramjet::models {
namespace {

std::optional<int64_t> given(int64_t value) {
  return value > 0 ? std::optional<int64_t>(value) : std::nullopt;
}

Result<AttentionConfig> read_attention(const FamilyInput& input, int64_t hidden_size,
                                       const FamilyDefaults& defaults) {
  const ConfigReader& config = input.config;
  AttentionConfig attention;
  ASSIGN_OR_RETURN(attention.num_heads,
                   config.integer("num_attention_heads", {1, 4096}, given(defaults.num_heads)));
  const int64_t kv_heads = defaults.num_kv_heads > 0 ? defaults.num_kv_heads : attention.num_heads;
  ASSIGN_OR_RETURN(attention.num_kv_heads,
                   config.integer("num_key_value_heads", {1, 4096}, kv_heads));
  if (attention.num_heads % attention.num_kv_heads != 0) {
    return invalid_argument(
        "config: num_attention_heads {} is no multiple of num_key_value_heads {}",
        attention.num_heads, attention.num_kv_heads);
  }
  int64_t head_dim = defaults.head_dim;
  if (head_dim == 0) {
    head_dim = hidden_size / attention.num_heads;
    if (!config.has("head_dim") && hidden_size % attention.num_heads != 0) {
      return invalid_argument("config: hidden_size {} is no multiple of num_attention_heads {}",
                              hidden_size, attention.num_heads);
    }
  }
  ASSIGN_OR_RETURN(attention.head_dim, config.integer("head_dim", {2, 1024}, head_dim));
  if (attention.head_dim % 2 != 0 || attention.head_dim > 1024 || attention.head_dim < 2) {
    return invalid_argument("config: head_dim is {}, it must be even and 2 to 1024",
                            attention.head_dim);
  }
  return attention;
}

}  // namespace

Result<Activation> read_activation(const ConfigReader& config, const char* field,
                                   const char* fallback) {
  ASSIGN_OR_RETURN(const std::string name, config.text(field, fallback));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  return unsupported("config: {} '{}': known are silu, gelu, gelu_new, gelu_pytorch_tanh and relu",
                     field, name.substr(0, 64));
}

Result<DecoderConfig> read_decoder_config(const FamilyInput& input,
                                          const FamilyDefaults& defaults) {
  const ConfigReader& config = input.config;
  DecoderConfig out;
  ASSIGN_OR_RETURN(out.vocab_size,
                   config.integer("vocab_size", {1, 1 << 22}, given(defaults.vocab_size)));
  ASSIGN_OR_RETURN(out.hidden_size, config.integer("hidden_size", {2, 1 << 17}));
  ASSIGN_OR_RETURN(out.num_layers, config.integer("num_hidden_layers", {1, 1024}));
  ASSIGN_OR_RETURN(out.norm.eps, config.number(defaults.eps_field, 0, 1, defaults.eps));
  ASSIGN_OR_RETURN(out.mlp.intermediate_size, config.integer("intermediate_size", {1, 1 << 20},
                                                             given(defaults.intermediate_size)));
  ASSIGN_OR_RETURN(out.mlp.activation,
                   read_activation(config, defaults.activation_field, defaults.activation));
  ASSIGN_OR_RETURN(out.attention, read_attention(input, out.hidden_size, defaults));
  out.attention.windows.assign(static_cast<size_t>(out.num_layers), 0);
  out.attention.ropes.assign(static_cast<size_t>(out.num_layers), 0);
  ASSIGN_OR_RETURN(out.tied_embeddings, config.flag("tie_word_embeddings", defaults.tied));
  ASSIGN_OR_RETURN(const int64_t positions, config.integer("max_position_embeddings", {1, 1 << 26},
                                                           defaults.max_position_embeddings));
  ASSIGN_OR_RETURN(RopeConfig rope,
                   read_rope(config, out.attention.head_dim, positions, defaults.rope));
  out.ropes = {std::move(rope.spec)};
  out.max_positions = std::min<int64_t>(rope.max_positions, 1 << 26);
  return out;
}

Result<std::vector<bool>> sliding_layers(const ConfigReader& config, int64_t num_layers,
                                         const std::function<bool(int64_t)>& otherwise) {
  std::vector<bool> sliding(static_cast<size_t>(num_layers), false);
  if (!config.has("layer_types")) {
    for (int64_t i = 0; i < num_layers; ++i) sliding[static_cast<size_t>(i)] = otherwise(i);
    return sliding;
  }
  const Json& types = config.json()["layer_types"];
  if (!types.is_array() || types.size() != sliding.size()) {
    return invalid_argument("config: layer_types must list {} layers", num_layers);
  }
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (types[i] == "sliding_attention") {
      sliding[i] = true;
    } else if (types[i] != "full_attention") {
      return unsupported(
          "config: layer_types[{}] is {}; known are full_attention and "
          "sliding_attention",
          i, dump_json(types[i]).substr(0, 64));
    }
  }
  return sliding;
}

std::vector<int64_t> windows_of(const std::vector<bool>& sliding, int64_t window) {
  std::vector<int64_t> windows;
  for (const bool each : sliding) windows.push_back(each ? window : 0);
  return windows;
}

}  // namespace ramjet::models

#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/json.h"

namespace ramjet::checkpoint {
namespace {

/// The decimal that a float was written as: 1e-05, not 9.99999974737875e-06.
double as_written(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  return std::strtod(fmt::format("{}", narrow).c_str(), nullptr);
}

class ConfigMaker {
 public:
  ConfigMaker(const gguf::Header& header, const GgufArchitecture& architecture,
              const GgufTensors& tensors)
      : header_(header), architecture_(architecture), tensors_(tensors) {}

  Result<Json> make() {
    out_["architectures"] = Json::array({architecture_.architecture});
    out_["model_type"] = architecture_.model_type;
    RETURN_IF_ERROR(add_vocabulary());
    out_["torch_dtype"] = dtype();
    if (architecture_.name == "gpt2") {
      RETURN_IF_ERROR(add_gpt2());
      return std::move(out_);
    }
    RETURN_IF_ERROR(add_shape());
    RETURN_IF_ERROR(add_rope());
    if (architecture_.experts) RETURN_IF_ERROR(add_experts());
    RETURN_IF_ERROR(add_own());
    return std::move(out_);
  }

 private:
  std::string key(std::string_view name) const {
    return fmt::format("{}.{}", architecture_.name, name);
  }
  bool has(std::string_view name) const { return header_.find(key(name)) != nullptr; }
  Result<int64_t> integer(std::string_view name, std::optional<int64_t> fallback = {}) const {
    return header_.integer(key(name), fallback);
  }
  Result<double> number(std::string_view name, std::optional<double> fallback = {}) const {
    ASSIGN_OR_RETURN(const double value, header_.number(key(name), fallback));
    return as_written(value);
  }

  /// A number that some models have of each layer: one value, or a list of equal ones.
  Result<int64_t> same_in_all_layers(std::string_view name,
                                     std::optional<int64_t> fallback = {}) const {
    const gguf::Value* value = header_.find(key(name));
    if (value == nullptr || !value->is_array) return integer(name, fallback);
    const auto numbers = value->numbers();
    if (!numbers || numbers->empty() || std::abs((*numbers)[0]) > 1e9) {
      return invalid_argument("metadata '{}' is {}, it must be a whole number", key(name),
                              value->type_name());
    }
    for (const double other : *numbers) {
      if (other == (*numbers)[0]) continue;
      return unsupported("metadata '{}' differs between layers", key(name));
    }
    return static_cast<int64_t>((*numbers)[0]);
  }

  template <class Get>
  Status copy(const char* field, Get get) {
    ASSIGN_OR_RETURN(const auto value, get);
    out_[field] = value;
    return ok_status();
  }
  Status copy_if(const char* field, std::string_view name) {
    return has(name) ? copy(field, number(name)) : ok_status();
  }

  Status add_vocabulary() {
    const gguf::TensorInfo* table = tensors_.find("token_embd.weight");
    if (table != nullptr && table->shape.size() != 2) {
      return invalid_argument("tensor 'token_embd.weight' has {} extents, it must have 2",
                              table->shape.size());
    }
    if (table != nullptr) {
      out_["vocab_size"] = table->shape[0];
    } else {
      RETURN_IF_ERROR(copy("vocab_size", integer("vocab_size")));
    }
    out_["tie_word_embeddings"] = tensors_.find("output.weight") == nullptr;
    for (const auto& [field, name] :
         {std::pair{"bos_token_id", "bos"}, {"eos_token_id", "eos"}, {"pad_token_id", "padding"}}) {
      const std::string id = fmt::format("tokenizer.ggml.{}_token_id", name);
      if (header_.find(id) != nullptr) RETURN_IF_ERROR(copy(field, header_.integer(id)));
    }
    return ok_status();
  }

  /// Of what the file says most of it is; quantized weights were made for sixteen bits.
  std::string dtype() const {
    const gguf::Value* stated = header_.find("general.file_type");
    const auto type = stated == nullptr ? std::nullopt : stated->integer();
    if (type == 0) return "float32";
    if (type == 1) return "float16";
    const gguf::TensorInfo* table = tensors_.find("token_embd.weight");
    if (!type && table != nullptr && table->type->encoding == gguf::Encoding::kF32) {
      return "float32";
    }
    return "bfloat16";
  }

  Status add_gpt2() {
    RETURN_IF_ERROR(copy("n_embd", integer("embedding_length")));
    RETURN_IF_ERROR(copy("n_layer", integer("block_count")));
    RETURN_IF_ERROR(copy("n_head", integer("attention.head_count")));
    RETURN_IF_ERROR(copy("n_positions", integer("context_length")));
    RETURN_IF_ERROR(copy("n_inner", integer("feed_forward_length")));
    RETURN_IF_ERROR(copy("layer_norm_epsilon", number("attention.layer_norm_epsilon", 1e-5)));
    out_["activation_function"] = "gelu_new";
    return ok_status();
  }

  Status add_shape() {
    RETURN_IF_ERROR(copy("hidden_size", integer("embedding_length")));
    RETURN_IF_ERROR(copy("num_hidden_layers", integer("block_count")));
    RETURN_IF_ERROR(copy("intermediate_size", same_in_all_layers("feed_forward_length")));
    ASSIGN_OR_RETURN(const int64_t heads, same_in_all_layers("attention.head_count"));
    out_["num_attention_heads"] = heads;
    RETURN_IF_ERROR(
        copy("num_key_value_heads", same_in_all_layers("attention.head_count_kv", heads)));
    const int64_t share = heads > 0 ? out_["hidden_size"].get<int64_t>() / heads : 0;
    RETURN_IF_ERROR(copy("head_dim", integer("attention.key_length", share)));
    ASSIGN_OR_RETURN(const int64_t value_dim,
                     integer("attention.value_length", out_["head_dim"].get<int64_t>()));
    if (value_dim != out_["head_dim"]) {
      return unsupported("keys of {} and values of {} elements", dump_json(out_["head_dim"]),
                         value_dim);
    }
    RETURN_IF_ERROR(copy("max_position_embeddings", integer("context_length")));
    RETURN_IF_ERROR(copy("rms_norm_eps", number("attention.layer_norm_rms_epsilon")));
    out_["attention_bias"] = tensors_.find("blk.0.attn_q.bias") != nullptr;
    return ok_status();
  }

  Status add_rope() {
    RETURN_IF_ERROR(copy("rope_theta", number("rope.freq_base", 10000.0)));
    const auto head_dim = out_["head_dim"].get<int64_t>();
    ASSIGN_OR_RETURN(const int64_t rotated, integer("rope.dimension_count", head_dim));
    if (rotated != head_dim && head_dim > 0) {
      out_["partial_rotary_factor"] = static_cast<double>(rotated) / static_cast<double>(head_dim);
    }
    ASSIGN_OR_RETURN(const auto factors, tensors_.numbers("rope_freqs.weight"));
    const auto stretched = [](double factor) { return factor != 1; };
    if (factors && std::any_of(factors->begin(), factors->end(), stretched)) {
      // Llama 3's stretch, worked out for each pair: that is LongRoPE with one list of factors.
      return add_factors(*factors, *factors, 1.0);
    }
    ASSIGN_OR_RETURN(const auto short_factors, tensors_.numbers("rope_factors_short.weight"));
    ASSIGN_OR_RETURN(const auto long_factors, tensors_.numbers("rope_factors_long.weight"));
    if (short_factors && long_factors) return add_longrope(*short_factors, *long_factors);
    return add_scaling();
  }

  Status add_factors(const std::vector<double>& short_factors,
                     const std::vector<double>& long_factors, double attention_factor) {
    Json rope = {{"rope_type", "longrope"}, {"attention_factor", attention_factor}};
    for (const double factor : short_factors) rope["short_factor"].push_back(as_written(factor));
    for (const double factor : long_factors) rope["long_factor"].push_back(as_written(factor));
    out_["rope_scaling"] = std::move(rope);
    return ok_status();
  }

  Status add_longrope(const std::vector<double>& short_factors,
                      const std::vector<double>& long_factors) {
    const auto context = out_["max_position_embeddings"].get<int64_t>();
    ASSIGN_OR_RETURN(const int64_t original,
                     integer("rope.scaling.original_context_length", context));
    out_["original_max_position_embeddings"] = original;
    const double ratio = static_cast<double>(context) / static_cast<double>(original);
    const double inferred =
        ratio <= 1 || original <= 1
            ? 1.0
            : std::sqrt(1 + std::log(ratio) / std::log(static_cast<double>(original)));
    ASSIGN_OR_RETURN(const double attention, number("rope.scaling.attn_factor", inferred));
    return add_factors(short_factors, long_factors, attention);
  }

  Status add_scaling() {
    ASSIGN_OR_RETURN(const std::string type, header_.text(key("rope.scaling.type"), "none"));
    if (type == "none") return ok_status();
    ASSIGN_OR_RETURN(const double factor, number("rope.scaling.factor", 1.0));
    if (type == "linear") {
      if (factor != 1) out_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
      return ok_status();
    }
    if (type != "yarn") {
      return unsupported("metadata '{}' is '{}'; known are none, linear, yarn and LongRoPE factors",
                         key("rope.scaling.type"), type.substr(0, 64));
    }
    ASSIGN_OR_RETURN(const int64_t original,
                     integer("rope.scaling.original_context_length",
                             out_["max_position_embeddings"].get<int64_t>()));
    Json rope = {
        {"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", original}};
    ASSIGN_OR_RETURN(const double attention, number("rope.scaling.attn_factor", 1.0));
    if (attention != 1) rope["attention_factor"] = attention * (1 + 0.1 * std::log(factor));
    for (const char* name : {"beta_fast", "beta_slow"}) {
      const std::string stored = fmt::format("rope.scaling.yarn_{}", name);
      if (!has(stored)) continue;
      ASSIGN_OR_RETURN(rope[name], number(stored));
    }
    out_["rope_scaling"] = std::move(rope);
    return ok_status();
  }

  /// An extent of the first layer's tensor, where old files have no key for it.
  std::optional<int64_t> extent_of(std::string_view tensor, size_t index) const {
    const gguf::TensorInfo* info = tensors_.find(fmt::format("blk.0.{}.weight", tensor));
    if (info == nullptr || index >= info->shape.size()) return {};
    return info->shape[index];
  }

  Status add_experts() {
    const bool mixtral = architecture_.name == "llama";
    RETURN_IF_ERROR(copy(mixtral ? "num_local_experts" : "num_experts", integer("expert_count")));
    RETURN_IF_ERROR(copy("num_experts_per_tok", integer("expert_used_count")));
    ASSIGN_OR_RETURN(const double scale, number("expert_weights_scale", 1.0));
    if (scale != 1 && scale != 0) {
      return unsupported("metadata '{}' is {}; it must be 1", key("expert_weights_scale"), scale);
    }
    if (mixtral) return ok_status();
    RETURN_IF_ERROR(copy("moe_intermediate_size",
                         integer("expert_feed_forward_length", extent_of("ffn_up_exps", 1))));
    out_["norm_topk_prob"] = architecture_.name == "qwen3moe";  // a constant in llama.cpp too
    out_["mlp_only_layers"] = Json::array();
    const auto layers = out_["num_hidden_layers"].get<int64_t>();
    for (int64_t i = 0; i < layers; ++i) {
      const bool dense = tensors_.find(fmt::format("blk.{}.ffn_gate_inp.weight", i)) == nullptr;
      if (dense) out_["mlp_only_layers"].push_back(i);
    }
    if (architecture_.name != "qwen2moe") return ok_status();
    return copy("shared_expert_intermediate_size",
                integer("expert_shared_feed_forward_length", extent_of("ffn_up_shexp", 0)));
  }

  Status add_own() {
    const std::string_view name = architecture_.name;
    if (name.starts_with("gemma")) return add_gemma();
    if (name == "granite") {
      RETURN_IF_ERROR(copy_if("embedding_multiplier", "embedding_scale"));
      RETURN_IF_ERROR(copy_if("residual_multiplier", "residual_scale"));
      RETURN_IF_ERROR(copy_if("attention_multiplier", "attention.scale"));
      return copy_if("logits_scaling", "logit_scale");
    }
    if (name == "phi3" && has("attention.sliding_window")) {
      ASSIGN_OR_RETURN(const int64_t window, integer("attention.sliding_window"));
      if (window > 0) out_["sliding_window"] = window;
    }
    // Every fourth layer knows no positions: llama.cpp has that as a constant too.
    if (name == "smollm3") {
      const auto layers = out_["num_hidden_layers"].get<int64_t>();
      for (int64_t i = 1; i <= layers; ++i) out_["no_rope_layers"].push_back(i % 4 != 0 ? 1 : 0);
    }
    return ok_status();
  }

  Status add_gemma() {
    out_["hidden_activation"] = "gelu_pytorch_tanh";
    if (architecture_.name == "gemma") return ok_status();
    const bool third = architecture_.name == "gemma3";
    const auto layers = out_["num_hidden_layers"].get<int64_t>();
    const auto heads = out_["num_attention_heads"].get<int64_t>();
    // The 27B models alone scale by the hidden size over heads; the file does not say so.
    const bool largest = layers == (third ? 62 : 46) && heads == 32;
    out_["query_pre_attn_scalar"] =
        largest ? out_["hidden_size"].get<int64_t>() / heads : out_["head_dim"].get<int64_t>();
    RETURN_IF_ERROR(copy("sliding_window", integer("attention.sliding_window", 4096)));
    if (third) {
      RETURN_IF_ERROR(copy("rope_local_base_freq", number("rope.freq_base_swa", 10000.0)));
    } else {
      RETURN_IF_ERROR(copy("attn_logit_softcapping", number("attn_logit_softcapping", 50.0)));
      RETURN_IF_ERROR(copy("final_logit_softcapping", number("final_logit_softcapping", 30.0)));
    }
    const int64_t pattern = third ? 6 : 2;
    for (int64_t i = 1; i <= layers; ++i) {
      out_["layer_types"].push_back(i % pattern != 0 ? "sliding_attention" : "full_attention");
    }
    return ok_status();
  }

  const gguf::Header& header_;
  const GgufArchitecture& architecture_;
  const GgufTensors& tensors_;
  Json out_ = Json::object();
};

}  // namespace

Result<Json> hf_config(const gguf::Header& header, const GgufArchitecture& architecture,
                       const GgufTensors& tensors) {
  return ConfigMaker(header, architecture, tensors).make();
}

}  // namespace ramjet::checkpoint

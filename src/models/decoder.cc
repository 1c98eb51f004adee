#include "models/decoder.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "ir/network.h"

namespace ramjet::models {
namespace {

/// Appends the graph of one decoder to a network.
class DecoderBuilder {
 public:
  DecoderBuilder(const DecoderConfig& config, const FamilyInput& input, int64_t max_blocks)
      : config_(config),
        attention_(config.attention),
        input_(input),
        dtype_(input.options.dtype),
        network_(std::make_unique<Network>("main")) {
    declare_symbols();
    step_ = ir::add_step_inputs(*network_, max_blocks);
  }

  std::unique_ptr<Network> build() {
    const Tensor table = weight("model.embed_tokens.weight", {config_.vocab_size, hidden()});
    Tensor x = embedding(step_.token_ids, table);
    rope_ = ir::rope_table(step_, config_.rope);
    for (int64_t i = 0; i < config_.num_layers; ++i) x = layer(x, i);
    network_->set_scope("model");
    x = norm(gather_rows(x, step_.logit_rows), "model.norm.weight", hidden());
    const Tensor head =
        config_.tied_embeddings ? table : weight("lm_head.weight", {config_.vocab_size, hidden()});
    network_->set_scope("lm_head");
    network_->mark_output("logits", cast(matmul(x, head, true), DType::kF32));
    return std::move(network_);
  }

 private:
  int64_t hidden() const { return config_.hidden_size; }

  void declare_symbols() {
    const ModelOptions& options = input_.options;
    const int64_t tokens = options.max_num_tokens;
    const int64_t sequences = std::min(options.max_batch_size, tokens);
    // Prompt log-probabilities want many rows of one sequence; 64 at least bound their steps.
    const int64_t rows = std::min(tokens, std::max<int64_t>(sequences, 64));
    network_->set_profile("tokens", {1, std::min<int64_t>(tokens, 256), tokens});
    network_->set_profile("sequences", {1, std::min<int64_t>(sequences, 8), sequences});
    network_->set_profile("logit_rows", {0, std::min<int64_t>(rows, 8), rows});
  }

  Tensor weight(const std::string& name, const std::vector<int64_t>& extents) {
    return network_->weight(name, dtype_, extents);
  }
  Tensor norm(Tensor x, const std::string& name, int64_t width) {
    return rms_norm(x, weight(name, {width}), config_.norm_eps);
  }
  /// x[.., K] -> [.., rows]; with a bias if the family has one or the checkpoint holds it.
  Tensor linear(Tensor x, const std::string& name, std::vector<int64_t> extents, bool bias) {
    const Tensor y = matmul(x, weight(name + ".weight", extents), true);
    if (!bias && !input_.has_tensor(name + ".bias")) return y;
    return y + weight(name + ".bias", {extents[0]});
  }
  Tensor heads_norm(Tensor x, const std::string& name, int64_t heads) {
    if (!attention_.qk_norm) return x;
    const int64_t dim = attention_.head_dim;
    const Tensor split = reshape(x, {"tokens", heads, dim});
    return reshape(norm(split, name, dim), {"tokens", heads * dim});
  }
  Tensor rotated(Tensor x, int64_t heads) {
    const RopeSpec& spec = config_.rope;
    return ir::rope(x, rope_, {heads, attention_.head_dim, spec.rotary_dim, spec.interleaved});
  }

  Tensor layer(Tensor x, int64_t index) {
    const std::string name = fmt::format("model.layers.{}", index);
    network_->set_scope(name + ".self_attn");
    Tensor h = norm(x, name + ".input_layernorm.weight", hidden());
    x = x + attention(h, name + ".self_attn", index);
    network_->set_scope(name + ".mlp");
    h = norm(x, name + ".post_attention_layernorm.weight", hidden());
    return x + mlp(h, name + ".mlp");
  }

  Tensor attention(Tensor h, const std::string& name, int64_t index) {
    AttentionDesc desc;
    desc.num_heads = attention_.num_heads;
    desc.num_kv_heads = attention_.num_kv_heads;
    desc.head_dim = desc.v_head_dim = attention_.head_dim;
    desc.scale = 1.0 / std::sqrt(static_cast<double>(attention_.head_dim));
    desc.window = attention_.windows[static_cast<size_t>(index)];
    desc.kv_layer = index;
    desc.kv_dtype = input_.options.kv_dtype;
    desc.block_tokens = input_.options.block_tokens;
    if (input_.options.cache_scale) {
      desc.k_scale = input_.options.cache_scale(name, 'k');
      desc.v_scale = input_.options.cache_scale(name, 'v');
    }
    const int64_t q_width = desc.num_heads * desc.head_dim;
    const int64_t kv_width = desc.num_kv_heads * desc.head_dim;
    const bool bias = attention_.qkv_bias;
    Tensor q = linear(h, name + ".q_proj", {q_width, hidden()}, bias);
    Tensor k = linear(h, name + ".k_proj", {kv_width, hidden()}, bias);
    const Tensor v = linear(h, name + ".v_proj", {kv_width, hidden()}, bias);
    q = rotated(heads_norm(q, name + ".q_norm.weight", desc.num_heads), desc.num_heads);
    k = rotated(heads_norm(k, name + ".k_norm.weight", desc.num_kv_heads), desc.num_kv_heads);
    ir::kv_append(k, v, step_, desc);
    const Tensor y = ir::paged_attention(q, step_, Tensor(), desc);
    return linear(y, name + ".o_proj", {hidden(), q_width}, attention_.o_bias);
  }

  Tensor mlp(Tensor h, const std::string& name) {
    const int64_t width = config_.mlp.intermediate_size;
    const bool bias = config_.mlp.bias;
    const Tensor gate = linear(h, name + ".gate_proj", {width, hidden()}, bias);
    const Tensor up = linear(h, name + ".up_proj", {width, hidden()}, bias);
    return linear(activated(gate) * up, name + ".down_proj", {hidden(), width}, bias);
  }
  Tensor activated(Tensor x) const {
    switch (config_.mlp.activation) {
      case Activation::kGelu: return gelu(x);
      case Activation::kGeluTanh: return gelu_tanh(x);
      case Activation::kRelu: return relu(x);
      default: return silu(x);
    }
  }

  const DecoderConfig& config_;
  const AttentionConfig& attention_;
  const FamilyInput& input_;
  DType dtype_;
  std::unique_ptr<Network> network_;
  ir::StepInputs step_;
  Tensor rope_;
};

Status check_options(const ModelOptions& options) {
  const bool good = options.max_batch_size >= 1 && options.max_batch_size <= 1 << 16 &&
                    options.max_num_tokens >= 1 && options.max_num_tokens <= 1 << 20 &&
                    options.max_seq_len >= 0 && options.block_tokens >= 1 &&
                    options.block_tokens <= 1 << 12;
  if (!good) {
    return invalid_argument(
        "max_batch_size {} must be 1 to 65536, max_num_tokens {} 1 to 1048576, max_seq_len {} at "
        "least 0, block_tokens {} 1 to 4096",
        options.max_batch_size, options.max_num_tokens, options.max_seq_len, options.block_tokens);
  }
  if (options.dtype != DType::kF32 && options.dtype != DType::kBf16 &&
      options.dtype != DType::kF16) {
    return invalid_argument("dtype {}: activations are f32, bf16 or f16",
                            dtype_name(options.dtype));
  }
  return ok_status();
}

/// Tokens of a sequence: the model's, or fewer if asked for. Dynamic scaling has no end, so there
/// more may be asked for.
int64_t sequence_limit(const DecoderConfig& config, const ModelOptions& options) {
  if (options.max_seq_len == 0) return config.max_positions;
  if (options.max_seq_len <= config.max_positions || config.rope.kind == RopeKind::kDynamic) {
    return std::min<int64_t>(options.max_seq_len, 1 << 26);
  }
  log_warn("max_seq_len {} is more than the model's {} positions; it has {}", options.max_seq_len,
           config.max_positions, config.max_positions);
  return config.max_positions;
}

int64_t count_parameters(const Network& network) {
  int64_t count = 0;
  for (const ir::Value& value : network.impl().graph.values) {
    if (value.kind != ir::Value::Kind::kWeight) continue;
    int64_t elements = 1;
    for (const Dim& dim : value.type.dims) elements *= dim.offset;
    count += elements;
  }
  return count;
}

/// One group holds all layers: their geometry is the same. Its window is the widest view of any.
KvGroupSpec kv_group(const DecoderConfig& config) {
  const auto& windows = config.attention.windows;
  const auto [least, most] = std::minmax_element(windows.begin(), windows.end());
  return {config.num_layers, config.attention.num_kv_heads, config.attention.head_dim,
          config.attention.head_dim, *least == 0 ? 0 : *most};
}

}  // namespace

Result<Model> build_decoder(const DecoderConfig& config, const FamilyInput& input) {
  RETURN_IF_ERROR(check_options(input.options));
  const int64_t max_seq_len = sequence_limit(config, input.options);
  const int64_t block_tokens = input.options.block_tokens;
  const int64_t max_blocks = (max_seq_len + block_tokens - 1) / block_tokens;
  Model model;
  model.network = DecoderBuilder(config, input, max_blocks).build();
  RETURN_IF_ERROR(model.network->status());
  model.info.parameters = count_parameters(*model.network);
  model.info.vocab_size = static_cast<int>(config.vocab_size);
  model.info.num_layers = static_cast<int>(config.num_layers);
  model.info.max_seq_len = static_cast<int>(max_seq_len);
  ASSIGN_OR_RETURN(model.info.eos_ids, input.config.ids("eos_token_id"));
  ASSIGN_OR_RETURN(const auto bos, input.config.ids("bos_token_id"));
  if (!bos.empty()) model.info.bos_id = bos[0];
  model.kv_groups = {kv_group(config)};
  return model;
}

}  // namespace ramjet::models

#include "models/decoder.h"

#include <algorithm>
#include <cmath>

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
    if (input.options.max_loras == 0) return;
    slots_[0] = network_->input("lora_slots", DType::kI32, {"tokens"});
    slots_[1] = network_->input("lora_scales", DType::kF32, {input.options.max_loras});
  }

  std::unique_ptr<Network> build() {
    const DecoderNames& names = config_.names;
    const Tensor table = weight(names.embedding + ".weight", {config_.vocab_size, hidden()});
    Tensor x = embedding(step_.token_ids, table, config_.scales.embedding);
    if (!names.positions.empty()) {
      const Tensor all = weight(names.positions + ".weight", {config_.max_positions, hidden()});
      x = x + embedding(step_.positions, all);
    }
    for (const RopeSpec& spec : config_.ropes) ropes_.push_back(ir::rope_table(step_, spec));
    for (int64_t i = 0; i < config_.num_layers; ++i) x = layer(x, i);
    network_->set_scope("model");
    x = norm(gather_rows(x, step_.logit_rows), names.final_norm, hidden());
    network_->set_scope("lm_head");
    network_->mark_output("logits", logits(x, table));
    return std::move(network_);
  }

  std::vector<LoraModule> lora_modules() && { return std::move(lora_modules_); }

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
  /// `rows` of the tensor `from`, which may lie transposed.
  Tensor weight_from(const std::string& name, const std::vector<int64_t>& extents,
                     const std::string& from, const ir::RowSelection& rows) {
    const bool transpose = config_.names.transposed && extents.size() > 1;
    if (name == from && rows.all() && !transpose) return weight(name, extents);
    ir::WeightRecipe recipe{.sources = {from}, .transpose = transpose};
    if (!rows.all()) recipe.rows = {rows};
    const TensorType type{dtype_, std::vector<Dim>(extents.begin(), extents.end())};
    return ir::stored_weight(*network_, name, type, std::move(recipe));
  }
  Tensor norm(Tensor x, const std::string& name, int64_t width) {
    const NormConfig& norm = config_.norm;
    const Tensor scale = weight(name + ".weight", {width});
    if (norm.kind == NormKind::kRms) return rms_norm(x, scale, norm.eps, norm.weight_offset);
    return layer_norm(x, scale, norm.bias ? weight(name + ".bias", {width}) : Tensor(), norm.eps);
  }
  /// The norm `which` of a layer, if there is one.
  Tensor block_norm(Tensor x, const std::string& layer, const std::string& which) {
    return which.empty() ? x : norm(x, layer + "." + which, hidden());
  }

  /// What a projection reads: a tensor of its own, or rows of one that holds several.
  struct Projection {
    std::string name;
    int64_t rows = 0;
    int64_t columns = 0;
    bool bias = false;
    std::string from;  // empty: its own
    ir::RowSelection selection;
  };
  /// x[tokens, K] -> [tokens, rows]; with a bias if the family has one or the checkpoint holds it.
  Tensor linear(Tensor x, const Projection& p) {
    const std::string& from = p.from.empty() ? p.name : p.from;
    const Tensor w =
        weight_from(p.name + ".weight", {p.rows, p.columns}, from + ".weight", p.selection);
    const Tensor y = matmul(x, w, true);
    if (!p.bias && !input_.has_tensor(from + ".bias")) return adapted(x, y, p);
    return adapted(x, y + weight_from(p.name + ".bias", {p.rows}, from + ".bias", p.selection), p);
  }
  /// y and what the token's adapter adds to it.
  Tensor adapted(Tensor x, Tensor y, const Projection& p) {
    const int64_t slots = input_.options.max_loras, rank = input_.options.max_lora_rank;
    if (slots == 0) return y;
    const ir::RowSelection& rows = p.selection;
    lora_modules_.push_back(
        {p.name, p.from.empty() ? p.name : p.from, rows.first, rows.count, rows.run, rows.stride});
    const Tensor a = network_->input("lora_a." + p.name, dtype_, {slots, rank, p.columns});
    const Tensor b = network_->input("lora_b." + p.name, dtype_, {slots, rank, p.rows});
    return y + ir::lora(x, slots_, a, b);
  }

  Tensor heads_norm(Tensor x, const std::string& name, int64_t heads) {
    const int64_t dim = attention_.head_dim;
    if (attention_.qk_norm == QkNorm::kNone) return x;
    if (attention_.qk_norm == QkNorm::kWidth) return norm(x, name, heads * dim);
    const Tensor split = reshape(x, {"tokens", heads, dim});
    return reshape(norm(split, name, dim), {"tokens", heads * dim});
  }
  Tensor rotated(Tensor x, int64_t heads, int64_t layer) {
    const int which = attention_.ropes[static_cast<size_t>(layer)];
    if (which < 0) return x;
    const RopeSpec& spec = config_.ropes[static_cast<size_t>(which)];
    return ir::rope(x, ropes_[static_cast<size_t>(which)],
                    {heads, attention_.head_dim, spec.rotary_dim, spec.interleaved});
  }

  Tensor layer(Tensor x, int64_t index) {
    const BlockNorms& norms = config_.norm.names;
    const std::string name = fmt::format("{}.{}", config_.names.layers, index);
    const std::string attention_name = name + "." + attention_.names.scope;
    const std::string mlp_name = name + "." + config_.mlp.scope;
    network_->set_scope(attention_name);
    const Tensor h = block_norm(x, name, norms.before_attention);
    const Tensor a = attention(h, attention_name, index);
    const Tensor sum = add_branch(x, block_norm(a, name, norms.after_attention));
    network_->set_scope(mlp_name);
    Tensor m = config_.parallel ? x : sum;
    m = config_.parallel && norms.before_mlp.empty() ? h : block_norm(m, name, norms.before_mlp);
    m = config_.mlp_hook ? hooked_mlp(m, name, index)
                         : mlp(m, mlp_name, config_.mlp.intermediate_size);
    return add_branch(sum, block_norm(m, name, norms.after_mlp));
  }
  Tensor add_branch(Tensor x, Tensor branch) const {
    const double scale = config_.scales.residual;
    return x + (scale == 1 ? branch : branch * static_cast<float>(scale));
  }

  AttentionDesc attention_desc(const std::string& name, int64_t index) const {
    AttentionDesc desc;
    desc.num_heads = attention_.num_heads;
    desc.num_kv_heads = attention_.num_kv_heads;
    desc.head_dim = desc.v_head_dim = attention_.head_dim;
    desc.scale = attention_.scale > 0 ? attention_.scale
                                      : 1.0 / std::sqrt(static_cast<double>(attention_.head_dim));
    desc.softcap = attention_.softcap;
    desc.window = attention_.windows[static_cast<size_t>(index)];
    desc.kv_layer = index;
    desc.kv_dtype = input_.options.kv_dtype;
    desc.block_tokens = input_.options.block_tokens;
    if (input_.options.cache_scale) {
      desc.k_scale = input_.options.cache_scale(name, 'k');
      desc.v_scale = input_.options.cache_scale(name, 'v');
    }
    return desc;
  }

  /// Projection `part` (0: q, 1: k, 2: v) of a layer's attention.
  Projection qkv_projection(const std::string& name, int part) const {
    const AttentionNames& names = attention_.names;
    const int64_t dim = attention_.head_dim, kv_rows = attention_.num_kv_heads * dim;
    const int64_t q_rows = attention_.num_heads * dim;
    const std::string own[] = {names.q, names.k, names.v};
    Projection p{.name = name + "." + own[part],
                 .rows = part == 0 ? q_rows : kv_rows,
                 .columns = hidden(),
                 .bias = attention_.qkv_bias};
    if (attention_.form == QkvForm::kSeparate) return p;
    p.from = name + "." + names.qkv;
    p.selection.count = p.rows;
    if (attention_.form == QkvForm::kStacked) {
      p.selection.first = part == 0 ? 0 : q_rows + (part - 1) * kv_rows;
    } else {
      const int64_t group = q_rows / attention_.num_kv_heads;  // rows of its query heads
      p.selection.first = part == 0 ? 0 : group + (part - 1) * dim;
      p.selection.run = part == 0 ? group : dim;
      p.selection.stride = group + 2 * dim;
    }
    return p;
  }

  Tensor attention(Tensor h, const std::string& name, int64_t index) {
    AttentionDesc desc = attention_desc(name, index);
    Tensor q = linear(h, qkv_projection(name, 0));
    Tensor k = linear(h, qkv_projection(name, 1));
    const Tensor v = linear(h, qkv_projection(name, 2));
    q = rotated(heads_norm(q, name + ".q_norm", desc.num_heads), desc.num_heads, index);
    k = rotated(heads_norm(k, name + ".k_norm", desc.num_kv_heads), desc.num_kv_heads, index);
    ir::kv_append(k, v, step_, desc);
    desc.sinks = attention_.sinks;  // of what reads the cache alone
    Tensor sinks;
    if (desc.sinks) sinks = network_->weight(name + ".sinks", DType::kF32, {desc.num_heads});
    const Tensor y = ir::paged_attention(q, step_, sinks, desc);
    return linear(y, {.name = name + "." + attention_.names.o,
                      .rows = hidden(),
                      .columns = desc.num_heads * desc.head_dim,
                      .bias = attention_.o_bias});
  }

  Tensor hooked_mlp(Tensor h, const std::string& layer, int64_t index) {
    const auto dense = [this, h](const std::string& name, int64_t width) {
      return mlp(h, name, width == 0 ? config_.mlp.intermediate_size : width);
    };
    return config_.mlp_hook({*network_, input_, h, hidden(), layer, index, dense});
  }

  Tensor mlp(Tensor h, const std::string& name, int64_t width) {
    const MlpConfig& mlp = config_.mlp;
    Projection gate{name + "." + mlp.gate, width, hidden(), mlp.bias, "", {}};
    Projection up = gate;
    up.name = name + "." + mlp.up;
    if (!mlp.gate_up.empty()) {
      gate.from = up.from = name + "." + mlp.gate_up;
      gate.selection = {.first = 0, .count = width};
      up.selection = {.first = width, .count = width};
    }
    const Tensor inner =
        mlp.gated ? activated(linear(h, gate)) * linear(h, up) : activated(linear(h, up));
    return linear(inner, {name + "." + mlp.down, hidden(), width, mlp.bias, "", {}});
  }
  Tensor activated(Tensor x) const {
    switch (config_.mlp.activation) {
      case Activation::kGelu: return gelu(x);
      case Activation::kGeluTanh: return gelu_tanh(x);
      case Activation::kRelu: return relu(x);
      default: return silu(x);
    }
  }

  /// A tied head has no tensor; a checkpoint without the tensor of an untied one ties it.
  Tensor logits(Tensor x, Tensor table) {
    const DecoderNames& names = config_.names;
    const DecoderScales& scales = config_.scales;
    const std::string own = names.head + ".weight";
    const bool tied = config_.tied_embeddings ||
                      (input_.has_tensor(names.embedding + ".weight") && !input_.has_tensor(own));
    const Tensor head = tied ? table : weight(own, {config_.vocab_size, hidden()});
    Tensor y = matmul(x, head, true);
    if (names.head_bias || input_.has_tensor(names.head + ".bias")) {
      y = y + weight(names.head + ".bias", {config_.vocab_size});
    }
    y = cast(y, DType::kF32);
    if (scales.logits != 1) y = y * static_cast<float>(scales.logits);
    if (scales.logit_softcap <= 0) return y;
    const auto cap = static_cast<float>(scales.logit_softcap);
    return tanh(y / cap) * cap;
  }

  const DecoderConfig& config_;
  const AttentionConfig& attention_;
  const FamilyInput& input_;
  DType dtype_;
  std::unique_ptr<Network> network_;
  ir::StepInputs step_;
  std::vector<Tensor> ropes_;  // tables of config_.ropes
  Tensor slots_[2];            // of adapters: each token's, and each slot's scale
  std::vector<LoraModule> lora_modules_;
};

}  // namespace

std::unique_ptr<Network> decoder_graph(const DecoderConfig& config, const FamilyInput& input,
                                       int64_t max_blocks, std::vector<LoraModule>* lora_modules) {
  DecoderBuilder builder(config, input, max_blocks);
  auto network = builder.build();
  *lora_modules = std::move(builder).lora_modules();
  return network;
}

}  // namespace ramjet::models

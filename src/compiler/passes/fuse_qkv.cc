// fuse_qkv: the three projections of an attention layer become one matmul over their stacked
// weights, and head norms, rotation and the write to the cache one pass over its result
// (qkv_rope_append). Matched from kv_append and the paged_attention of the same layer; a layer
// that deviates anywhere is left as it is. Adapters of the three become one op of three parts.
#include <algorithm>
#include <optional>

#include "compiler/passes/merge_weights.h"
#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"

namespace ramjet::compiler {
namespace {

/// What lies between a projection's matmul and the attention, found from the end.
struct Projection {
  ir::NodeId matmul = ir::kNoNode;
  ir::ValueId bias = ir::kNoValue;
  ir::NodeId lora = ir::kNoNode;  // of what is added to the matmul's result
  ir::ValueId norm_weight = ir::kNoValue;
  std::optional<NormDesc> norm;
  std::optional<RopeDesc> rope;
  ir::ValueId table = ir::kNoValue;
  std::vector<ir::NodeId> nodes;  // all of them, users first
};

class Matcher {
 public:
  explicit Matcher(const ir::Graph& graph) : graph_(graph), users_(graph.users()) {}

  std::optional<Projection> projection(ir::ValueId value) const {
    Projection found;
    const ir::Node* node = step(value, found);
    if (node != nullptr && node->op == OpKind::kRope) {
      found.rope = std::get<RopeDesc>(node->attrs);
      found.table = node->inputs[1];
      node = step(node->inputs[0], found);
    }
    if (node != nullptr && node->op == OpKind::kReshape) {
      node = head_norm(node, found);
    }
    if (node != nullptr && node->op == OpKind::kPointwise) node = adapter(node, found);
    if (node != nullptr && node->op == OpKind::kPointwise) node = bias(node, found);
    if (node == nullptr || node->op != OpKind::kMatmul) return std::nullopt;
    found.matmul = found.nodes.back();
    return found;
  }

  /// The attention that reads what `append` wrote.
  ir::NodeId attention_of(const ir::Node& append) const {
    const auto& desc = std::get<AttentionDesc>(append.attrs);
    for (ir::NodeId id : users_[static_cast<size_t>(append.inputs[2])]) {
      const ir::Node& node = graph_.node(id);
      if (node.op != OpKind::kPagedAttention) continue;
      const auto& other = std::get<AttentionDesc>(node.attrs);
      const bool same_step = std::equal(append.inputs.begin() + 2, append.inputs.end(),
                                        node.inputs.begin() + 1, node.inputs.begin() + 4);
      if (same_step && other.kv_layer == desc.kv_layer && other.kv_group == desc.kv_group) {
        return id;
      }
    }
    return ir::kNoNode;
  }

 private:
  /// The producer of a value that has one user and is no output; null otherwise.
  const ir::Node* step(ir::ValueId value, Projection& found) const {
    const ir::NodeId id = graph_.value(value).producer;
    if (id == ir::kNoNode || users_[static_cast<size_t>(value)].size() != 1 ||
        graph_.is_output(value) || graph_.node(id).outputs.size() != 1) {
      return nullptr;
    }
    found.nodes.push_back(id);
    return &graph_.node(id);
  }

  /// reshape(norm(reshape(x))): a norm of each head.
  const ir::Node* head_norm(const ir::Node* outer, Projection& found) const {
    const ir::Node* norm = step(outer->inputs[0], found);
    if (norm == nullptr || norm->op != OpKind::kNorm || norm->inputs.size() != 2) return nullptr;
    found.norm = std::get<NormDesc>(norm->attrs);
    found.norm_weight = norm->inputs[1];
    if (found.norm->kind != NormKind::kRms) return nullptr;
    const ir::Node* inner = step(norm->inputs[0], found);
    if (inner == nullptr || inner->op != OpKind::kReshape) return nullptr;
    return step(inner->inputs[0], found);
  }

  static bool is_add(const ir::Node& node) {
    return std::get<PointwiseDesc>(node.attrs).program ==
           PointwiseProgram::single(PointwiseOp::kAdd);
  }

  /// x + lora(..): x. The node itself if it is no such sum.
  const ir::Node* adapter(const ir::Node* node, Projection& found) const {
    if (!is_add(*node)) return node;
    for (size_t i = 0; i < 2; ++i) {
      const ir::ValueId added = node->inputs[i];
      const ir::NodeId id = graph_.value(added).producer;
      if (id == ir::kNoNode || graph_.node(id).op != OpKind::kLora) continue;
      if (users_[static_cast<size_t>(added)].size() != 1 || graph_.is_output(added)) return nullptr;
      found.lora = id;
      return step(node->inputs[1 - i], found);
    }
    return node;
  }

  const ir::Node* bias(const ir::Node* node, Projection& found) const {
    if (!is_add(*node)) return nullptr;
    for (size_t i = 0; i < 2; ++i) {
      const ir::Value& weight = graph_.value(node->inputs[i]);
      if (weight.kind != ir::Value::Kind::kWeight || weight.type.rank() != 1) continue;
      found.bias = node->inputs[i];
      return step(node->inputs[1 - i], found);
    }
    return nullptr;
  }

  const ir::Graph& graph_;
  std::vector<std::vector<ir::NodeId>> users_;
};

bool same_norm(const NormDesc& a, const NormDesc& b) {
  return a.kind == b.kind && a.eps == b.eps && a.weight_offset == b.weight_offset;
}

/// Neither has an adapter, or both have and of the same tokens.
bool same_adapters(const ir::Graph& graph, const Projection& a, const Projection& b) {
  if ((a.lora == ir::kNoNode) != (b.lora == ir::kNoNode)) return false;
  if (a.lora == ir::kNoNode) return true;
  const auto &left = graph.node(a.lora).inputs, &right = graph.node(b.lora).inputs;
  return std::equal(left.begin(), left.begin() + 3, right.begin());
}

struct Layer {
  ir::NodeId append = ir::kNoNode;
  ir::NodeId attention = ir::kNoNode;
  Projection q, k, v;
};

bool fits(const ir::Graph& graph, const Layer& layer) {
  const auto& desc = std::get<AttentionDesc>(graph.node(layer.attention).attrs);
  const auto& [append, attention, q, k, v] = layer;
  if (!q.rope || !k.rope || v.rope || q.table != k.table) return false;
  if (q.rope->num_heads != desc.num_heads || k.rope->num_heads != desc.num_kv_heads) return false;
  for (const RopeDesc& rope : {*q.rope, *k.rope}) {
    if (rope.head_dim != desc.head_dim || rope.rotary_dim != q.rope->rotary_dim ||
        rope.interleaved != q.rope->interleaved) {
      return false;
    }
  }
  if (q.norm.has_value() != k.norm.has_value() || v.norm) return false;
  if (q.norm && !same_norm(*q.norm, *k.norm)) return false;
  for (const Projection* p : {&q, &k}) {
    const auto head = std::vector<Dim>{Dim(desc.head_dim)};
    if (p->norm && graph.value(p->norm_weight).type.dims != head) return false;
  }
  const bool biased = q.bias != ir::kNoValue;
  if (biased != (k.bias != ir::kNoValue) || biased != (v.bias != ir::kNoValue)) return false;
  if (!same_adapters(graph, q, k) || !same_adapters(graph, q, v)) return false;
  const ir::NodeId parts[] = {q.matmul, k.matmul, v.matmul};
  return can_merge_weights(graph, parts);
}

/// qkv + the adapters of all three, as one op.
ir::ValueId add_adapters(ir::Graph& graph, const Layer& layer, ir::ValueId qkv) {
  const TensorType type = graph.value(qkv).type;
  ir::Node lora{.op = OpKind::kLora, .name = "lora"};
  for (const Projection* p : {&layer.q, &layer.k, &layer.v}) {
    const ir::Node& part = graph.node(p->lora);
    const auto first = lora.inputs.empty() ? part.inputs.begin() : part.inputs.begin() + 3;
    lora.inputs.insert(lora.inputs.end(), first, part.inputs.end());
    lora.fused.push_back(part.name);
  }
  const ir::ValueId delta =
      graph.result(graph.insert_node_before(layer.append, std::move(lora), {type}));
  ir::Node add{.op = OpKind::kPointwise, .name = "add"};
  add.inputs = {qkv, delta};
  add.attrs = PointwiseDesc{PointwiseProgram::single(PointwiseOp::kAdd)};
  return graph.result(graph.insert_node_before(layer.append, std::move(add), {type}));
}

void fuse(ir::Graph& graph, const Layer& layer) {
  const auto& [append, attention, q, k, v] = layer;
  const ir::NodeId parts[] = {q.matmul, k.matmul, v.matmul};
  constexpr auto kStack = ir::WeightRecipe::Combine::kStack;
  const ir::Node first = graph.node(q.matmul);
  const AttentionDesc heads = std::get<AttentionDesc>(graph.node(attention).attrs);

  ir::Node matmul{.op = OpKind::kMatmul, .attrs = first.attrs};
  matmul.inputs = merge_weight_operands(graph, parts, kStack, "qkv");
  const std::string weight_name = graph.value(matmul.inputs[0]).name;
  matmul.name = weight_name.substr(0, weight_name.find(".weight"));
  matmul.inputs.insert(matmul.inputs.begin(), first.inputs[0]);
  for (ir::NodeId part : parts) matmul.fused.push_back(graph.node(part).name);
  TensorType type = graph.value(first.outputs[0]).type;
  type.dims.back() = graph.value(matmul.inputs[1]).type.dims[0];
  ir::ValueId qkv = graph.result(graph.insert_node_before(append, std::move(matmul), {type}));

  if (q.bias != ir::kNoValue) {
    const ir::ValueId biases[] = {q.bias, k.bias, v.bias};
    ir::Node add{.op = OpKind::kPointwise, .name = "add"};
    add.inputs = {qkv, merge_weights(graph, biases, kStack, "qkv")};
    add.attrs = PointwiseDesc{PointwiseProgram::single(PointwiseOp::kAdd)};
    qkv = graph.result(graph.insert_node_before(append, std::move(add), {type}));
  }

  if (q.lora != ir::kNoNode) qkv = add_adapters(graph, layer, qkv);

  QkvDesc desc{.attention = heads};
  desc.rotary_dim = q.rope->rotary_dim;
  desc.interleaved = q.rope->interleaved;
  desc.qk_norm = q.norm.has_value();
  if (q.norm) desc.norm = *q.norm;
  const ir::Node old = graph.node(append);
  ir::Node node{.op = OpKind::kQkvRopeAppend, .name = old.name};
  node.inputs = {qkv, q.table, old.inputs[2], old.inputs[3], old.inputs[4]};
  if (q.norm) node.inputs.insert(node.inputs.end(), {q.norm_weight, k.norm_weight});
  node.attrs = desc;
  for (const Projection* p : {&q, &k, &v}) {
    for (ir::NodeId id : p->nodes) {
      if (id != p->matmul) node.fused.push_back(graph.node(id).name);
    }
  }
  node.fused.push_back(old.name);
  const TensorType q_type = graph.value(graph.node(attention).inputs[0]).type;
  const ir::NodeId fused = graph.insert_node_before(append, std::move(node), {q_type});
  graph.node(attention).inputs[0] = graph.result(fused);
  graph.erase_node(append);
  for (const Projection* p : {&q, &k, &v}) {
    for (ir::NodeId id : p->nodes) graph.erase_node(id);
    if (p->lora != ir::kNoNode) graph.erase_node(p->lora);
  }
}

class FuseQkv final : public Pass {
 public:
  std::string_view name() const override { return "fuse_qkv"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = false;
    const std::vector<ir::NodeId> order = graph.order();
    for (ir::NodeId id : order) {
      const ir::Node& append = graph.node(id);
      if (append.op != OpKind::kKvAppend) continue;
      const Matcher matcher(graph);
      Layer layer{.append = id, .attention = matcher.attention_of(append)};
      if (layer.attention == ir::kNoNode) continue;
      auto q = matcher.projection(graph.node(layer.attention).inputs[0]);
      auto k = matcher.projection(append.inputs[0]);
      auto v = matcher.projection(append.inputs[1]);
      if (!q || !k || !v) continue;
      layer.q = std::move(*q), layer.k = std::move(*k), layer.v = std::move(*v);
      if (!fits(graph, layer)) continue;
      fuse(graph, layer);
      changed = true;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_qkv() { return std::make_unique<FuseQkv>(); }

}  // namespace ramjet::compiler

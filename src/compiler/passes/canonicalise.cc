// canonicalise: one form for what can be said in several. Removes dead and repeated pure nodes,
// identities and reshapes of reshapes, simplifies pointwise programs, and turns [K, N] weights of
// matmuls into transposed recipes, so that later passes and kernels see b[N, K] alone.
#include <algorithm>
#include <map>

#include "compiler/passes/passes.h"
#include "compiler/rewrite.h"
#include "op/fields.h"

namespace ramjet::compiler {
namespace {

bool remove_dead(ir::Graph& graph) {
  std::vector<int> uses(graph.values.size());
  for (const ir::GraphOutput& output : graph.outputs) ++uses[static_cast<size_t>(output.value)];
  for (ir::NodeId id : graph.order()) {
    for (ir::ValueId input : graph.node(id).inputs) ++uses[static_cast<size_t>(input)];
  }
  std::vector<ir::NodeId> order = graph.order(), kept;
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    ir::Node& node = graph.node(*it);
    const bool used = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ir::ValueId v) { return uses[static_cast<size_t>(v)] > 0; });
    if (used || has_side_effect(node.op)) {
      kept.push_back(*it);
      continue;
    }
    for (ir::ValueId input : node.inputs) --uses[static_cast<size_t>(input)];
    node.erased = true;
  }
  if (kept.size() == order.size()) return false;
  std::reverse(kept.begin(), kept.end());
  graph.set_order(std::move(kept));
  return true;
}

/// Whether the node's only result is its first operand again.
bool is_identity(const ir::Graph& graph, const ir::Node& node) {
  if (node.outputs.size() != 1 || node.inputs.size() != 1) return false;
  const TensorType& from = graph.value(node.inputs[0]).type;
  if (from != graph.value(node.outputs[0]).type) return false;
  switch (node.op) {
    case OpKind::kPointwise: {
      const PointwiseProgram& program = std::get<PointwiseDesc>(node.attrs).program;
      return program.instrs.empty() && program.outputs.size() == 1;
    }
    case OpKind::kTranspose: {
      const auto& permutation = std::get<TransposeDesc>(node.attrs).permutation;
      return std::is_sorted(permutation.begin(), permutation.end());
    }
    case OpKind::kReshape:
    case OpKind::kSlice:
    case OpKind::kConcat: return true;
    default: return false;
  }
}

bool remove_identities(ir::Graph& graph) {
  bool changed = false;
  const std::vector<ir::NodeId> order = graph.order();
  for (ir::NodeId id : order) {
    ir::Node& node = graph.node(id);
    if (node.op == OpKind::kPointwise) changed |= simplify_pointwise(graph, id);
    if (node.op == OpKind::kReshape) {
      const ir::NodeId inner = graph.value(node.inputs[0]).producer;
      if (inner != ir::kNoNode && graph.node(inner).op == OpKind::kReshape) {
        node.inputs[0] = graph.node(inner).inputs[0];
        changed = true;
      }
    }
    // An output keeps the node that makes it: two outputs never share a value.
    if (!is_identity(graph, node) || graph.is_output(node.outputs[0])) continue;
    graph.replace_uses(node.outputs[0], node.inputs[0]);
    graph.erase_node(id);
    changed = true;
  }
  return changed;
}

/// Everything that tells two pure nodes apart.
std::string signature(const ir::Graph& graph, const ir::Node& node) {
  std::string key = std::string(op_name(node.op)) + "|" + attrs_text(node.attrs);
  for (ir::ValueId input : node.inputs) key += fmt::format(",{}", input);
  for (ir::ValueId output : node.outputs) {
    key += "|" + type_text(graph.value(output).type, graph.symbols);
  }
  return key;
}

bool remove_repetitions(ir::Graph& graph) {
  bool changed = false;
  std::map<std::string, ir::NodeId> seen;
  const std::vector<ir::NodeId> order = graph.order();
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if (is_ordered(node.op)) continue;
    const auto [it, fresh] = seen.emplace(signature(graph, node), id);
    const bool output = std::any_of(node.outputs.begin(), node.outputs.end(),
                                    [&](ir::ValueId v) { return graph.is_output(v); });
    if (fresh || output) continue;
    const std::vector<ir::ValueId> from = node.outputs, to = graph.node(it->second).outputs;
    for (size_t i = 0; i < from.size(); ++i) graph.replace_uses(from[i], to[i]);
    graph.erase_node(id);
    changed = true;
  }
  return changed;
}

bool transpose_weights(ir::Graph& graph) {
  bool changed = false;
  std::map<ir::ValueId, ir::ValueId> transposed;
  for (ir::NodeId id : graph.order()) {
    ir::Node& node = graph.node(id);
    MatmulDesc* desc = std::get_if<MatmulDesc>(&node.attrs);
    if (desc == nullptr || desc->transpose_b) continue;
    const ir::ValueId b = node.inputs[1];
    if (graph.value(b).kind != ir::Value::Kind::kWeight ||
        graph.value(b).recipe.combine != ir::WeightRecipe::Combine::kNone ||
        !graph.value(b).recipe.rows.empty()) {
      continue;
    }
    if (!transposed.contains(b)) {
      ir::Value weight = graph.value(b);
      std::swap(weight.type.dims[0], weight.type.dims[1]);
      weight.recipe.transpose = !weight.recipe.transpose;
      transposed[b] = graph.add_weight(weight.name + ".t", weight.type, weight.recipe);
    }
    node.inputs[1] = transposed[b];
    desc->transpose_b = true;
    changed = true;
  }
  return changed;
}

class Canonicalise final : public Pass {
 public:
  std::string_view name() const override { return "canonicalise"; }
  Result<bool> run(ir::Graph& graph, PassContext&) override {
    bool changed = transpose_weights(graph);
    for (bool more = true; more;) {
      more = remove_dead(graph);
      more |= remove_identities(graph);
      more |= remove_repetitions(graph);
      changed |= more;
    }
    return changed;
  }
};

}  // namespace

std::unique_ptr<Pass> make_canonicalise() { return std::make_unique<Canonicalise>(); }

}  // namespace ramjet::compiler

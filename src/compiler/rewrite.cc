#include "compiler/rewrite.h"

#include <algorithm>
#include <queue>

namespace ramjet::compiler {

bool is_ordered(OpKind op) { return has_side_effect(op) || op == OpKind::kPagedAttention; }

size_t first_fused_operand(const MatmulDesc& desc) {
  if (desc.quant == WeightQuant::kNone) return 2;
  return desc.quant == WeightQuant::kFp8Channel ? 4 : 3;
}

void restore_order(ir::Graph& graph) {
  const std::vector<ir::NodeId> old = graph.order();
  std::vector<size_t> position(graph.nodes.size());
  for (size_t i = 0; i < old.size(); ++i) position[static_cast<size_t>(old[i])] = i;

  std::vector<std::vector<size_t>> next(old.size());
  std::vector<int> waits(old.size());
  size_t last_ordered = old.size();
  auto add_edge = [&](size_t from, size_t to) {
    next[from].push_back(to);
    ++waits[to];
  };
  for (size_t i = 0; i < old.size(); ++i) {
    const ir::Node& node = graph.node(old[i]);
    for (ir::ValueId input : node.inputs) {
      const ir::NodeId producer = graph.value(input).producer;
      if (producer != ir::kNoNode) add_edge(position[static_cast<size_t>(producer)], i);
    }
    if (!is_ordered(node.op)) continue;
    if (last_ordered < old.size()) add_edge(last_ordered, i);
    last_ordered = i;
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < old.size(); ++i) {
    if (waits[i] == 0) ready.push(i);
  }
  std::vector<ir::NodeId> order;
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    order.push_back(old[i]);
    for (size_t to : next[i]) {
      if (--waits[to] == 0) ready.push(to);
    }
  }
  graph.set_order(std::move(order));  // a cycle would leave nodes out, which verify() reports
}

void move_before(ir::Graph& graph, ir::NodeId node, ir::NodeId place) {
  std::vector<ir::NodeId> order = graph.order();
  order.erase(std::find(order.begin(), order.end(), node));
  order.insert(std::find(order.begin(), order.end(), place), node);
  graph.set_order(std::move(order));
}

bool has_indirect_path(const ir::Graph& graph, ir::NodeId from, ir::NodeId to) {
  // Walks the program from `from` to `to`, marking what depends on `from`.
  std::vector<bool> tainted(graph.nodes.size());
  bool inside = false, chain_tainted = false;
  for (ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    const bool ordered = is_ordered(node.op);
    if (id == from) {
      inside = true;
      chain_tainted = ordered;
      continue;
    }
    if (!inside) continue;
    bool direct = false, through = ordered && chain_tainted;
    for (ir::ValueId input : node.inputs) {
      const ir::NodeId producer = graph.value(input).producer;
      if (producer == ir::kNoNode) continue;
      if (producer == from) direct = true;
      if (tainted[static_cast<size_t>(producer)]) through = true;
    }
    if (id == to) return through;
    tainted[static_cast<size_t>(id)] = direct || through;
    if (ordered) chain_tainted = direct || through;
  }
  return true;  // `to` is not behind `from`
}

void note_fused(ir::Node& node, const ir::Node& other) {
  if (node.fused.empty() && !node.name.empty()) node.fused.push_back(node.name);
  if (other.fused.empty()) {
    if (!other.name.empty()) node.fused.push_back(other.name);
  } else {
    node.fused.insert(node.fused.end(), other.fused.begin(), other.fused.end());
  }
}

}  // namespace ramjet::compiler

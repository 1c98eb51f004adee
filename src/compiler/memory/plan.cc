#include "compiler/memory/plan.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace ramjet::compiler {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool meet(const LiveRange& a, const LiveRange& b) { return a.first <= b.last && b.first <= a.last; }

/// Values that share memory: the value whose memory it is, and the output they become, if any.
struct Sharing {
  std::vector<ir::ValueId> root;  // by ValueId
  std::vector<int32_t> output;    // by root; -1: none
  std::vector<bool> view;         // by NodeId
};

Sharing share_reshapes(const ir::Graph& graph) {
  Sharing sharing;
  sharing.root.resize(graph.values.size());
  std::iota(sharing.root.begin(), sharing.root.end(), 0);
  sharing.output.assign(graph.values.size(), -1);
  sharing.view.assign(graph.nodes.size(), false);
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    sharing.output[static_cast<size_t>(graph.outputs[i].value)] = static_cast<int32_t>(i);
  }
  for (ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    if (node.op != OpKind::kReshape) continue;
    const ir::ValueId root = sharing.root[static_cast<size_t>(node.inputs[0])];
    const size_t result = static_cast<size_t>(node.outputs[0]);
    int32_t& root_output = sharing.output[static_cast<size_t>(root)];
    if (sharing.output[result] >= 0) {
      const bool bound = graph.value(root).kind != ir::Value::Kind::kResult;
      if (bound || root_output >= 0) continue;  // a copy is needed
      root_output = sharing.output[result];
    }
    sharing.root[result] = root;
    sharing.view[static_cast<size_t>(id)] = true;
  }
  return sharing;
}

class Planner {
 public:
  explicit Planner(const ir::Graph& graph) : graph_(graph), sharing_(share_reshapes(graph)) {
    plan_.places.resize(graph.values.size());
    plan_.is_view = sharing_.view;
  }

  MemoryPlan run(const std::map<ir::NodeId, uint64_t>& workspace_bytes) {
    place_bound_values();
    const auto& order = graph_.order();
    for (size_t at = 0; at < order.size(); ++at) {
      const ir::Node& node = graph_.node(order[at]);
      if (sharing_.view[static_cast<size_t>(order[at])]) continue;
      for (ir::ValueId input : node.inputs) use(input, static_cast<int64_t>(at));
      for (ir::ValueId output : node.outputs) use(output, static_cast<int64_t>(at));
      if (auto it = workspace_bytes.find(order[at]); it != workspace_bytes.end()) {
        plan_.workspaces[order[at]] = add_slot(it->second, static_cast<int64_t>(at));
      }
    }
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      plan_.places[i] = plan_.places[static_cast<size_t>(sharing_.root[i])];
    }
    const Packing packing = pack_ranges(plan_.ranges);
    for (size_t i = 0; i < plan_.ranges.size(); ++i) {
      plan_.slots.push_back({packing.offsets[i], plan_.ranges[i].bytes});
    }
    plan_.arena_bytes = packing.arena_bytes;
    return std::move(plan_);
  }

 private:
  void place_bound_values() {
    int32_t inputs = 0;
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const ir::Value& value = graph_.values[i];
      if (value.kind == ir::Value::Kind::kInput) {
        plan_.places[i] = {engine::Space::kInput, inputs++};
      } else if (value.kind == ir::Value::Kind::kWeight) {
        plan_.places[i] = {engine::Space::kWeight, static_cast<int32_t>(i)};
      } else if (sharing_.output[i] >= 0) {
        plan_.places[i] = {engine::Space::kOutput, sharing_.output[i]};
      }
    }
  }

  int32_t add_slot(uint64_t bytes, int64_t at) {
    plan_.ranges.push_back({at, at, aligned(bytes)});
    return static_cast<int32_t>(plan_.ranges.size()) - 1;
  }

  void use(ir::ValueId id, int64_t at) {
    const ir::ValueId root = sharing_.root[static_cast<size_t>(id)];
    MemoryPlan::Place& place = plan_.places[static_cast<size_t>(root)];
    if (place.space != engine::Space::kArena) return;
    if (place.index < 0) {
      place.index = add_slot(max_bytes(graph_.value(root).type, graph_.symbols), at);
    }
    plan_.ranges[static_cast<size_t>(place.index)].last = at;
  }

  const ir::Graph& graph_;
  Sharing sharing_;
  MemoryPlan plan_;
};

}  // namespace

uint64_t max_bytes(const TensorType& type, std::span<const Symbol> symbols) {
  uint64_t bytes = static_cast<uint64_t>(dtype_bytes(type.dtype));
  for (const Dim& dim : type.dims) {
    const int64_t extent =
        dim.fixed() ? dim.offset
                    : dim.factor * symbols[static_cast<size_t>(dim.symbol)].max + dim.offset;
    bytes *= static_cast<uint64_t>(extent);
  }
  return bytes;
}

Packing pack_ranges(std::span<const LiveRange> ranges) {
  std::vector<size_t> by_size(ranges.size());
  std::iota(by_size.begin(), by_size.end(), 0);
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return ranges[a].bytes > ranges[b].bytes; });
  Packing packing;
  packing.offsets.resize(ranges.size());
  std::vector<size_t> placed;  // ascending offset
  for (size_t i : by_size) {
    const uint64_t bytes = aligned(ranges[i].bytes);
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    for (size_t other : placed) {
      if (!meet(ranges[i], ranges[other])) continue;
      const uint64_t start = packing.offsets[other];
      if (start >= end + bytes && start - end < best_gap) best = end, best_gap = start - end;
      end = std::max(end, start + aligned(ranges[other].bytes));
    }
    packing.offsets[i] = best == UINT64_MAX ? end : best;
    packing.arena_bytes = std::max(packing.arena_bytes, packing.offsets[i] + bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), i, [&](size_t a, size_t b) {
      return packing.offsets[a] < packing.offsets[b];
    });
    placed.insert(at, i);
  }
  return packing;
}

MemoryPlan plan_memory(const ir::Graph& graph,
                       const std::map<ir::NodeId, uint64_t>& workspace_bytes) {
  return Planner(graph).run(workspace_bytes);
}

}  // namespace ramjet::compiler

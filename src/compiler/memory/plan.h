// The memory plan: where every tensor of a program lives.
//
// Values live from the node that makes them to their last user; workspaces while their node runs.
// Slots whose lifetimes meet do not overlap. Inputs, outputs and weights are not in the arena. A
// reshape whose result can share its operand's memory becomes a view, and its node disappears.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "engine/manifest.h"
#include "ir/graph.h"

namespace ramjet::compiler {

/// An interval of the program (positions in its order, both included) and its size.
struct LiveRange {
  int64_t first = 0;
  int64_t last = 0;
  uint64_t bytes = 0;
};

/// Offsets of the ranges (64-aligned) in an arena of the returned size: largest first, each into
/// the smallest gap that holds it.
struct Packing {
  std::vector<uint64_t> offsets;
  uint64_t arena_bytes = 0;
};
Packing pack_ranges(std::span<const LiveRange> ranges);

struct MemoryPlan {
  struct Place {
    engine::Space space = engine::Space::kArena;
    int32_t index = -1;  // weights: the ValueId; -1: never used
  };
  std::vector<Place> places;  // by ValueId
  std::vector<engine::ArenaSlot> slots;
  std::vector<LiveRange> ranges;             // of the slots
  std::map<ir::NodeId, int32_t> workspaces;  // slot
  std::vector<bool> is_view;                 // by NodeId: reshapes that need no kernel
  uint64_t arena_bytes = 0;
};

/// `workspace_bytes` by node; nodes that need none are absent.
MemoryPlan plan_memory(const ir::Graph& graph,
                       const std::map<ir::NodeId, uint64_t>& workspace_bytes);

/// Bytes with every symbol at its maximum.
uint64_t max_bytes(const TensorType& type, std::span<const Symbol> symbols);

}  // namespace ramjet::compiler

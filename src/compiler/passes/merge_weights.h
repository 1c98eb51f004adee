// Merging the weights of matmuls that read the same input: shared by fuse_qkv and fuse_gated.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace ramjet::compiler {

/// True if the matmuls have one `a` (and its scales), nothing fused yet, and uncombined weights of
/// one kind.
bool can_merge_weights(const ir::Graph& graph, std::span<const ir::NodeId> matmuls);

/// Adds the combined weight (and its scales) and returns the operands after a, b first. `label` is
/// the last part of its name: "layers.0.mlp.gate_up.weight".
std::vector<ir::ValueId> merge_weight_operands(ir::Graph& graph,
                                               std::span<const ir::NodeId> matmuls,
                                               ir::WeightRecipe::Combine combine,
                                               std::string_view label);

/// Combines vectors (biases) likewise.
ir::ValueId merge_weights(ir::Graph& graph, std::span<const ir::ValueId> weights,
                          ir::WeightRecipe::Combine combine, std::string_view label);

}  // namespace ramjet::compiler

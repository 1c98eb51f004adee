// What passes share to rewrite graphs: order, dependence, and the folding of pointwise nodes into
// their neighbours.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace ramjet::compiler {

/// Reads or writes the KV cache: kept in program order among its like.
bool is_ordered(OpKind op);

/// Restores a valid program order after nodes moved or took over results: the nearest to the
/// present one that is topological and keeps ordered ops in order.
void restore_order(ir::Graph& graph);

/// Moves `node` to where `place` is; `place` itself stays behind it.
void move_before(ir::Graph& graph, ir::NodeId node, ir::NodeId place);

/// True if `to` depends on `from` by a path that has another node in it: fusing both would tear
/// that node between them.
bool has_indirect_path(const ir::Graph& graph, ir::NodeId from, ir::NodeId to);

/// Adds the names of `other` (its own, and those it had replaced) to what `node` replaces.
void note_fused(ir::Node& node, const ir::Node& other);

/// Index of the first operand after a, b and their scales.
size_t first_fused_operand(const MatmulDesc& desc);

/// Folds the pointwise node `consumer` of a result of `matmul` into its epilogue. False if its
/// shape, the order of the program or the size of the program forbids it.
bool fold_into_epilogue(ir::Graph& graph, ir::NodeId matmul, ir::NodeId consumer);
/// Folds the pointwise node `producer`, used by `matmul` alone, into its prologue and epilogue.
bool fold_into_operands(ir::Graph& graph, ir::NodeId matmul, ir::NodeId producer);
/// Folds constants, identities and repetitions within one node's program.
bool simplify_pointwise(ir::Graph& graph, ir::NodeId node);
/// Folds one pointwise node into another that uses it; the merged one is `consumer`.
bool merge_pointwise(ir::Graph& graph, ir::NodeId producer, ir::NodeId consumer);

}  // namespace ramjet::compiler

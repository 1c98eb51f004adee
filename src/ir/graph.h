// Graph: a static single assignment list of ops over typed values with symbolic extents.
//
// Nodes are kept in program order, which is an execution order; side effects (the KV cache) are
// ordered by it. Values and nodes are named by stable ids; erased nodes leave a gap.
// Not thread-safe; a value type in spirit (clone() copies).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "op/descriptors.h"
#include "op/dim.h"
#include "op/op_kind.h"

namespace ramjet::ir {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr ValueId kNoValue = -1;
inline constexpr NodeId kNoNode = -1;

/// Some rows of a source: `run` of them, `stride` rows apart, until there are `count`.
struct RowSelection {
  int64_t first = 0;
  int64_t count = 0;  // 0: all of the source
  int64_t run = 0;    // 0: one after another
  int64_t stride = 0;
  bool operator==(const RowSelection&) const = default;
  bool all() const { return count == 0; }
  int64_t at(int64_t row) const {
    return run == 0 ? first + row : first + row / run * stride + row % run;
  }
};

/// How the bytes of a weight value come from named tensors of the checkpoint. The value's type is
/// the logical one ([N, K] for a matmul's b) in the stored dtype.
struct WeightRecipe {
  enum class Combine : uint8_t {
    kNone,
    kStack,       // concatenate along rows: q, k, v
    kInterleave,  // alternate tiles of 16 rows (the last as many as are left): gate, up
  };
  enum class Part : uint8_t { kValues, kScales };  // of a quantized weight

  std::vector<std::string> sources;  // one, or the parts to combine, in order
  std::vector<RowSelection> rows;    // of each source, once transposed; empty: all of all
  Combine combine = Combine::kNone;
  /// Not 0: a weight [E, ..] of as many experts, each made as the other fields say. Sources are
  /// tensors [E, ..] of all of them, or one after the other each expert's own; `rows` are those of
  /// one expert.
  int64_t experts = 0;
  bool transpose = false;  // the source is [K, N]
  WeightQuant quant = WeightQuant::kNone;
  Part part = Part::kValues;
  std::string layout = "row_major";
  bool operator==(const WeightRecipe&) const = default;
};

struct Value {
  enum class Kind : uint8_t { kInput, kWeight, kResult };
  Kind kind = Kind::kResult;
  std::string name;  // unique; printed after '%'
  TensorType type;
  NodeId producer = kNoNode;
  WeightRecipe recipe;  // kWeight
};

struct Node {
  OpKind op = OpKind::kPointwise;
  std::string name;  // a label: "layers.0.mlp.down"
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  OpAttrs attrs;
  std::vector<std::string> fused;  // names of the nodes this one replaced
  std::string tactic;              // chosen by the tactics pass
  bool erased = false;
};

struct GraphOutput {
  std::string name;
  ValueId value = kNoValue;
};

class Graph {
 public:
  std::string name = "main";
  std::vector<Symbol> symbols;
  std::vector<Value> values;
  std::vector<Node> nodes;  // storage; order() is the program
  std::vector<GraphOutput> outputs;

  int add_symbol(Symbol symbol);  // an existing one of that name is returned
  std::optional<int> find_symbol(std::string_view name) const;
  ValueId add_input(std::string name, TensorType type);
  ValueId add_weight(std::string name, TensorType type, WeightRecipe recipe);
  /// Appends a node whose results have the given types; names are made unique.
  NodeId add_node(OpKind op, std::vector<ValueId> inputs, std::vector<TensorType> results,
                  OpAttrs attrs, std::string name);
  /// As add_node, for whoever names the results: one name a result.
  NodeId append_node(Node node, std::vector<std::string> names, std::vector<TensorType> results);
  /// As add_node, but before `position` in the program order.
  NodeId insert_node_before(NodeId position, Node node, std::vector<TensorType> results);
  void erase_node(NodeId node);
  void replace_uses(ValueId from, ValueId to);

  const std::vector<NodeId>& order() const { return order_; }
  void set_order(std::vector<NodeId> order) { order_ = std::move(order); }
  /// Users of each value, in program order, outputs of the graph not counted.
  std::vector<std::vector<NodeId>> users() const;
  bool is_output(ValueId value) const;
  ValueId result(NodeId node, int index = 0) const {
    return nodes[static_cast<size_t>(node)].outputs[static_cast<size_t>(index)];
  }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Node& node(NodeId id) { return nodes[static_cast<size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes[static_cast<size_t>(id)]; }

 private:
  std::string unique_name(std::string name);
  ValueId add_value(Value value);
  NodeId store_node(Node node, std::vector<std::string> names, std::vector<TensorType> results);
  std::vector<NodeId> order_;
  std::map<std::string, int> names_;
};

/// Limits of a graph, so that hostile text cannot ask for the impossible.
inline constexpr int64_t kMaxExtent = int64_t{1} << 40;
inline constexpr int64_t kMaxTensorBytes = int64_t{1} << 46;

/// Operands defined before use, arities, dtypes and shapes of every op, names unique.
Status verify(const Graph& graph);
/// The text form and its parser; parse(print(g)) prints the same.
std::string print(const Graph& graph);
Result<Graph> parse(std::string_view text);

}  // namespace ramjet::ir

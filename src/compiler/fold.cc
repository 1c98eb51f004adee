// Folding of pointwise nodes into matmuls and into each other.
#include <algorithm>
#include <map>
#include <optional>

#include "compiler/program_builder.h"
#include "compiler/rewrite.h"
#include "ir/infer.h"

namespace ramjet::compiler {
namespace {

using Expr = ProgramBuilder::Expr;

const PointwiseProgram& program_of(const ir::Node& node) {
  return std::get<PointwiseDesc>(node.attrs).program;
}

std::vector<Dim> dims_of(const ir::Graph& graph, const ir::Node& node) {
  return graph.value(node.outputs[0]).type.dims;
}

/// Expressions of values: those a folded node makes, inputs for all others.
class Scope {
 public:
  explicit Scope(ProgramBuilder& builder) : builder_(builder) {}
  Expr of(ir::ValueId value) {
    const auto it = made_.find(value);
    return it != made_.end() ? it->second : builder_.input(value);
  }
  std::vector<Expr> of(std::span<const ir::ValueId> values) {
    std::vector<Expr> exprs;
    for (ir::ValueId value : values) exprs.push_back(of(value));
    return exprs;
  }
  void define(std::span<const ir::ValueId> values, std::span<const Expr> exprs) {
    for (size_t i = 0; i < values.size(); ++i) made_[values[i]] = exprs[i];
  }
  void run(const ir::Node& node) {
    define(node.outputs, builder_.apply(program_of(node), of(node.inputs)));
  }

 private:
  ProgramBuilder& builder_;
  std::map<ir::ValueId, Expr> made_;
};

/// What the operands broadcast to: less than before if a simplification dropped one.
std::vector<Dim> common_dims(const ir::Graph& graph, std::span<const ir::ValueId> values) {
  std::vector<Dim> dims;
  for (ir::ValueId value : values) {
    if (auto wider = ir::broadcast_dims(dims, graph.value(value).type.dims)) dims = *wider;
  }
  return dims;
}

/// Beyond this many operands beside a (or the accumulators) the fast kernels do not follow.
constexpr int kMaxFusedOperands = 16;

bool too_large(const PointwiseProgram& program) {
  return program.num_registers() > kMaxPointwiseRegisters;
}
bool too_large_for_matmul(const PointwiseProgram& program) {
  return too_large(program) || program.num_inputs > kMaxFusedOperands + 1;
}

/// Results of `node` that somebody other than `except` needs.
std::vector<ir::ValueId> needed_results(const ir::Graph& graph, const ir::Node& node,
                                        ir::NodeId except) {
  const auto users = graph.users();
  std::vector<ir::ValueId> needed;
  for (ir::ValueId value : node.outputs) {
    const auto& list = users[static_cast<size_t>(value)];
    const bool elsewhere =
        std::any_of(list.begin(), list.end(), [&](ir::NodeId user) { return user != except; });
    if (elsewhere || graph.is_output(value)) needed.push_back(value);
  }
  return needed;
}

void take_results(ir::Graph& graph, ir::NodeId id, std::vector<ir::ValueId> results) {
  for (ir::ValueId value : results) graph.value(value).producer = id;
  graph.node(id).outputs = std::move(results);
}

/// The accumulators of a matmul as keys that no ValueId is.
std::vector<int64_t> accumulator_keys(const MatmulDesc& desc) {
  std::vector<int64_t> keys;
  for (int64_t i = 0; i < desc.accumulators; ++i) keys.push_back(-1 - i);
  return keys;
}

std::span<const ir::ValueId> prologue_operands(const ir::Node& node, const MatmulDesc& desc) {
  return std::span(node.inputs)
      .subspan(first_fused_operand(desc), static_cast<size_t>(desc.prologue_operands));
}
std::span<const ir::ValueId> epilogue_operands(const ir::Node& node, const MatmulDesc& desc) {
  return std::span(node.inputs)
      .subspan(first_fused_operand(desc) + static_cast<size_t>(desc.prologue_operands));
}

/// Defines the results of a matmul in terms of its accumulators and epilogue operands.
void run_epilogue(const ir::Node& node, const MatmulDesc& desc, ProgramBuilder& builder,
                  Scope& scope) {
  std::vector<Expr> operands;
  for (int64_t key : accumulator_keys(desc)) operands.push_back(builder.input(key));
  for (ir::ValueId value : epilogue_operands(node, desc)) operands.push_back(scope.of(value));
  if (desc.epilogue.empty()) {
    scope.define(node.outputs, operands);
  } else {
    scope.define(node.outputs, builder.apply(desc.epilogue, operands));
  }
}

/// Replaces the epilogue by one of the given results.
bool set_epilogue(ir::Node& node, const ProgramBuilder::Built& built) {
  MatmulDesc& desc = std::get<MatmulDesc>(node.attrs);
  if (too_large_for_matmul(built.program)) return false;
  const size_t keep = first_fused_operand(desc) + static_cast<size_t>(desc.prologue_operands);
  node.inputs.resize(keep);
  for (size_t i = static_cast<size_t>(desc.accumulators); i < built.inputs.size(); ++i) {
    node.inputs.push_back(static_cast<ir::ValueId>(built.inputs[i]));
  }
  const bool plain = desc.accumulators == 1 && built.program.num_registers() == 1 &&
                     built.program.outputs.size() == 1;
  desc.epilogue = plain ? PointwiseProgram{} : built.program;
  return true;
}

/// The prologue with `producer` expanded, or nullopt if no operand can take a's place.
struct NewPrologue {
  ProgramBuilder::Built built;
  bool changed = false;
};
std::optional<NewPrologue> expand_prologue(const ir::Graph& graph, const ir::Node& node,
                                           const ir::Node& producer) {
  const MatmulDesc& desc = std::get<MatmulDesc>(node.attrs);
  const auto makes = [&](ir::ValueId value) {
    return std::find(producer.outputs.begin(), producer.outputs.end(), value) !=
           producer.outputs.end();
  };
  const auto operands = prologue_operands(node, desc);
  if (!makes(node.inputs[0]) && std::none_of(operands.begin(), operands.end(), makes)) {
    return NewPrologue{};
  }
  ProgramBuilder builder;
  Scope scope(builder);
  scope.run(producer);
  std::vector<Expr> exprs{scope.of(node.inputs[0])};
  for (ir::ValueId value : operands) exprs.push_back(scope.of(value));
  std::vector<Expr> outputs{exprs[0]};
  if (!desc.prologue.empty()) outputs = builder.apply(desc.prologue, exprs);

  // Register 0 is an element of a: an operand of a's shape and dtype, a computed one if possible.
  const TensorType& wanted = graph.value(node.inputs[0]).type;
  int64_t chosen = ir::kNoValue;
  for (int64_t key : builder.finish(outputs).inputs) {
    const ir::Value& value = graph.value(static_cast<ir::ValueId>(key));
    if (value.type != wanted) continue;
    if (chosen == ir::kNoValue ||
        (value.kind != ir::Value::Kind::kWeight &&
         graph.value(static_cast<ir::ValueId>(chosen)).kind == ir::Value::Kind::kWeight)) {
      chosen = key;
    }
  }
  if (chosen == ir::kNoValue) return std::nullopt;
  const int64_t reserved[] = {chosen};
  return NewPrologue{builder.finish(outputs, reserved), true};
}

}  // namespace

bool fold_into_epilogue(ir::Graph& graph, ir::NodeId matmul, ir::NodeId consumer) {
  ir::Node& node = graph.node(matmul);
  const ir::Node& user = graph.node(consumer);
  if (dims_of(graph, node) != dims_of(graph, user)) return false;
  if (has_indirect_path(graph, matmul, consumer)) return false;

  const MatmulDesc& desc = std::get<MatmulDesc>(node.attrs);
  ProgramBuilder builder;
  Scope scope(builder);
  run_epilogue(node, desc, builder, scope);
  scope.run(user);
  std::vector<ir::ValueId> results = needed_results(graph, node, consumer);
  results.insert(results.end(), user.outputs.begin(), user.outputs.end());
  if (!set_epilogue(node, builder.finish(scope.of(results), accumulator_keys(desc)))) return false;

  note_fused(node, user);
  move_before(graph, matmul, consumer);
  graph.erase_node(consumer);
  take_results(graph, matmul, std::move(results));
  restore_order(graph);
  return true;
}

bool fold_into_operands(ir::Graph& graph, ir::NodeId matmul, ir::NodeId producer) {
  const ir::Node& folded = graph.node(producer);
  if (!needed_results(graph, folded, matmul).empty()) return false;
  ir::Node node = graph.node(matmul);
  const auto prologue = expand_prologue(graph, node, folded);
  if (!prologue || too_large_for_matmul(prologue->built.program)) return false;

  MatmulDesc& desc = std::get<MatmulDesc>(node.attrs);
  ProgramBuilder builder;
  Scope scope(builder);
  scope.run(folded);
  run_epilogue(node, desc, builder, scope);
  const auto epilogue = builder.finish(scope.of(node.outputs), accumulator_keys(desc));
  if (prologue->changed) {
    const auto& inputs = prologue->built.inputs;
    std::vector<ir::ValueId> operands{static_cast<ir::ValueId>(inputs[0]), node.inputs[1]};
    const auto scales = node.inputs.begin() + 2;
    operands.insert(operands.end(), scales,
                    node.inputs.begin() + static_cast<ptrdiff_t>(first_fused_operand(desc)));
    operands.insert(operands.end(), inputs.begin() + 1, inputs.end());
    desc.prologue_operands = static_cast<int64_t>(inputs.size()) - 1;
    desc.prologue = prologue->built.program;
    if (desc.prologue.num_registers() == 1) desc.prologue = {};  // folding left a itself
    node.inputs = std::move(operands);
  }
  if (!set_epilogue(node, epilogue)) return false;
  note_fused(node, folded);
  graph.node(matmul) = std::move(node);
  graph.erase_node(producer);
  return true;
}

bool simplify_pointwise(ir::Graph& graph, ir::NodeId id) {
  ir::Node& node = graph.node(id);
  ProgramBuilder builder;
  Scope scope(builder);
  scope.run(node);
  const auto built = builder.finish(scope.of(node.outputs));
  const std::vector<ir::ValueId> inputs(built.inputs.begin(), built.inputs.end());
  if (built.program == program_of(node)) return false;
  if (common_dims(graph, inputs) != dims_of(graph, node)) return false;
  node.attrs = PointwiseDesc{built.program};
  node.inputs = inputs;
  return true;
}

bool merge_pointwise(ir::Graph& graph, ir::NodeId producer, ir::NodeId consumer) {
  const ir::Node& folded = graph.node(producer);
  ir::Node& node = graph.node(consumer);
  std::vector<ir::ValueId> results = needed_results(graph, folded, consumer);
  if (!results.empty()) {
    if (dims_of(graph, folded) != dims_of(graph, node)) return false;
    if (has_indirect_path(graph, producer, consumer)) return false;
  }
  ProgramBuilder builder;
  Scope scope(builder);
  scope.run(folded);
  scope.run(node);
  results.insert(results.end(), node.outputs.begin(), node.outputs.end());
  auto built = builder.finish(scope.of(results));
  std::vector<ir::ValueId> inputs(built.inputs.begin(), built.inputs.end());
  if (too_large(built.program) || common_dims(graph, inputs) != dims_of(graph, node)) return false;
  node.inputs = std::move(inputs);
  node.attrs = PointwiseDesc{std::move(built.program)};
  const ir::Node copy = folded;
  note_fused(node, copy);
  graph.erase_node(producer);
  take_results(graph, consumer, std::move(results));
  restore_order(graph);
  return true;
}

}  // namespace ramjet::compiler

#include "compiler/program_builder.h"

#include <bit>

namespace ramjet::compiler {

ProgramBuilder::Expr ProgramBuilder::add(Node node) {
  nodes_.push_back(node);
  return static_cast<Expr>(nodes_.size()) - 1;
}

ProgramBuilder::Expr ProgramBuilder::input(int64_t key) {
  if (auto it = inputs_.find(key); it != inputs_.end()) return it->second;
  const Expr expr = add({.is_input = true, .key = key});
  inputs_.emplace(key, expr);
  return expr;
}

std::optional<float> ProgramBuilder::constant(Expr expr) const {
  if (expr < 0) return std::nullopt;
  const Node& node = nodes_[static_cast<size_t>(expr)];
  if (node.is_input || node.instr.op != PointwiseOp::kConst) return std::nullopt;
  return node.instr.value;
}

/// x + 0, x - 0, x * 1, x / 1 are x.
std::optional<ProgramBuilder::Expr> ProgramBuilder::simplified(const PointwiseInstr& instr) const {
  const auto a = constant(instr.a), b = constant(instr.b);
  switch (instr.op) {
    case PointwiseOp::kAdd:
      if (b == 0.0f) return instr.a;
      if (a == 0.0f) return instr.b;
      break;
    case PointwiseOp::kMul:
      if (b == 1.0f) return instr.a;
      if (a == 1.0f) return instr.b;
      break;
    case PointwiseOp::kSub:
      if (b == 0.0f) return instr.a;
      break;
    case PointwiseOp::kDiv:
      if (b == 1.0f) return instr.a;
      break;
    default: break;
  }
  return std::nullopt;
}

ProgramBuilder::Expr ProgramBuilder::emit(PointwiseInstr instr) {
  const int arity = pointwise_arity(instr.op);
  const auto a = constant(instr.a), b = constant(instr.b), c = constant(instr.c);
  if (arity > 0 && a && (arity < 2 || b) && (arity < 3 || c)) {
    const float value = pointwise_scalar(instr.op, *a, b.value_or(0), c.value_or(0));
    instr = {.op = PointwiseOp::kConst, .value = value};
  }
  if (const auto same = simplified(instr)) return *same;
  const std::tuple key{static_cast<int>(instr.op), instr.a, instr.b, instr.c,
                       std::bit_cast<uint32_t>(instr.value)};
  if (auto it = known_.find(key); it != known_.end()) return it->second;
  const Expr expr = add({.instr = instr});
  known_.emplace(key, expr);
  return expr;
}

std::vector<ProgramBuilder::Expr> ProgramBuilder::apply(const PointwiseProgram& program,
                                                        std::span<const Expr> operands) {
  std::vector<Expr> registers(operands.begin(), operands.end());
  auto at = [&](int16_t reg) {
    return reg < 0 ? int16_t{-1} : static_cast<int16_t>(registers[static_cast<size_t>(reg)]);
  };
  for (PointwiseInstr instr : program.instrs) {
    instr.a = at(instr.a), instr.b = at(instr.b), instr.c = at(instr.c);
    registers.push_back(emit(instr));
  }
  std::vector<Expr> outputs;
  for (int16_t reg : program.outputs) outputs.push_back(registers[static_cast<size_t>(reg)]);
  return outputs;
}

ProgramBuilder::Built ProgramBuilder::finish(std::span<const Expr> outputs,
                                             std::span<const int64_t> reserved) const {
  std::vector<bool> needed(nodes_.size());
  for (Expr expr : outputs) needed[static_cast<size_t>(expr)] = true;
  for (size_t i = nodes_.size(); i-- > 0;) {
    if (!needed[i] || nodes_[i].is_input) continue;
    for (int16_t operand : {nodes_[i].instr.a, nodes_[i].instr.b, nodes_[i].instr.c}) {
      if (operand >= 0) needed[static_cast<size_t>(operand)] = true;
    }
  }
  Built built;
  std::vector<int16_t> registers(nodes_.size(), -1);
  auto add_input = [&](size_t i) {
    registers[i] = static_cast<int16_t>(built.inputs.size());
    built.inputs.push_back(nodes_[i].key);
  };
  for (int64_t key : reserved) {
    if (auto it = inputs_.find(key); it != inputs_.end()) {
      add_input(static_cast<size_t>(it->second));
    } else {
      built.inputs.push_back(key);
    }
  }
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (needed[i] && nodes_[i].is_input && registers[i] < 0) add_input(i);
  }
  built.program.num_inputs = static_cast<int>(built.inputs.size());
  auto at = [&](int16_t expr) {
    return expr < 0 ? int16_t{-1} : registers[static_cast<size_t>(expr)];
  };
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!needed[i] || nodes_[i].is_input) continue;
    PointwiseInstr instr = nodes_[i].instr;
    instr.a = at(instr.a), instr.b = at(instr.b), instr.c = at(instr.c);
    registers[i] = static_cast<int16_t>(built.program.num_registers());
    built.program.instrs.push_back(instr);
  }
  for (Expr expr : outputs) built.program.outputs.push_back(at(static_cast<int16_t>(expr)));
  return built;
}

}  // namespace ramjet::compiler

// ProgramBuilder: composes pointwise programs into one, folding constants, identities and common
// subexpressions on the way. All arithmetic is f32, so composing drops only the roundings of
// stores in between; explicit casts are instructions and stay.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "op/pointwise_program.h"

namespace ramjet::compiler {

class ProgramBuilder {
 public:
  using Expr = int;  // index of an expression

  /// An operand by the caller's key; the same key, the same expression.
  Expr input(int64_t key);
  /// The outputs of `program` over the given operands.
  std::vector<Expr> apply(const PointwiseProgram& program, std::span<const Expr> operands);

  struct Built {
    PointwiseProgram program;
    std::vector<int64_t> inputs;  // keys, by register
  };
  /// The program of `outputs` without what they do not need. `reserved` keys take the first
  /// registers whether needed or not; the other operands follow in order of first input().
  Built finish(std::span<const Expr> outputs, std::span<const int64_t> reserved = {}) const;

 private:
  struct Node {
    bool is_input = false;
    int64_t key = 0;
    PointwiseInstr instr;  // operands are expressions
  };
  Expr emit(PointwiseInstr instr);
  std::optional<Expr> simplified(const PointwiseInstr& instr) const;
  std::optional<float> constant(Expr expr) const;
  Expr add(Node node);

  std::vector<Node> nodes_;
  std::map<int64_t, Expr> inputs_;
  std::map<std::tuple<int, int, int, int, uint32_t>, Expr> known_;
};

}  // namespace ramjet::compiler

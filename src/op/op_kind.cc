#include "op/op_kind.h"

#include <array>

namespace ramjet {

std::string_view op_name(OpKind op) {
  switch (op) {
#define X(name, text) \
  case OpKind::k##name: return text;
    RAMJET_OPS(X)
#undef X
  }
  return "?";
}

std::optional<OpKind> parse_op(std::string_view name) {
#define X(op, text) \
  if (name == text) return OpKind::k##op;
  RAMJET_OPS(X)
#undef X
  return std::nullopt;
}

bool has_layout(OpKind op, size_t operand) {
  switch (op) {
    case OpKind::kMatmul:
    case OpKind::kConv:
    case OpKind::kEmbedding: return operand == 1;
    case OpKind::kMoe: return operand == 1 || operand == 2;
    default: return false;
  }
}

bool has_side_effect(OpKind op) {
  return op == OpKind::kKvAppend || op == OpKind::kQkvRopeAppend || op == OpKind::kAllReduce ||
         op == OpKind::kAllGather || op == OpKind::kReduceScatter || op == OpKind::kSample;
}

}  // namespace ramjet

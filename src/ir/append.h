// Appending ops to a Network: what the functional API and the transformer ops share.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/network.h"

namespace ramjet::ir {

struct AppendOp {
  OpKind op = OpKind::kPointwise;
  std::string_view label;  // for messages and the node's name: "silu"
  OpAttrs attrs;
  std::vector<TensorType> stated;     // results, for reshape
  std::optional<DType> result_dtype;  // where it is not the first operand's
};

/// Appends the op. On misuse the network fails and the results are invalid tensors; without any
/// network to blame they are empty tensors.
std::vector<Tensor> append(std::span<const Tensor> operands, AppendOp op);
Tensor append_one(std::initializer_list<Tensor> operands, AppendOp op);

/// Symbols are identifiers.
inline constexpr std::string_view kSymbolChars =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

/// Marks the network as failed, unless it already is. Returns an invalid tensor of it.
Tensor fail(Network* network, Error error);
const TensorType& type_of(Tensor tensor);
/// Numbers and symbols; new symbols are declared.
Result<std::vector<Dim>> dims_of(Network& network, const std::vector<Extent>& extents);

}  // namespace ramjet::ir

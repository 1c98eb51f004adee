// Shape and dtype rules of every op: one definition for the functional API and the verifier.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "op/descriptors.h"
#include "op/dim.h"
#include "op/op_kind.h"

namespace ramjet::ir {

struct OpCall {
  OpKind op = OpKind::kPointwise;
  const OpAttrs* attrs = nullptr;
  std::span<const TensorType> inputs;
  std::span<const Symbol> symbols;
  /// Results as stated, or empty. reshape takes its extents from them.
  std::span<const TensorType> stated;
};

/// Types of the results. Errors: kInvalidArgument naming the operands at fault (not the op: the
/// caller puts it in front); kUnsupported for ops that this version only names.
Result<std::vector<TensorType>> infer_types(const OpCall& call);

/// Whether result `index`, which follows as `inferred[index]`, may be stored as `stated`: some ops
/// store their floats in a float dtype of choice; eight-bit results and their scales are as told.
bool stores_as(OpKind op, std::span<const TensorType> inferred, size_t index, DType stated);
/// f32, f16, bf16: what arithmetic accepts.
bool is_compute_float(DType dtype);

/// The common shape under numpy's rules; nullopt if there is none. Symbols match only themselves.
std::optional<std::vector<Dim>> broadcast_dims(std::span<const Dim> a, std::span<const Dim> b);
/// Whether `from` broadcasts to exactly `to`.
bool broadcasts_to(std::span<const Dim> from, std::span<const Dim> to);
/// Whether two lists of extents hold equally many elements for all values of the symbols.
bool same_elements(std::span<const Dim> a, std::span<const Dim> b);
/// The extent that makes `others` times it equal to `whole`; nullopt if none does for all symbols.
std::optional<Dim> missing_extent(std::span<const Dim> whole, std::span<const Dim> others);
/// a + b where that is again an extent.
std::optional<Dim> add_dims(const Dim& a, const Dim& b);

}  // namespace ramjet::ir

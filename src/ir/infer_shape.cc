// Rules of the ops that move, select or reduce elements.
#include <algorithm>

#include "ir/infer_rules.h"

namespace ramjet::ir {
namespace {

/// The least value of an extent over the profile (factors may be negative in principle).
int64_t least(const Dim& dim, std::span<const Symbol> symbols) {
  if (dim.fixed()) return dim.offset;
  const Symbol& symbol = symbols[static_cast<size_t>(dim.symbol)];
  return std::min(dim.factor * symbol.min, dim.factor * symbol.max) + dim.offset;
}

}  // namespace

Types infer_rows(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 2, 2));
  const bool embedding = call.op == OpKind::kEmbedding;
  const size_t rows = embedding ? 0 : 1, table = embedding ? 1 : 0;
  RETURN_IF_ERROR(want_i32(call, rows, embedding ? "ids" : "rows", 1));
  const TensorType& from = call.inputs[table];
  if (from.rank() != 2 || (embedding && !is_compute_float(from.dtype))) {
    return invalid_argument("{} is {}, wants rank 2{}", embedding ? "table" : "x",
                            shown(call, table), embedding ? " of floats" : "");
  }
  return std::vector<TensorType>{{from.dtype, {call.inputs[rows].dims[0], from.dims[1]}}};
}

Types infer_reduce(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  const ReduceDesc& desc = desc_of<ReduceDesc>(call);
  TensorType type = call.inputs[0];
  ASSIGN_OR_RETURN(const size_t axis, axis_of(desc.axis, type));
  if (desc.keep_dim) {
    type.dims[axis] = Dim(1);
  } else {
    type.dims.erase(type.dims.begin() + static_cast<ptrdiff_t>(axis));
  }
  return std::vector<TensorType>{std::move(type)};
}

Types infer_softmax(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  RETURN_IF_ERROR(axis_of(desc_of<AxisDesc>(call).axis, call.inputs[0]));
  return std::vector<TensorType>{call.inputs[0]};
}

Types infer_reshape(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  if (call.stated.size() != 1) return invalid_argument("wants exactly one result");
  if (!same_elements(call.inputs[0].dims, call.stated[0].dims)) {
    return invalid_argument("{} cannot become {}: they hold different numbers of elements",
                            shown(call, 0), type_text(call.stated[0], call.symbols));
  }
  return std::vector<TensorType>{{call.inputs[0].dtype, call.stated[0].dims}};
}

Types infer_transpose(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  const std::vector<int64_t>& permutation = desc_of<TransposeDesc>(call).permutation;
  const TensorType& x = call.inputs[0];
  TensorType type{x.dtype, {}};
  std::vector<bool> seen(x.dims.size());
  for (int64_t axis : permutation) {
    const size_t i = static_cast<size_t>(axis);
    if (axis < 0 || i >= x.dims.size() || seen[i]) break;
    seen[i] = true;
    type.dims.push_back(x.dims[i]);
  }
  if (type.dims.size() != x.dims.size() || permutation.size() != x.dims.size()) {
    return invalid_argument("the permutation is none of the axes of {}", shown(call, 0));
  }
  return std::vector<TensorType>{std::move(type)};
}

Types infer_slice(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  const SliceDesc& desc = desc_of<SliceDesc>(call);
  TensorType type = call.inputs[0];
  ASSIGN_OR_RETURN(const size_t axis, axis_of(desc.axis, type));
  const int64_t extent = least(type.dims[axis], call.symbols);
  if (desc.start < 0 || desc.length < 0 || desc.start > extent ||
      desc.length > extent - desc.start) {
    return invalid_argument("start {} and length {} leave axis {} of {}", desc.start, desc.length,
                            axis, shown(call, 0));
  }
  type.dims[axis] = Dim(desc.length);
  return std::vector<TensorType>{std::move(type)};
}

Types infer_concat(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 256));
  TensorType type = call.inputs[0];
  ASSIGN_OR_RETURN(const size_t axis, axis_of(desc_of<AxisDesc>(call).axis, type));
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    TensorType part = call.inputs[i];
    std::optional<Dim> sum;
    if (part.rank() == type.rank()) sum = add_dims(type.dims[axis], part.dims[axis]);
    if (sum) part.dims[axis] = type.dims[axis];
    if (!sum || part != type) {
      return invalid_argument("part {} does not join {} at axis {}", shown(call, i), shown(call, 0),
                              axis);
    }
    type.dims[axis] = *sum;
  }
  return std::vector<TensorType>{std::move(type)};
}

Types infer_topk(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  const int64_t k = desc_of<TopkDesc>(call).k;
  TensorType type = call.inputs[0];
  if (type.rank() < 1 || k < 1 || k > least(type.dims.back(), call.symbols)) {
    return invalid_argument("k={} is not within the last axis of {}", k, shown(call, 0));
  }
  type.dims.back() = Dim(k);
  return std::vector<TensorType>{type, {DType::kI32, type.dims}};
}

Types infer_conv(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 2, 2));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  const ConvDesc& desc = desc_of<ConvDesc>(call);
  const TensorType &x = call.inputs[0], &w = call.inputs[1];
  const size_t spatial = x.dims.size() < 2 ? 0 : x.dims.size() - 2;
  if (spatial < 1 || spatial > 2 || w.rank() != x.rank() || w.dtype != x.dtype) {
    return invalid_argument("wants x[N, C, L] or [N, C, H, W] and w[O, C/groups, ..], given {}, {}",
                            shown(call, 0), shown(call, 1));
  }
  const bool grouped = desc.groups >= 1 && x.dims[1].fixed() && w.dims[1].fixed() &&
                       w.dims[0].fixed() && w.dims[0].offset % desc.groups == 0 &&
                       x.dims[1].offset / desc.groups == w.dims[1].offset &&
                       x.dims[1].offset % desc.groups == 0;
  if (!grouped) {
    return invalid_argument("x {} and w {} disagree in channels with groups={}", shown(call, 0),
                            shown(call, 1), desc.groups);
  }
  TensorType type{x.dtype, {x.dims[0], w.dims[0]}};
  for (size_t i = 0; i < spatial; ++i) {
    auto at = [&](const std::vector<int64_t>& list, int64_t missing) {
      return list.empty() ? missing : i < list.size() ? list[i] : -1;
    };
    const int64_t stride = at(desc.stride, 1), padding = at(desc.padding, 0);
    const int64_t dilation = at(desc.dilation, 1);
    const Dim extent = x.dims[2 + i], kernel = w.dims[2 + i];
    constexpr int64_t kMost = 1 << 20;
    if (stride < 1 || padding < 0 || dilation < 1 || stride > kMost || padding > kMost ||
        dilation > kMost || !kernel.fixed() || kernel.offset < 1 || kernel.offset > kMost) {
      return invalid_argument("bad stride, padding, dilation or kernel in axis {} of {}", 2 + i,
                              shown(call, 1));
    }
    const int64_t shrink = dilation * (kernel.offset - 1) - 2 * padding;
    if (!extent.fixed() && stride != 1) {
      return invalid_argument("a symbolic axis wants stride 1, x is {}", shown(call, 0));
    }
    Dim result = extent;
    result.offset -= shrink;
    if (extent.fixed() && result.offset > 0) result = Dim((result.offset - 1) / stride + 1);
    if (least(result, call.symbols) < 1) {
      return invalid_argument("the kernel is larger than axis {} of {}", 2 + i, shown(call, 0));
    }
    type.dims.push_back(result);
  }
  return std::vector<TensorType>{std::move(type)};
}

}  // namespace ramjet::ir

// reduce, softmax, topk, norms of any extents, and convolutions.
#include <fmt/core.h>

#include <algorithm>

#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/index_source.h"
#include "kernels/cuda/plan_util.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kThreads = 256;

std::string extent_function(std::string_view name, const Extent& extent) {
  return fmt::format(
      "__device__ __forceinline__ index_t {}_extent(const int* symbols) {{ return {}; }}\n", name,
      extent.text);
}

std::span<const Dim> axes(const TensorType& type, size_t first, size_t last) {
  return std::span(type.dims).subspan(first, last - first);
}

struct AxisExtents {
  Extent outer, axis, inner;
};
AxisExtents extents_around(const TensorType& x, int64_t axis, std::span<const Symbol> symbols) {
  const auto at = static_cast<size_t>(axis < 0 ? axis + x.rank() : axis);
  return {extent_of(axes(x, 0, at), symbols), extent_of(axes(x, at, at + 1), symbols),
          extent_of(axes(x, at + 1, x.dims.size()), symbols)};
}

/// What every kernel here begins with; `x` is its largest operand.
std::string prelude(const TensorType& x, const AxisExtents& extents,
                    std::span<const Symbol> symbols) {
  return "#include \"general.cuh\"\n" + index_type_source(extent_of(x.dims, symbols).most) +
         extent_function("outer", extents.outer) + extent_function("axis", extents.axis) +
         extent_function("inner", extents.inner);
}

/// A grid over as many lines as `lines` may have, `per_block` each.
LaunchExtent line_grid(const Extent& lines, int64_t per_block, const DeviceFacts& facts) {
  const int64_t most = int64_t{facts.multiprocessors} * 16;
  return std::clamp<int64_t>((lines.most + per_block - 1) / per_block, 1, most);
}

}  // namespace

bool reduce_any_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && desc.inputs[0].rank() > 0;
}
bool softmax_any_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && desc.inputs[0].rank() > 0;
}

void plan_axis(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const bool softmax = desc.op == OpKind::kSoftmax;
  const TensorType& x = desc.inputs[0];
  const AxisExtents extents = extents_around(
      x, softmax ? std::get<AxisDesc>(*desc.attrs).axis : std::get<ReduceDesc>(*desc.attrs).axis,
      desc.symbols);
  const bool columns = !extents.inner.fixed || extents.inner.most != 1;
  const int64_t threads = columns || extents.axis.most > 1024 ? kThreads : 32;
  DeviceModule module;
  module.name = fmt::format("{}_{}", op_name(desc.op), type_text(x, desc.symbols));
  module.source = prelude(x, extents, desc.symbols) + "#include \"axis_lines.cuh\"\n";
  define_type(module, "X_T", x.dtype);
  define_type(module, "OUT_T", desc.outputs[0].dtype);
  define(module, "LINE_THREADS", threads);
  define(module, "COLUMNS", columns ? 1 : 0);
  const int64_t widest = std::max(dtype_bytes(x.dtype), dtype_bytes(desc.outputs[0].dtype));
  define(module, "VEC", columns ? 1 : pack_of(extents.axis.divisor, 16 / widest));
  define(module, "KIND",
         softmax ? 4 : static_cast<int64_t>(std::get<ReduceDesc>(*desc.attrs).kind));
  DeviceLaunch& launch = single_launch(plan, std::move(module), "axis_lines", facts);
  const Extent lines = times(extents.outer, extents.inner);
  launch.grid[0] = line_grid(lines, columns ? 32 : kThreads / threads, facts);
  launch.block = kThreads;
  launch.args = {LaunchArg::input(0), LaunchArg::output(0), symbols_arg(desc)};
}

bool topk_any_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && desc.inputs[0].rank() > 0;
}

void plan_topk(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const TensorType& x = desc.inputs[0];
  const AxisExtents extents = extents_around(x, -1, desc.symbols);
  DeviceModule module;
  module.name = fmt::format("topk_{}", type_text(x, desc.symbols));
  module.source = prelude(x, extents, desc.symbols) + "#include \"topk_rows.cuh\"\n";
  define_type(module, "X_T", x.dtype);
  define_type(module, "OUT_T", desc.outputs[0].dtype);
  define(module, "K", std::get<TopkDesc>(*desc.attrs).k);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "topk_rows", facts);
  launch.grid[0] = line_grid(extents.outer, 1, facts);
  launch.block = 1024;
  launch.args = {LaunchArg::input(0), LaunchArg::output(0), LaunchArg::output(1),
                 symbols_arg(desc)};
}

namespace {

bool quantizes(const OpDesc& desc) {
  if (desc.op == OpKind::kQuantize) return true;
  return std::get<NormDesc>(*desc.attrs).quant == ActivationQuant::kFp8Token;
}
bool norm_shape_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && !norm_rows_ok(desc) && desc.inputs[0].rank() > 0;
}

}  // namespace

bool norm_any_ok(const OpDesc& desc) { return norm_shape_ok(desc) && !quantizes(desc); }
bool norm_any_fp8_ok(const OpDesc& desc) { return norm_shape_ok(desc) && quantizes(desc); }

void plan_norm_any(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const TensorType& x = desc.inputs[0];
  const bool normed = desc.op != OpKind::kQuantize, add = desc.op == OpKind::kAddNorm;
  const NormDesc norm = normed ? std::get<NormDesc>(*desc.attrs) : NormDesc{};
  const size_t weight = add ? 2 : 1, out = add ? 1 : 0;
  const bool bias = normed && desc.inputs.size() > weight + 1;
  DeviceModule module;
  module.name = fmt::format("{}_any_{}", op_name(desc.op), type_text(x, desc.symbols));
  module.source =
      prelude(x, extents_around(x, -1, desc.symbols), desc.symbols) + "#include \"norm_any.cuh\"\n";
  define_type(module, "X_T", x.dtype);
  define_type(module, "Y_T", add ? desc.inputs[1].dtype : DType::kF32);
  define_type(module, "WEIGHT_T", normed ? desc.inputs[weight].dtype : DType::kF32);
  define_type(module, "BIAS_T", bias ? desc.inputs[weight + 1].dtype : DType::kF32);
  define_type(module, "SUM_T", add ? desc.outputs[0].dtype : DType::kF32);
  define_type(module, "OUT_T", desc.outputs[out].dtype);
  define(module, "NORM", normed ? (norm.kind == NormKind::kRms ? 1 : 2) : 0);
  define(module, "ADD", add ? 1 : 0);
  define(module, "QUANT", quantizes(desc) ? 1 : 0);
  define(module, "HAS_BIAS", bias ? 1 : 0);
  define(module, "EPS", device_float(norm.eps));
  define(module, "WEIGHT_OFFSET", device_float(norm.weight_offset));
  DeviceLaunch& launch = single_launch(plan, std::move(module), "norm_any", facts);
  launch.grid[0] = line_grid(extents_around(x, -1, desc.symbols).outer, 1, facts);
  launch.block = kThreads;
  // What is absent is never read.
  const auto input = [](bool there, size_t i) {
    return LaunchArg::input(there ? static_cast<int>(i) : 0);
  };
  launch.args = {LaunchArg::input(0),
                 input(add, 1),
                 input(normed, weight),
                 input(bias, weight + 1),
                 LaunchArg::output(0),
                 LaunchArg::output(static_cast<int>(out)),
                 LaunchArg::output(static_cast<int>(quantizes(desc) ? out + 1 : 0)),
                 symbols_arg(desc)};
}

bool conv_any_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const TensorType &x = desc.inputs[0], &w = desc.inputs[1];
  return x.dims[1].fixed() && w.rank() == x.rank() &&
         std::all_of(w.dims.begin(), w.dims.end(), [](const Dim& d) { return d.fixed(); });
}

void plan_conv(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const auto& conv = std::get<ConvDesc>(*desc.attrs);
  const TensorType &x = desc.inputs[0], &w = desc.inputs[1], &out = desc.outputs[0];
  const bool flat = x.rank() == 3, bias = desc.inputs.size() > 2;
  const auto extent = [&](const TensorType& type, size_t first, size_t count) {
    return extent_of(axes(type, first, first + count), desc.symbols);
  };
  DeviceModule module;
  module.name = fmt::format("conv_{}", type_text(out, desc.symbols));
  module.source = "#include \"general.cuh\"\n";
  module.source += index_type_source(
      std::max(extent_of(x.dims, desc.symbols).most, extent_of(out.dims, desc.symbols).most));
  module.source += extent_function("batch", extent(x, 0, 1));
  module.source += extent_function("height", extent(x, 2, flat ? 0 : 1));
  module.source += extent_function("width", extent(x, flat ? 2 : 3, 1));
  module.source += extent_function("out_height", extent(out, 2, flat ? 0 : 1));
  module.source += extent_function("out_width", extent(out, flat ? 2 : 3, 1));
  module.source += "#include \"conv_any.cuh\"\n";
  define_type(module, "X_T", x.dtype);
  define_type(module, "W_T", w.dtype);
  define_type(module, "BIAS_T", bias ? desc.inputs[2].dtype : DType::kF32);
  define_type(module, "OUT_T", out.dtype);
  define(module, "HAS_BIAS", bias ? 1 : 0);
  define(module, "GROUPS", conv.groups);
  define(module, "CHANNELS", x.dims[1].offset);
  define(module, "OUT_CHANNELS", w.dims[0].offset);
  const auto both = [&](const char* name, const std::vector<int64_t>& values, int64_t missing) {
    const auto at = [&](size_t i) { return i < values.size() ? values[i] : missing; };
    define(module, fmt::format("{}_H", name), flat ? missing : at(0));
    define(module, fmt::format("{}_W", name), at(flat ? 0 : 1));
  };
  both("STRIDE", conv.stride, 1), both("PADDING", conv.padding, 0);
  both("DILATION", conv.dilation, 1);
  define(module, "KERNEL_H", flat ? 1 : w.dims[2].offset);
  define(module, "KERNEL_W", w.dims.back().offset);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "conv_any", facts);
  launch.grid[0] =
      blocks_for(out.dims, desc.symbols, kThreads, int64_t{facts.multiprocessors} * 16);
  launch.block = kThreads;
  launch.args = {LaunchArg::input(0), LaunchArg::input(1), LaunchArg::input(bias ? 2 : 0),
                 LaunchArg::output(0), symbols_arg(desc)};
}

}  // namespace ramjet::kernels::cuda

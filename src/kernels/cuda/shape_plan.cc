// reshape, transpose, slice, concat, gathers: elements moved as they are, by generated kernels.
// A copy is a nest of axes with strides on both sides; words are as wide as all strides allow.
#include <fmt/core.h>

#include <algorithm>

#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/index_source.h"
#include "kernels/cuda/plan_util.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kThreads = 256;

struct CopyAxis {
  Extent extent;
  Extent from, to;  // strides, in elements
};

struct Copy {
  std::vector<CopyAxis> axes;  // outermost first, not empty
  Extent from, to;             // of the first element
};

const Extent kNone;  // a stride of one

Extent zero() { return {"0", 0, 0, true}; }

bool is_one(const Extent& extent) { return extent.fixed && extent.most == 1; }

std::string_view word_of(int64_t bytes) {
  switch (bytes) {
    case 1: return "uint8_t";
    case 2: return "uint16_t";
    case 4: return "uint32_t";
    case 8: return "uint64_t";
    default: return "uint4";
  }
}

/// Elements a word: the innermost axis must be dense on both sides, everything else a multiple.
int64_t elements_of_word(const Copy& copy, int64_t bytes) {
  const CopyAxis& last = copy.axes.back();
  if (!is_one(last.from) || !is_one(last.to)) return 1;
  int64_t pack = 16 / bytes;
  const auto reduce = [&](const Extent& extent) { pack = pack_of(extent.divisor, pack); };
  reduce(last.extent), reduce(copy.from), reduce(copy.to);
  for (size_t i = 0; i + 1 < copy.axes.size(); ++i) {
    reduce(copy.axes[i].from), reduce(copy.axes[i].to);
  }
  return pack;
}

/// In words instead of elements.
Copy in_words(Copy copy, int64_t pack) {
  copy.from = divided(copy.from, pack), copy.to = divided(copy.to, pack);
  copy.axes.back().extent = divided(copy.axes.back().extent, pack);
  for (size_t i = 0; i + 1 < copy.axes.size(); ++i) {
    copy.axes[i].from = divided(copy.axes[i].from, pack);
    copy.axes[i].to = divided(copy.axes[i].to, pack);
  }
  return copy;
}

/// The kernel `entry`; its words are of type `word`.
std::string copy_source(const Copy& copy, std::string_view entry, std::string_view word) {
  std::vector<Extent> extents;
  Extent all;
  std::string from = copy.from.text, to = copy.to.text;
  for (size_t i = 0; i < copy.axes.size(); ++i) {
    extents.push_back(copy.axes[i].extent);
    all = times(all, copy.axes[i].extent);
    from += fmt::format(" + c{} * {}", i, copy.axes[i].from.text);
    to += fmt::format(" + c{} * {}", i, copy.axes[i].to.text);
  }
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0})\n"
      "    {1}(const {2}* from, {2}* to, const int* symbols) {{\n"
      "  allow_next_kernel();\n  await_last_kernel();\n{3}  const index_t count = {4};\n"
      "  for (index_t at = blockIdx.x * {0} + threadIdx.x; at < count; at += gridDim.x * {0}) {{\n"
      "{5}    to[{6}] = from[{7}];\n  }}\n}}\n",
      kThreads, entry, word, extents_source(extents), all.text,
      coordinates_source(extents.size(), "at"), to, from);
}

/// One launch a copy, from operand i to the result; all in one module.
void plan_copies(const OpDesc& desc, std::span<const Copy> copies, const DeviceFacts& facts,
                 DevicePlan& plan) {
  const int64_t bytes = dtype_bytes(desc.outputs[0].dtype);
  DeviceModule module;
  module.name = fmt::format("{}_{}", op_name(desc.op), type_text(desc.outputs[0], desc.symbols));
  int64_t most = extent_of(desc.outputs[0].dims, desc.symbols).most;
  for (const TensorType& type : desc.inputs) {
    most = std::max(most, extent_of(type.dims, desc.symbols).most);
  }
  module.source = "#include \"general.cuh\"\n" + index_type_source(most);
  std::vector<DeviceLaunch> launches;
  for (size_t i = 0; i < copies.size(); ++i) {
    const int64_t pack = elements_of_word(copies[i], bytes);
    const std::string entry = fmt::format("copy{}", i);
    module.source += copy_source(in_words(copies[i], pack), entry, word_of(bytes * pack));
    DeviceLaunch launch;
    launch.entry = entry;
    launch.grid = {1, 1, 1};
    const std::vector<Dim>& dims =
        (desc.op == OpKind::kSlice ? desc.outputs[0] : desc.inputs[i]).dims;
    launch.grid[0] =
        blocks_for(dims, desc.symbols, kThreads * pack, int64_t{facts.multiprocessors} * 16);
    launch.block = kThreads;
    launch.programmatic = facts.sm >= 90;
    launch.args = {LaunchArg::input(static_cast<int>(i)), LaunchArg::output(0), symbols_arg(desc)};
    launches.push_back(std::move(launch));
  }
  plan.modules.push_back(std::move(module));
  plan.launches = std::move(launches);
}

std::span<const Dim> axes(const TensorType& type, size_t first, size_t last) {
  return std::span(type.dims).subspan(first, last - first);
}

size_t axis_at(int64_t axis, const TensorType& type) {
  return static_cast<size_t>(axis < 0 ? axis + type.rank() : axis);
}

}  // namespace

bool reshape_any_ok(const OpDesc& desc) { return has_reference_meaning(desc); }
bool transpose_any_ok(const OpDesc& desc) { return has_reference_meaning(desc); }
bool slice_any_ok(const OpDesc& desc) { return has_reference_meaning(desc); }
bool concat_any_ok(const OpDesc& desc) { return has_reference_meaning(desc); }
bool rows_any_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && !copy_rows_ok(desc) &&
         desc.inputs[desc.op == OpKind::kEmbedding ? 1 : 0].rank() > 0;
}

void plan_reshape(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const Extent all = extent_of(desc.inputs[0].dims, desc.symbols);
  const Copy copy{{{all, kNone, kNone}}, zero(), zero()};
  plan_copies(desc, {&copy, 1}, facts, plan);
}

void plan_transpose(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const auto& order = std::get<TransposeDesc>(*desc.attrs).permutation;
  const TensorType &x = desc.inputs[0], &out = desc.outputs[0];
  Copy copy{{}, zero(), zero()};
  for (size_t i = 0; i < order.size();) {
    // Axes that stay neighbours are one.
    size_t end = i + 1;
    while (end < order.size() && order[end] == order[end - 1] + 1) ++end;
    const auto last = static_cast<size_t>(order[end - 1]);
    copy.axes.push_back({extent_of(axes(out, i, end), desc.symbols),
                         extent_of(axes(x, last + 1, order.size()), desc.symbols),
                         extent_of(axes(out, end, order.size()), desc.symbols)});
    i = end;
  }
  if (copy.axes.empty()) copy.axes.emplace_back();
  plan_copies(desc, {&copy, 1}, facts, plan);
}

void plan_slice(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const auto& slice = std::get<SliceDesc>(*desc.attrs);
  const TensorType& x = desc.inputs[0];
  const size_t axis = axis_at(slice.axis, x), rank = x.dims.size();
  const Extent inner = extent_of(axes(x, axis + 1, rank), desc.symbols);
  const Dim length(slice.length), start(slice.start);
  const Extent part = times(extent_of({&length, 1}, {}), inner);
  const Copy copy{{{extent_of(axes(x, 0, axis), desc.symbols),
                    extent_of(axes(x, axis, rank), desc.symbols), part},
                   {part, kNone, kNone}},
                  times(extent_of({&start, 1}, {}), inner),
                  zero()};
  plan_copies(desc, {&copy, 1}, facts, plan);
}

void plan_concat(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const TensorType& out = desc.outputs[0];
  const size_t axis = axis_at(std::get<AxisDesc>(*desc.attrs).axis, out), rank = out.dims.size();
  std::vector<Copy> copies;
  Extent start = zero();
  for (const TensorType& x : desc.inputs) {
    const Extent part = extent_of(axes(x, axis, rank), desc.symbols);
    copies.push_back({{{extent_of(axes(x, 0, axis), desc.symbols), part,
                        extent_of(axes(out, axis, rank), desc.symbols)},
                       {part, kNone, kNone}},
                      zero(),
                      start});
    start = plus(start, part);
  }
  plan_copies(desc, copies, facts, plan);
}

void plan_rows_any(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const bool embedding = desc.op == OpKind::kEmbedding;
  const TensorType& table = desc.inputs[embedding ? 1 : 0];
  const TensorType& ids = desc.inputs[embedding ? 0 : 1];
  const auto rank = static_cast<size_t>(table.rank());
  const std::vector<Extent> extents = {extent_of(ids.dims, desc.symbols),
                                       extent_of(axes(table, rank - 1, rank), desc.symbols)};
  const bool moved = !embedding;  // bits as they are
  const std::string from(moved ? word_of(dtype_bytes(table.dtype)) : element_type(table.dtype));
  const std::string to(moved ? from : element_type(desc.outputs[0].dtype));
  DeviceModule module;
  module.name = fmt::format("{}_{}", op_name(desc.op), type_text(desc.outputs[0], desc.symbols));
  module.source = "#include \"general.cuh\"\n" +
                  index_type_source(std::max(extent_of(table.dims, desc.symbols).most,
                                             extents[0].most * extents[1].most));
  const std::string value = "table[index_t(ids[c0]) * e1 + c1]";
  module.source += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0})\n"
      "    rows_any(const {1}* table, const int* ids, {2}* out, const int* symbols) {{\n"
      "  allow_next_kernel();\n  await_last_kernel();\n{3}  const index_t count = e0 * e1;\n"
      "  for (index_t at = blockIdx.x * {0} + threadIdx.x; at < count; at += gridDim.x * {0}) {{\n"
      "{4}    {5};\n  }}\n}}\n",
      kThreads, from, to, extents_source(extents), coordinates_source(2, "at"),
      moved ? fmt::format("out[at] = {}", value)
            : fmt::format("narrow(to_float({}) * {}, out[at])", value,
                          device_float(std::get<EmbeddingDesc>(*desc.attrs).scale)));
  DeviceLaunch& launch = single_launch(plan, std::move(module), "rows_any", facts);
  launch.grid[0] =
      blocks_for(desc.outputs[0].dims, desc.symbols, kThreads, int64_t{facts.multiprocessors} * 16);
  launch.block = kThreads;
  launch.args = {LaunchArg::input(embedding ? 1 : 0), LaunchArg::input(embedding ? 0 : 1),
                 LaunchArg::output(0), symbols_arg(desc)};
}

}  // namespace ramjet::kernels::cuda

#include "kernels/cuda/index_source.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "kernels/cuda/plan_util.h"

namespace ramjet::kernels::cuda {
namespace {

Extent number(int64_t value) { return {fmt::format("{}", value), value, value, true}; }

Extent extent_of_one(const Dim& dim, std::span<const Symbol> symbols) {
  if (dim.fixed()) return number(dim.offset);
  const Symbol& symbol = symbols[static_cast<size_t>(dim.symbol)];
  Extent out;
  out.text = fmt::format("(index_t({}) * index_t(symbols[{}]) + index_t({}))", dim.factor,
                         dim.symbol, dim.offset);
  out.divisor = std::gcd(dim.factor, dim.offset);
  out.most = std::max(dim.factor * symbol.min, dim.factor * symbol.max) + dim.offset;
  out.fixed = false;
  return out;
}

/// How each operand has an axis: 1 if it has it, 0 if it is broadcast along it.
std::vector<bool> states_of(std::span<const TensorType> operands, size_t rank, size_t axis) {
  std::vector<bool> states;
  for (const TensorType& type : operands) {
    const size_t own = type.dims.size(), missing = rank - own;
    states.push_back(own <= rank && axis >= missing && type.dims[axis - missing] != Dim(1));
  }
  return states;
}

}  // namespace

Extent extent_of(std::span<const Dim> dims, std::span<const Symbol> symbols) {
  Extent out;
  for (const Dim& dim : dims) out = times(out, extent_of_one(dim, symbols));
  return out;
}

Extent times(const Extent& a, const Extent& b) {
  if (a.fixed && b.fixed) return number(a.most * b.most);
  if (a.fixed && a.most == 1) return b;
  if (b.fixed && b.most == 1) return a;
  return {fmt::format("({} * {})", a.text, b.text), a.divisor * b.divisor, a.most * b.most, false};
}

Extent plus(const Extent& a, const Extent& b) {
  if (a.fixed && b.fixed) return number(a.most + b.most);
  return {fmt::format("({} + {})", a.text, b.text), std::gcd(a.divisor, b.divisor), a.most + b.most,
          false};
}

Extent divided(const Extent& a, int64_t by) {
  if (by == 1) return a;
  if (a.fixed) return number(a.most / by);
  return {fmt::format("({} / {})", a.text, by), a.divisor / by, a.most / by, false};
}

Broadcast broadcast_of(std::span<const Dim> result, std::span<const TensorType> operands,
                       std::span<const Symbol> symbols, bool split_last) {
  Broadcast out;
  std::vector<std::vector<bool>> states;  // by group
  for (size_t axis = 0; axis < result.size(); ++axis) {
    const bool last = split_last && axis + 1 == result.size();
    if (result[axis] == Dim(1) && !last) continue;
    const Extent extent = extent_of(result.subspan(axis, 1), symbols);
    std::vector<bool> state = states_of(operands, result.size(), axis);
    if (!states.empty() && states.back() == state && !last) {
      out.groups.back() = times(out.groups.back(), extent);
    } else {
      out.groups.push_back(extent);
      states.push_back(std::move(state));
    }
  }
  if (out.groups.empty()) {
    out.groups.emplace_back();
    states.emplace_back(operands.size(), false);
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    std::vector<bool>& present = out.present.emplace_back();
    for (const std::vector<bool>& state : states) present.push_back(state[i]);
  }
  return out;
}

std::string extents_source(std::span<const Extent> groups) {
  std::string text;
  for (size_t g = 0; g < groups.size(); ++g) {
    text += fmt::format("  [[maybe_unused]] const index_t e{} = {};\n", g, groups[g].text);
  }
  return text;
}

std::string coordinates_source(size_t count, std::string_view flat) {
  if (count == 0) return "";
  if (count == 1) return fmt::format("  [[maybe_unused]] const index_t c0 = {};\n", flat);
  std::string text = fmt::format("  index_t rest = {};\n", flat);
  for (size_t g = count - 1; g > 0; --g) {
    text +=
        fmt::format("  [[maybe_unused]] const index_t c{0} = rest % e{0};\n  rest /= e{0};\n", g);
  }
  return text + "  [[maybe_unused]] const index_t c0 = rest;\n";
}

std::string offset_source(const std::vector<bool>& present) {
  std::string text, stride;
  for (size_t g = present.size(); g-- > 0;) {
    if (!present[g]) continue;
    text += fmt::format("{}c{}{}", text.empty() ? "" : " + ", g, stride);
    stride += fmt::format(" * e{}", g);
  }
  return text.empty() ? "0" : text;
}

std::string index_type_source(int64_t most) {
  constexpr int64_t kNarrow = int64_t{1} << 31;
  return most < kNarrow ? "using index_t = uint32_t;\n" : "using index_t = uint64_t;\n";
}

LaunchArg symbols_arg(const OpDesc& desc) {
  return desc.symbols.empty() ? LaunchArg::input(0) : LaunchArg::symbol(0);
}

LaunchExtent blocks_for(std::span<const Dim> dims, std::span<const Symbol> symbols,
                        int64_t per_block, int64_t most) {
  const TensorType type{DType::kF32, {dims.begin(), dims.end()}};
  if (const auto all = product(type, 0, type.rank())) {
    return LaunchExtent::ceil(*all, per_block, 1, most);
  }
  const int64_t blocks = (extent_of(dims, symbols).most + per_block - 1) / per_block;
  return std::clamp<int64_t>(blocks, 1, most);
}

}  // namespace ramjet::kernels::cuda

#include <algorithm>
#include <set>
#include <string>

#include "ir/graph.h"
#include "ir/infer.h"
#include "op/fields.h"

namespace ramjet::ir {
namespace {

/// The extent at a value of its symbol; nullopt outside of 0 .. kMaxExtent.
std::optional<int64_t> bounded(const Dim& dim, int64_t symbol) {
  int64_t extent = 0;
  if (dim.fixed()) {
    extent = dim.offset;
  } else if (__builtin_mul_overflow(dim.factor, symbol, &extent) ||
             __builtin_add_overflow(extent, dim.offset, &extent)) {
    return std::nullopt;
  }
  if (extent < 0 || extent > kMaxExtent) return std::nullopt;
  return extent;
}

Status check_symbols(const Graph& graph) {
  std::set<std::string_view> names;
  for (const Symbol& symbol : graph.symbols) {
    if (symbol.name.empty() || !names.insert(symbol.name).second) {
      return invalid_argument("symbol '{}' is declared twice or has no name", symbol.name);
    }
    const bool good = symbol.min >= 0 && symbol.min <= symbol.opt && symbol.opt <= symbol.max &&
                      symbol.max <= kMaxExtent;
    if (good) continue;
    return invalid_argument("symbol '{}': {}..{}..{} is no range min <= opt <= max", symbol.name,
                            symbol.min, symbol.opt, symbol.max);
  }
  return ok_status();
}

/// What is wrong with the rows that a recipe takes from its sources, or nothing.
std::string_view bad_rows(const WeightRecipe& recipe) {
  if (recipe.rows.empty()) return "";
  if (recipe.rows.size() != recipe.sources.size()) return "has other rows than sources";
  for (const RowSelection& rows : recipe.rows) {
    int64_t last = 0;
    if (rows.first < 0 || rows.count < 0 || rows.run < 0 || rows.stride < rows.run ||
        rows.first > kMaxExtent || rows.count > kMaxExtent || rows.stride > kMaxExtent ||
        (rows.run > 0 && __builtin_mul_overflow(rows.count / rows.run, rows.stride, &last)) ||
        last > kMaxExtent) {
      return "takes rows that no tensor has";
    }
  }
  return "";
}

/// What is wrong with how a weight of experts comes from its sources, or nothing.
std::string_view bad_experts(const Value& value) {
  const WeightRecipe& recipe = value.recipe;
  if (recipe.experts == 0) return "";
  const bool leading =
      value.type.rank() >= 2 && value.type.rank() <= 3 && value.type.dims[0] == Dim(recipe.experts);
  if (recipe.experts < 1 || !leading) return "is of experts, so wants [experts, ..]";
  return recipe.combine == WeightRecipe::Combine::kStack ? "is of experts and stacked" : "";
}

Status check_recipe(const Value& value) {
  const WeightRecipe& recipe = value.recipe;
  const bool floats = is_compute_float(value.type.dtype);
  std::string_view bad = bad_rows(recipe);
  const auto experts = static_cast<size_t>(std::max<int64_t>(recipe.experts, 1));
  const auto parts = [&, count = recipe.sources.size()](size_t wanted) {
    return count == wanted || count == wanted * experts;
  };
  const int rank = value.type.rank() - (recipe.experts == 0 ? 0 : 1);  // of one expert's
  if (const std::string_view wrong = bad_experts(value); !wrong.empty()) bad = wrong;
  if (recipe.combine == WeightRecipe::Combine::kNone && !parts(1)) {
    bad = "has several sources but does not combine them";
  }
  if (recipe.sources.empty()) bad = "has no source";
  if (recipe.combine == WeightRecipe::Combine::kInterleave && !parts(2)) {
    bad = "interleaves other than two sources";
  }
  if (rank > 2 && (recipe.transpose || !recipe.rows.empty() ||
                   recipe.combine != WeightRecipe::Combine::kNone)) {
    bad = "is transformed but no matrix";
  }
  if (recipe.quant != WeightQuant::kNone) {
    const bool fp8 = recipe.quant == WeightQuant::kFp8Channel;
    if (recipe.part == WeightRecipe::Part::kValues
            ? value.type.dtype != (fp8 ? DType::kF8E4M3 : DType::kI8) || rank != 2
            : value.type.dtype != DType::kF32 || rank != 1) {
      bad = fp8 ? "is quantized, so wants f8e4m3[N, K] values or f32[N] scales"
                : "is quantized, so wants i8[N, K] values or f32[N] scales";
    }
  } else if (recipe.part == WeightRecipe::Part::kScales) {
    bad = "has scales but is not quantized";
  }
  for (const Dim& dim : value.type.dims) {
    if (!dim.fixed()) bad = "has a symbolic extent";
  }
  const bool plain = recipe.combine == WeightRecipe::Combine::kNone && recipe.rows.empty();
  if (bad.empty() && !floats && !plain && recipe.quant == WeightQuant::kNone) {
    bad = "is combined but holds no floats";
  }
  if (bad.empty()) return ok_status();
  return invalid_argument("weight %{} {}", value.name, bad);
}

Status check_value(const Graph& graph, const Value& value) {
  if (value.type.rank() > Shape::kMaxRank) {
    return invalid_argument("%{} has rank {}, at most {} is possible", value.name,
                            value.type.rank(), Shape::kMaxRank);
  }
  int64_t bytes = dtype_bytes(value.type.dtype);
  for (const Dim& dim : value.type.dims) {
    if (dim.symbol >= static_cast<int>(graph.symbols.size())) {
      return invalid_argument("%{} uses an undeclared symbol", value.name);
    }
    if (dim.fixed() ? dim.factor != 0 || dim.symbol != -1 : dim.factor < 1) {
      return invalid_argument("%{} has an extent that does not grow with its symbol", value.name);
    }
    const Symbol range = dim.fixed() ? Symbol{} : graph.symbols[static_cast<size_t>(dim.symbol)];
    const auto low = bounded(dim, range.min), high = bounded(dim, range.max);
    if (!low || !high || __builtin_mul_overflow(bytes, std::max(*low, *high), &bytes) ||
        bytes > kMaxTensorBytes) {
      return invalid_argument("%{} : {} is negative or too large within its profile", value.name,
                              type_text(value.type, graph.symbols));
    }
  }
  if (value.kind == Value::Kind::kWeight) return check_recipe(value);
  return ok_status();
}

Status check_node(const Graph& graph, const Node& node) {
  if (node.attrs.index() != default_attrs(node.op).index()) {
    return invalid_argument("attributes are of another op");
  }
  std::vector<TensorType> inputs, stated;
  for (ValueId id : node.inputs) inputs.push_back(graph.value(id).type);
  for (ValueId id : node.outputs) stated.push_back(graph.value(id).type);
  ASSIGN_OR_RETURN(const std::vector<TensorType> inferred,
                   infer_types({node.op, &node.attrs, inputs, graph.symbols, stated}));
  if (inferred.size() != stated.size()) {
    return invalid_argument("{} results stated, wants {}", stated.size(), inferred.size());
  }
  for (size_t i = 0; i < stated.size(); ++i) {
    const bool dtype_fits = stores_as(node.op, inferred, i, stated[i].dtype);
    if (stated[i].dims == inferred[i].dims && dtype_fits) continue;
    return invalid_argument("result %{} is stated as {}, follows as {}",
                            graph.value(node.outputs[i]).name, type_text(stated[i], graph.symbols),
                            type_text(inferred[i], graph.symbols));
  }
  return ok_status();
}

}  // namespace

Status verify(const Graph& graph) {
  RETURN_IF_ERROR(check_symbols(graph));
  std::set<std::string_view> names;
  std::vector<bool> defined(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (!names.insert(value.name).second) {
      return invalid_argument("value %{} is defined twice", value.name);
    }
    defined[i] = value.kind != Value::Kind::kResult;
    if (defined[i]) RETURN_IF_ERROR(check_value(graph, value));
  }
  auto known = [&](ValueId id) {
    return id >= 0 && static_cast<size_t>(id) < defined.size() && defined[static_cast<size_t>(id)];
  };
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    const std::string label = fmt::format("{} '{}'", op_name(node.op), node.name);
    if (node.erased) return invalid_argument("{}: erased, but in the program", label);
    for (ValueId input : node.inputs) {
      if (!known(input))
        return invalid_argument("{}: an operand is used before it is defined", label);
    }
    for (ValueId output : node.outputs) {
      if (output < 0 || static_cast<size_t>(output) >= defined.size() || known(output)) {
        return invalid_argument("{}: a result is defined twice or not at all", label);
      }
      if (graph.value(output).producer != id) {
        return invalid_argument("{}: its result names another producer", label);
      }
      if (Status s = check_value(graph, graph.value(output)); !s.ok()) {
        return s.error().with_context(label);
      }
      defined[static_cast<size_t>(output)] = true;
    }
    if (Status s = check_node(graph, node); !s.ok()) return s.error().with_context(label);
  }
  std::set<std::string_view> output_names;
  for (const GraphOutput& output : graph.outputs) {
    if (!known(output.value) || !output_names.insert(output.name).second) {
      return invalid_argument("output '{}' is undefined or named twice", output.name);
    }
  }
  return ok_status();
}

}  // namespace ramjet::ir

#include <algorithm>
#include <string>

#include "ir/graph.h"
#include "ir/text.h"
#include "op/fields.h"

namespace ramjet::ir {
namespace {

std::string list_text(const std::vector<std::string>& items) {
  std::string out = "[";
  for (size_t i = 0; i < items.size(); ++i) out += (i > 0 ? ", " : "") + in_quotes(items[i]);
  return out + "]";
}

/// "first+count", "first+count:run/stride", or "" for all rows.
std::string rows_text(const RowSelection& rows) {
  if (rows.all()) return "";
  const std::string out = fmt::format("{}+{}", rows.first, rows.count);
  return rows.run == 0 ? out : out + fmt::format(":{}/{}", rows.run, rows.stride);
}

std::string recipe_text(const WeightRecipe& recipe) {
  const WeightRecipe plain;
  std::string out = "sources=" + list_text(recipe.sources);
  if (!recipe.rows.empty()) {
    std::vector<std::string> rows;
    for (const RowSelection& selection : recipe.rows) rows.push_back(rows_text(selection));
    out += ", rows=" + list_text(rows);
  }
  if (recipe.combine != plain.combine) {
    out += std::string(", combine=") + combine_names[static_cast<size_t>(recipe.combine)];
  }
  if (recipe.experts != 0) out += fmt::format(", experts={}", recipe.experts);
  if (recipe.transpose) out += ", transpose=true";
  if (recipe.quant != plain.quant) {
    out += std::string(", quant=") + quant_names[static_cast<size_t>(recipe.quant)];
  }
  if (recipe.part != plain.part) {
    out += std::string(", part=") + part_names[static_cast<size_t>(recipe.part)];
  }
  if (recipe.layout != plain.layout) out += ", layout=" + in_quotes(recipe.layout);
  return out;
}

void print_node(const Graph& graph, const Node& node, std::string& out) {
  out += "  ";
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    out += (i > 0 ? ", %" : "%") + graph.value(node.outputs[i]).name;
  }
  if (!node.outputs.empty()) out += " = ";
  out += std::string(op_name(node.op)) + "(";
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    out += (i > 0 ? ", %" : "%") + graph.value(node.inputs[i]).name;
  }
  out += ")";
  if (std::string attrs = attrs_text(node.attrs); !attrs.empty()) out += " {" + attrs + "}";
  if (!node.name.empty()) out += " " + in_quotes(node.name);
  if (!node.fused.empty()) out += " fused=" + list_text(node.fused);
  if (!node.tactic.empty()) out += " tactic=" + in_quotes(node.tactic);
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    out += i > 0 ? ", " : " : ";
    out += type_text(graph.value(node.outputs[i]).type, graph.symbols);
  }
  out += "\n";
}

}  // namespace

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::string print(const Graph& graph) {
  std::string out = "graph " + in_quotes(graph.name) + " {\n";
  for (const Symbol& symbol : graph.symbols) {
    out += fmt::format("  symbol {} {}..{}..{}\n", symbol.name, symbol.min, symbol.opt, symbol.max);
  }
  for (const Value& value : graph.values) {
    if (value.kind != Value::Kind::kInput) continue;
    out += fmt::format("  %{} = input : {}\n", value.name, type_text(value.type, graph.symbols));
  }
  const auto users = graph.users();
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    const bool used = !users[i].empty() || graph.is_output(static_cast<ValueId>(i));
    if (value.kind != Value::Kind::kWeight || !used) continue;
    out += fmt::format("  %{} = weight({}) : {}\n", value.name, recipe_text(value.recipe),
                       type_text(value.type, graph.symbols));
  }
  for (NodeId id : graph.order()) print_node(graph, graph.node(id), out);
  for (const GraphOutput& output : graph.outputs) {
    out +=
        fmt::format("  output {} = %{}\n", in_quotes(output.name), graph.value(output.value).name);
  }
  return out + "}\n";
}

}  // namespace ramjet::ir

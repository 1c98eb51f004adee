#include "compiler/passes/merge_weights.h"

#include <string>

namespace ramjet::compiler {
namespace {

/// "layers.0.self_attn.q_proj.weight.int8" with label "qkv": "layers.0.self_attn.qkv.weight.int8".
std::string merged_name(const std::string& first, std::string_view label) {
  const size_t suffix =
      first.find(".weight") != std::string::npos ? first.find(".weight") : first.find(".bias");
  if (suffix == std::string::npos) return first + "." + std::string(label);
  const size_t dot = suffix == 0 ? std::string::npos : first.rfind('.', suffix - 1);
  const std::string scope = dot == std::string::npos ? "" : first.substr(0, dot + 1);
  return scope + std::string(label) + first.substr(suffix);
}

}  // namespace

bool can_merge_weights(const ir::Graph& graph, std::span<const ir::NodeId> matmuls) {
  const ir::Node& first = graph.node(matmuls[0]);
  for (ir::NodeId id : matmuls) {
    const ir::Node& node = graph.node(id);
    const MatmulDesc* desc = std::get_if<MatmulDesc>(&node.attrs);
    if (desc == nullptr || !desc->transpose_b || desc->accumulators != 1) return false;
    if (!desc->prologue.empty() || !desc->epilogue.empty()) return false;
    if (node.inputs[0] != first.inputs[0] || node.inputs.size() != first.inputs.size())
      return false;
    if (graph.value(node.outputs[0]).type.dtype != graph.value(first.outputs[0]).type.dtype) {
      return false;
    }
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (i > 1 && node.inputs[i] == first.inputs[i]) continue;  // scales of a's rows: shared
      const ir::Value& weight = graph.value(node.inputs[i]);
      const ir::Value& like = graph.value(first.inputs[i]);
      if (weight.kind != ir::Value::Kind::kWeight || like.kind != ir::Value::Kind::kWeight ||
          weight.type.dtype != like.type.dtype || weight.recipe.quant != like.recipe.quant ||
          weight.recipe.transpose != like.recipe.transpose ||
          weight.recipe.combine != ir::WeightRecipe::Combine::kNone) {
        return false;
      }
    }
  }
  return true;
}

ir::ValueId merge_weights(ir::Graph& graph, std::span<const ir::ValueId> weights,
                          ir::WeightRecipe::Combine combine, std::string_view label) {
  const ir::Value first = graph.value(weights[0]);
  ir::WeightRecipe recipe = first.recipe;
  TensorType type = first.type;
  recipe.combine = combine;
  for (ir::ValueId id : weights.subspan(1)) {
    const ir::Value& other = graph.value(id);
    recipe.sources.insert(recipe.sources.end(), other.recipe.sources.begin(),
                          other.recipe.sources.end());
    if (!recipe.rows.empty() || !other.recipe.rows.empty()) {
      std::vector<ir::RowSelection> more = other.recipe.rows;
      more.resize(other.recipe.sources.size());
      recipe.rows.resize(recipe.sources.size() - more.size());
      recipe.rows.insert(recipe.rows.end(), more.begin(), more.end());
    }
    type.dims[0].offset += other.type.dims[0].offset;
  }
  return graph.add_weight(merged_name(first.name, label), std::move(type), std::move(recipe));
}

std::vector<ir::ValueId> merge_weight_operands(ir::Graph& graph,
                                               std::span<const ir::NodeId> matmuls,
                                               ir::WeightRecipe::Combine combine,
                                               std::string_view label) {
  std::vector<ir::ValueId> operands;
  const size_t count = graph.node(matmuls[0]).inputs.size();
  for (size_t i = 1; i < count; ++i) {
    std::vector<ir::ValueId> parts;
    for (ir::NodeId id : matmuls) parts.push_back(graph.node(id).inputs[i]);
    const bool weights = graph.value(parts[0]).kind == ir::Value::Kind::kWeight;
    operands.push_back(weights ? merge_weights(graph, parts, combine, label) : parts[0]);
  }
  return operands;
}

}  // namespace ramjet::compiler

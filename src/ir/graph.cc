#include "ir/graph.h"

#include <algorithm>
#include <cctype>

#include "base/check.h"

namespace ramjet::ir {
namespace {

bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
}

}  // namespace

std::string Graph::unique_name(std::string name) {
  for (char& c : name) {
    if (!name_char(c)) c = '_';
  }
  if (name.empty()) name = "v";
  auto [it, fresh] = names_.emplace(name, 0);
  if (fresh) return name;
  for (;;) {
    std::string candidate = name + "_" + std::to_string(++it->second);
    if (names_.emplace(candidate, 0).second) return candidate;
  }
}

int Graph::add_symbol(Symbol symbol) {
  if (auto existing = find_symbol(symbol.name)) return *existing;
  symbols.push_back(std::move(symbol));
  return static_cast<int>(symbols.size()) - 1;
}

std::optional<int> Graph::find_symbol(std::string_view name) const {
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].name == name) return static_cast<int>(i);
  }
  return std::nullopt;
}

ValueId Graph::add_value(Value value) {
  value.name = unique_name(std::move(value.name));
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size()) - 1;
}

ValueId Graph::add_input(std::string name, TensorType type) {
  Value value{.kind = Value::Kind::kInput, .name = std::move(name), .type = std::move(type)};
  return add_value(std::move(value));
}

ValueId Graph::add_weight(std::string name, TensorType type, WeightRecipe recipe) {
  Value value{.kind = Value::Kind::kWeight, .name = std::move(name), .type = std::move(type)};
  value.recipe = std::move(recipe);
  return add_value(std::move(value));
}

NodeId Graph::store_node(Node node, std::vector<std::string> names,
                         std::vector<TensorType> results) {
  const NodeId id = static_cast<NodeId>(nodes.size());
  const std::string base = node.name.empty() ? std::string(op_name(node.op)) : node.name;
  node.outputs.clear();
  node.erased = false;
  for (size_t i = 0; i < results.size(); ++i) {
    Value value{.kind = Value::Kind::kResult, .name = names.empty() ? base : std::move(names[i])};
    value.type = std::move(results[i]);
    value.producer = id;
    node.outputs.push_back(add_value(std::move(value)));
  }
  nodes.push_back(std::move(node));
  return id;
}

NodeId Graph::append_node(Node node, std::vector<std::string> names,
                          std::vector<TensorType> results) {
  const NodeId id = store_node(std::move(node), std::move(names), std::move(results));
  order_.push_back(id);
  return id;
}

NodeId Graph::add_node(OpKind op, std::vector<ValueId> inputs, std::vector<TensorType> results,
                       OpAttrs attrs, std::string name) {
  Node node{.op = op, .name = std::move(name), .inputs = std::move(inputs)};
  node.attrs = std::move(attrs);
  return append_node(std::move(node), {}, std::move(results));
}

NodeId Graph::insert_node_before(NodeId position, Node node, std::vector<TensorType> results) {
  const NodeId id = store_node(std::move(node), {}, std::move(results));
  order_.insert(std::find(order_.begin(), order_.end(), position), id);
  return id;
}

void Graph::erase_node(NodeId id) {
  node(id).erased = true;
  order_.erase(std::remove(order_.begin(), order_.end(), id), order_.end());
}

void Graph::replace_uses(ValueId from, ValueId to) {
  for (NodeId id : order_) {
    for (ValueId& input : node(id).inputs) {
      if (input == from) input = to;
    }
  }
  for (GraphOutput& output : outputs) {
    if (output.value == from) output.value = to;
  }
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> users(values.size());
  for (NodeId id : order_) {
    for (ValueId input : node(id).inputs) {
      auto& list = users[static_cast<size_t>(input)];
      if (list.empty() || list.back() != id) list.push_back(id);
    }
  }
  return users;
}

bool Graph::is_output(ValueId value) const {
  return std::any_of(outputs.begin(), outputs.end(),
                     [&](const GraphOutput& output) { return output.value == value; });
}

}  // namespace ramjet::ir

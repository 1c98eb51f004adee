#include "ir/append.h"

#include "ir/infer.h"

namespace ramjet::ir {
namespace {

std::string shapes(std::span<const Tensor> operands, std::span<const Symbol> symbols) {
  std::string out;
  for (const Tensor& tensor : operands) {
    out += (out.empty() ? "" : ", ") + type_text(type_of(tensor), symbols);
  }
  return out;
}

/// "layers.0.q_proj" for an op over a weight of that name, else "scope.label".
std::string node_name(const Network::Impl& impl, const std::vector<ValueId>& inputs,
                      std::string_view label) {
  if (inputs.size() > 1 && label != "pointwise") {
    const Value& weight = impl.graph.value(inputs[1]);
    const bool linear = label == "matmul" || label == "rms_norm" || label == "layer_norm";
    if (linear && weight.kind == Value::Kind::kWeight) {
      const std::string& name = weight.name;
      return name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name;
    }
  }
  return impl.scope.empty() ? std::string(label) : impl.scope + "." + std::string(label);
}

/// Same dtype for all operands of an arithmetic op, and they are of one network.
Status check_operands(std::span<const Tensor> operands, const AppendOp& op, Network* network) {
  const auto& symbols = network->impl().graph.symbols;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i].valid()) return invalid_argument("operand {} is an empty tensor", i + 1);
    if (operands[i].network() != network) {
      return invalid_argument("operand {} belongs to another network", i + 1);
    }
    if (op.op != OpKind::kPointwise || type_of(operands[i]).dtype == type_of(operands[0]).dtype) {
      continue;
    }
    return invalid_argument("operands {} differ in dtype; cast one", shapes(operands, symbols));
  }
  return ok_status();
}

}  // namespace

const TensorType& type_of(Tensor tensor) {
  return tensor.network()->impl().graph.value(tensor.value()).type;
}

Tensor fail(Network* network, Error error) {
  if (network == nullptr) return {};
  if (!network->impl().error) network->impl().error = std::move(error);
  return Tensor(network, kNoValue);
}

std::vector<Tensor> append(std::span<const Tensor> operands, AppendOp op) {
  Network* network = nullptr;
  for (const Tensor& tensor : operands) {
    if (network == nullptr) network = tensor.network();
  }
  if (network == nullptr) return {Tensor(), Tensor()};
  std::vector<Tensor> failed(2, Tensor(network, kNoValue));
  Network::Impl& impl = network->impl();
  if (impl.error) return failed;
  auto refuse = [&](const Error& error) {
    fail(network,
         error.with_context(impl.scope.empty() ? std::string(op.label)
                                               : impl.scope + ": " + std::string(op.label)));
    return failed;
  };
  if (Status s = check_operands(operands, op, network); !s.ok()) return refuse(s.error());

  std::vector<ValueId> inputs;
  std::vector<TensorType> types;
  for (const Tensor& tensor : operands) {
    inputs.push_back(tensor.value());
    types.push_back(type_of(tensor));
  }
  auto inferred = infer_types({op.op, &op.attrs, types, impl.graph.symbols, op.stated});
  if (!inferred.ok()) return refuse(inferred.error());
  for (TensorType& type : *inferred) {
    if (op.result_dtype) type.dtype = *op.result_dtype;
    if (type.rank() > Shape::kMaxRank) return refuse(invalid_argument("rank above 6"));
  }
  std::string name = node_name(impl, inputs, op.label);
  const NodeId id = impl.graph.add_node(op.op, std::move(inputs), std::move(*inferred),
                                        std::move(op.attrs), std::move(name));
  std::vector<Tensor> results;
  for (ValueId value : impl.graph.node(id).outputs) results.emplace_back(network, value);
  return results;
}

Tensor append_one(std::initializer_list<Tensor> operands, AppendOp op) {
  return append(std::span(operands.begin(), operands.size()), std::move(op)).front();
}

Result<std::vector<Dim>> dims_of(Network& network, const std::vector<Extent>& extents) {
  if (extents.size() > Shape::kMaxRank) {
    return invalid_argument("rank {}, at most {} is possible", extents.size(), Shape::kMaxRank);
  }
  Graph& graph = network.impl().graph;
  std::vector<Dim> dims;
  for (const Extent& extent : extents) {
    if (const int64_t* number = std::get_if<int64_t>(&extent)) {
      if (*number < -1 || *number > kMaxExtent) return invalid_argument("extent {}", *number);
      dims.push_back(Dim(*number));
      continue;
    }
    const std::string& text = std::get<std::string>(extent);
    const bool plain = !text.empty() && text.find_first_not_of(kSymbolChars) == std::string::npos &&
                       !(text[0] >= '0' && text[0] <= '9');
    if (plain) graph.add_symbol({text, 0, 0, 0});  // no profile yet
    ASSIGN_OR_RETURN(const Dim dim, parse_dim(text, graph.symbols));
    dims.push_back(dim);
  }
  return dims;
}

}  // namespace ramjet::ir

// Networks: Tensor, the functional API, building, and running on buffers.
#include <pybind11/stl.h>
#include <ramjet/builder.h>

#include "common.h"

namespace ramjet::python {
namespace {

/// A tensor that keeps its network alive.
struct Node {
  std::shared_ptr<Network> network;  // shared with the other nodes
  Tensor tensor;
};

/// A misuse is an exception where it happens.
Node made(const std::shared_ptr<Network>& network, Tensor tensor) {
  check(network->status());
  return {network, tensor};
}
Node made(const Node& from, Tensor tensor) { return made(from.network, tensor); }

DType dtype_of(const std::string& name) {
  const auto dtype = parse_dtype(name);
  if (!dtype) raise({ErrorCode::kInvalidArgument, "'" + name + "' is not a dtype"});
  return *dtype;
}

/// The bytes of a C-contiguous buffer.
std::span<const std::byte> bytes_of(const py::buffer_info& info) {
  return {static_cast<const std::byte*>(info.ptr), static_cast<size_t>(info.size * info.itemsize)};
}

using Unary = Tensor (*)(Tensor);
using Binary = Tensor (*)(Tensor, Tensor);
using WithNumber = Tensor (*)(Tensor, float);
using NumberFirst = Tensor (*)(float, Tensor);
using Reduction = Tensor (*)(Tensor, int, bool);

void unary(py::module_& m, const char* name, Unary op) {
  m.def(name, [op](const Node& x) { return made(x, op(x.tensor)); });
}
void binary(py::module_& m, const char* name, Binary op) {
  m.def(name, [op](const Node& a, const Node& b) { return made(a, op(a.tensor, b.tensor)); });
}
void reduction(py::module_& m, const char* name, Reduction op) {
  m.def(name,
        [op](const Node& x, int axis, bool keep) { return made(x, op(x.tensor, axis, keep)); });
}

/// name(a, b) where either may be a number.
void arithmetic(py::module_& m, const char* name, Binary op, WithNumber number,
                NumberFirst reversed) {
  binary(m, name, op);
  m.def(name, [number](const Node& a, float b) { return made(a, number(a.tensor, b)); });
  m.def(name, [reversed](float a, const Node& b) { return made(b, reversed(a, b.tensor)); });
}

void add_math(py::module_& m) {
  const std::pair<const char*, Unary> unaries[] = {{"relu", relu},
                                                   {"silu", silu},
                                                   {"gelu", gelu},
                                                   {"gelu_tanh", gelu_tanh},
                                                   {"exp", exp},
                                                   {"log", log},
                                                   {"sqrt", sqrt},
                                                   {"sigmoid", sigmoid},
                                                   {"abs", abs},
                                                   {"square", square},
                                                   {"tanh", tanh},
                                                   {"rsqrt", rsqrt},
                                                   {"neg", [](Tensor x) { return -x; }}};
  for (const auto& [name, op] : unaries) unary(m, name, op);
  arithmetic(m, "add", operator+, operator+, operator+);
  arithmetic(m, "sub", operator-, operator-, operator-);
  arithmetic(m, "mul", operator*, operator*, operator*);
  arithmetic(m, "div", operator/, operator/, operator/);
  binary(m, "maximum", maximum);
  binary(m, "minimum", minimum);
  binary(m, "pow", pow);
  binary(m, "gather_rows", gather_rows);
  reduction(m, "sum", sum);
  reduction(m, "mean", mean);
  reduction(m, "max", max);
}

void add_functions(py::module_& m) {
  m.def("matmul", [](const Node& a, const Node& b, bool transpose_b) {
    return made(a, matmul(a.tensor, b.tensor, transpose_b));
  });
  m.def("where", [](const Node& condition, const Node& a, const Node& b) {
    return made(a, where(condition.tensor, a.tensor, b.tensor));
  });
  m.def("cast", [](const Node& x, const std::string& dtype) {
    return made(x, cast(x.tensor, dtype_of(dtype)));
  });
  m.def("rms_norm", [](const Node& x, const Node& weight, double eps, double offset) {
    return made(x, rms_norm(x.tensor, weight.tensor, eps, offset));
  });
  m.def("layer_norm", [](const Node& x, const Node& weight, const Node& bias, double eps) {
    return made(x, layer_norm(x.tensor, weight.tensor, bias.tensor, eps));
  });
  m.def("softmax", [](const Node& x, int axis) { return made(x, softmax(x.tensor, axis)); });
  m.def("reshape", [](const Node& x, const std::vector<Extent>& extents) {
    return made(x, reshape(x.tensor, extents));
  });
  m.def("transpose", [](const Node& x, const std::vector<int>& permutation) {
    return made(x, transpose(x.tensor, permutation));
  });
  m.def("slice", [](const Node& x, int axis, int64_t start, int64_t length) {
    return made(x, slice(x.tensor, axis, start, length));
  });
  m.def("concat", [](const std::vector<Node>& parts, int axis) {
    if (parts.empty()) raise({ErrorCode::kInvalidArgument, "concat: no tensors"});
    std::vector<Tensor> tensors;
    for (const Node& part : parts) tensors.push_back(part.tensor);
    return made(parts.front(), concat(tensors, axis));
  });
  m.def("embedding", [](const Node& ids, const Node& table, double scale) {
    return made(ids, embedding(ids.tensor, table.tensor, scale));
  });
  m.def("topk", [](const Node& x, int k) {
    const auto [values, indices] = topk(x.tensor, k);
    return std::pair(made(x, values), made(x, indices));
  });
  m.def("conv", [](const Node& x, const Node& weight, const std::vector<int64_t>& stride,
                   const std::vector<int64_t>& padding) {
    return made(x, conv(x.tensor, weight.tensor, stride, padding));
  });
}

using NetworkPtr = std::shared_ptr<Network>;

void add_network_class(py::module_& m) {
  py::class_<Node> tensors(m, "Tensor");
  tensors.def_property_readonly("network", [](const Node& x) { return x.network; });
  py::class_<Network, NetworkPtr> networks(m, "Network");
  networks.def(py::init<std::string>());
  networks.def("input", [](const NetworkPtr& net, const std::string& name, const std::string& dtype,
                           const std::vector<Extent>& extents) {
    return made(net, net->input(name, dtype_of(dtype), extents));
  });
  networks.def("weight", [](const NetworkPtr& net, const std::string& name) {
    return made(net, net->weight(name));
  });
  networks.def("declare_weight", [](const NetworkPtr& net, const std::string& name,
                                    const std::string& dtype, const std::vector<int64_t>& extents) {
    return made(net, net->weight(name, dtype_of(dtype), extents));
  });
  networks.def("set_weight",
               [](const NetworkPtr& net, const std::string& name, const std::string& dtype,
                  const std::vector<int64_t>& extents, const py::buffer& bytes) {
                 const py::buffer_info info = bytes.request();
                 check(net->set_weight(name, dtype_of(dtype), extents, bytes_of(info)));
               });
  networks.def("mark_output",
               [](const NetworkPtr& net, const std::string& name, const Node& tensor) {
                 net->mark_output(name, tensor.tensor);
                 check(net->status());
               });
  networks.def("set_profile", [](const NetworkPtr& net, const std::string& symbol, int64_t min,
                                 int64_t opt, int64_t max) {
    net->set_profile(symbol, {min, opt, max});
    check(net->status());
  });
  networks.def("set_scope", &Network::set_scope);
  networks.def("text", &Network::text);
}

py::list specs(const std::vector<TensorSpec>& list) {
  py::list out;
  for (const TensorSpec& spec : list) {
    out.append(py::make_tuple(spec.name, std::string(dtype_name(spec.dtype)), spec.extents));
  }
  return out;
}

void add_context_class(py::module_& m) {
  py::class_<Context> contexts(m, "Context");
  contexts.def(py::init([](std::shared_ptr<Engine> engine, int num_threads,
                           const std::string& program) {
    return take(unlocked([&] { return Context::create(std::move(engine), num_threads, program); }));
  }));
  contexts.def("inputs", [](const Context& c) { return specs(c.inputs()); });
  contexts.def("outputs", [](const Context& c) { return specs(c.outputs()); });
  contexts.def("num_launches", &Context::num_launches);
  contexts.def("set_input", [](Context& context, const std::string& name, const std::string& dtype,
                               std::vector<int64_t> extents, const py::buffer& buffer) {
    const py::buffer_info info = buffer.request();
    const auto bytes = bytes_of(info);
    const HostTensor tensor{dtype_of(dtype), std::move(extents), {bytes.begin(), bytes.end()}};
    check(context.set_input(name, tensor));
  });
  contexts.def("run", [](Context& context) { check(unlocked([&] { return context.run(); })); });
  contexts.def("output", [](const Context& context, const std::string& name) {
    const HostTensor out = take(context.output(name));
    return py::make_tuple(
        std::string(dtype_name(out.dtype)), out.extents,
        py::bytes(reinterpret_cast<const char*>(out.bytes.data()), out.bytes.size()));
  });
}

}  // namespace

void add_network(py::module_& module) {
  add_network_class(module);
  add_context_class(module);
  add_math(module);
  add_functions(module);
}

}  // namespace ramjet::python

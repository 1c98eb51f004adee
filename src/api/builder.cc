#include <ramjet/builder.h>

#include "api/build.h"
#include "api/engine_impl.h"
#include "api/quantization.h"
#include "base/thread_pool.h"
#include "ir/network.h"
#include "kernels/registry.h"
#include "runtime/session/device_runner.h"
#include "runtime/session/program_runner.h"

namespace ramjet {
namespace {

class NetworkWeights final : public compiler::WeightSource {
 public:
  explicit NetworkWeights(const Network::Impl& network) : network_(network) {}
  Result<TensorView> view(std::string_view name) const override {
    const auto it = network_.weight_bytes.find(std::string(name));
    if (it == network_.weight_bytes.end()) {
      return not_found("weight '{}' has no bytes; give them with set_weight", name);
    }
    TensorView view{const_cast<std::byte*>(it->second.bytes.data()), it->second.type.dtype, {}};
    view.shape = it->second.type.shape({});
    return view;
  }

 private:
  const Network::Impl& network_;
};

/// The first input's or output's dtype names the engine's.
std::string network_dtype(const ir::Graph& graph) {
  for (const ir::Value& value : graph.values) {
    if (value.kind == ir::Value::Kind::kInput && is_floating(value.type.dtype)) {
      return std::string(dtype_name(value.type.dtype));
    }
  }
  return "f32";
}

}  // namespace

Result<BuildReport> build_network(const Network& network, const std::string& engine_path,
                                  const BuildOptions& options) {
  RETURN_IF_ERROR(network.status());
  ASSIGN_OR_RETURN(compiler::CompileOptions compile, api::compile_options(options));
  ir::Graph graph = network.impl().graph;
  engine::Manifest manifest;
  manifest.model.name = graph.name;
  manifest.model.architecture = "network";
  manifest.dtype = network_dtype(graph);
  manifest.quantize = api::quantize_name(compile.quant);
  manifest.provenance.options = api::options_text(options);
  graph.name = "main";
  const NetworkWeights weights(network.impl());
  return compiler::compile(std::move(graph), weights, std::move(manifest), {}, engine_path,
                           compile);
}

struct Context::Impl {
  std::shared_ptr<const engine::EngineFile> file;  // shared with the Engine
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<runtime::ProgramRunner> runner;        // of a CPU's engine, or
  std::unique_ptr<runtime::DeviceRunner> device_runner;  // of a GPU's
  const engine::Program* program = nullptr;
  std::vector<HostTensor> inputs;   // in the order of the program's inputs
  std::vector<HostTensor> outputs;  // likewise
};

Context::Context(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Context::~Context() = default;

Result<std::unique_ptr<Context>> Context::create(std::shared_ptr<const Engine> engine,
                                                 int num_threads, std::string_view program) {
  auto impl = std::make_unique<Impl>();
  impl->file = engine->impl().file;
  ASSIGN_OR_RETURN(const kernels::Target target,
                   kernels::Target::parse(impl->file->manifest().provenance.target));
  if (target.is_gpu()) {
    ASSIGN_OR_RETURN(impl->device_runner, runtime::DeviceRunner::create(impl->file, program));
    impl->program = &impl->device_runner->program();
  } else {
    impl->pool = std::make_unique<ThreadPool>(num_threads);
    ASSIGN_OR_RETURN(auto weights, runtime::WeightStore::load(impl->file, *impl->pool));
    ASSIGN_OR_RETURN(impl->runner, runtime::ProgramRunner::create(
                                       impl->file, program, std::move(weights), impl->pool.get()));
    impl->program = &impl->runner->program();
  }
  impl->inputs.resize(impl->program->inputs.size());
  impl->outputs.resize(impl->program->outputs.size());
  return std::unique_ptr<Context>(new Context(std::move(impl)));
}

namespace {

std::string known_names(const std::vector<engine::Binding>& bindings) {
  std::string names;
  for (const engine::Binding& binding : bindings)
    names += (names.empty() ? "" : ", ") + binding.name;
  return names;
}

Result<Shape> shape_of(const HostTensor& tensor, const engine::Binding& binding,
                       std::span<const Symbol> symbols) {
  const std::string wanted = type_text(binding.type, symbols);
  bool fits =
      tensor.dtype == binding.type.dtype && tensor.extents.size() == binding.type.dims.size();
  Shape shape;
  for (size_t i = 0; fits && i < tensor.extents.size(); ++i) {
    const Dim& dim = binding.type.dims[i];
    fits = tensor.extents[i] >= 0 && (!dim.fixed() || dim.offset == tensor.extents[i]);
    shape.push_back(tensor.extents[i]);
  }
  if (!fits) {
    return invalid_argument(
        "'{}' wants {}, got {} of rank {} ({})", binding.name, wanted, dtype_name(tensor.dtype),
        tensor.extents.size(),
        Shape(std::span(tensor.extents.data(), std::min<size_t>(tensor.extents.size(), 6))).text());
  }
  if (static_cast<size_t>(shape.elements() * dtype_bytes(tensor.dtype)) != tensor.bytes.size()) {
    return invalid_argument("'{}' of {} wants {} bytes, got {}", binding.name, shape.text(),
                            shape.elements() * dtype_bytes(tensor.dtype), tensor.bytes.size());
  }
  return shape;
}

/// Values of the symbols as the inputs' extents tell them; conflicts are found by run().
std::vector<int64_t> solve_symbols(const engine::Program& program,
                                   const std::vector<HostTensor>& inputs) {
  std::vector<int64_t> values(program.symbols.size(), 0);
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t d = 0; d < inputs[i].extents.size(); ++d) {
      const Dim& dim = program.inputs[i].type.dims[d];
      if (dim.fixed() || dim.factor == 0) continue;
      values[static_cast<size_t>(dim.symbol)] = (inputs[i].extents[d] - dim.offset) / dim.factor;
    }
  }
  return values;
}

TensorView host_view(HostTensor& tensor) {
  TensorView view{tensor.bytes.data(), tensor.dtype, {}};
  for (int64_t extent : tensor.extents) view.shape.push_back(extent);
  return view;
}

std::vector<TensorSpec> specs_of(const std::vector<engine::Binding>& bindings,
                                 std::span<const Symbol> symbols) {
  std::vector<TensorSpec> specs;
  for (const engine::Binding& binding : bindings) {
    TensorSpec spec{binding.name, binding.type.dtype, {}};
    for (const Dim& dim : binding.type.dims) {
      spec.extents.push_back(dim.fixed() ? Extent(dim.offset) : Extent(dim_text(dim, symbols)));
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace

std::vector<TensorSpec> Context::inputs() const {
  return specs_of(impl_->program->inputs, impl_->program->symbols);
}
std::vector<TensorSpec> Context::outputs() const {
  return specs_of(impl_->program->outputs, impl_->program->symbols);
}

Status Context::set_input(std::string_view name, const HostTensor& tensor) {
  const engine::Program& program = *impl_->program;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    if (program.inputs[i].name != name) continue;
    ASSIGN_OR_RETURN([[maybe_unused]] Shape shape,
                     shape_of(tensor, program.inputs[i], program.symbols));
    impl_->inputs[i] = tensor;
    return ok_status();
  }
  return not_found("no input '{}'; the network has: {}", name, known_names(program.inputs));
}

Status Context::run() {
  const engine::Program& program = *impl_->program;
  for (size_t i = 0; i < impl_->inputs.size(); ++i) {
    if (impl_->inputs[i].extents.empty() && !program.inputs[i].type.dims.empty()) {
      return invalid_argument("input '{}' is not set", program.inputs[i].name);
    }
  }
  const std::vector<int64_t> symbols = solve_symbols(program, impl_->inputs);
  for (size_t s = 0; s < symbols.size(); ++s) {
    const Symbol& symbol = program.symbols[s];
    if (symbols[s] < symbol.min || symbols[s] > symbol.max) {
      return invalid_argument("{} = {} is outside the profile {}..{}; build with a wider one",
                              symbol.name, symbols[s], symbol.min, symbol.max);
    }
  }
  std::vector<TensorView> inputs, outputs;
  for (HostTensor& tensor : impl_->inputs) inputs.push_back(host_view(tensor));
  for (size_t i = 0; i < impl_->outputs.size(); ++i) {
    HostTensor& out = impl_->outputs[i];
    const Shape shape = program.outputs[i].type.shape(symbols);
    out.dtype = program.outputs[i].type.dtype;
    out.extents.assign(shape.dims().begin(), shape.dims().end());
    out.bytes.resize(static_cast<size_t>(shape.elements() * dtype_bytes(out.dtype)));
    outputs.push_back(host_view(out));
  }
  if (impl_->device_runner != nullptr) {
    return impl_->device_runner->run(inputs, outputs, symbols);
  }
  return impl_->runner->run(inputs, outputs, {});
}

Result<HostTensor> Context::output(std::string_view name) const {
  const engine::Program& program = *impl_->program;
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    if (program.outputs[i].name == name) return impl_->outputs[i];
  }
  return not_found("no output '{}'; the network has: {}", name, known_names(program.outputs));
}

int Context::num_launches() const { return static_cast<int>(impl_->program->records.size()); }

}  // namespace ramjet

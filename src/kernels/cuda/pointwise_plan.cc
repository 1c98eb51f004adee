// pointwise: one generated kernel a program. Axes that all operands treat alike are one, so the
// usual cluster has no division; a thread does a chunk of neighbouring elements.
#include <fmt/core.h>

#include <algorithm>

#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/index_source.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kThreads = 256;

/// As many elements as fill 16 bytes of the widest type, if they fit into registers.
int64_t chunk_of(const OpDesc& desc, const Extent& last) {
  int64_t bytes = 1;
  for (const auto* types : {&desc.inputs, &desc.outputs}) {
    for (const TensorType& type : *types) bytes = std::max(bytes, dtype_bytes(type.dtype));
  }
  constexpr int64_t kRegisters = 64;
  const auto operands = static_cast<int64_t>(desc.inputs.size() + desc.outputs.size());
  int64_t most = 16 / bytes;
  while (most > 1 && most * operands > kRegisters) most /= 2;
  return pack_of(last.divisor, most);
}

std::string parameters(const OpDesc& desc) {
  std::string text;
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    text += fmt::format("const {}* i{}, ", element_type(desc.inputs[i].dtype), i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("{}* o{}, ", element_type(desc.outputs[i].dtype), i);
  }
  return text + "const int* symbols";
}

/// Loads, the program on each element of the chunk, stores.
std::string body(const OpDesc& desc, const Broadcast& broadcast, int64_t chunk) {
  std::string text, values;
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    const std::vector<bool>& present = broadcast.present[i];
    text += fmt::format("    float x{0}[{1}];\n    {2}<{1}>(i{0} + ({3}), x{0});\n", i, chunk,
                        present.back() ? "load_chunk" : "spread", offset_source(present));
    values += fmt::format("{}x{}[j]", i == 0 ? "" : ", ", i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("    float y{}[{}];\n", i, chunk);
  }
  text += fmt::format("#pragma unroll\n    for (int j = 0; j < {}; ++j) {{\n", chunk);
  text += fmt::format("      const float in[] = {{{}}};\n      float out[{}];\n", values,
                      desc.outputs.size());
  text += "      apply(in, out);\n";
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("      y{0}[j] = out[{0}];\n", i);
  }
  text += "    }\n";
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("    store_pack<{1}>(o{0} + flat, y{0});\n", i, chunk);
  }
  return text;
}

std::string source_of(const OpDesc& desc, const Broadcast& broadcast, int64_t chunk) {
  Extent all;
  for (const Extent& group : broadcast.groups) all = times(all, group);
  int64_t most = all.most;
  for (const TensorType& type : desc.inputs) {
    most = std::max(most, extent_of(type.dims, desc.symbols).most);
  }
  std::string text = "#include \"general.cuh\"\n" + index_type_source(most);
  text += pointwise_function(std::get<PointwiseDesc>(*desc.attrs).program, "apply");
  text += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0})\n    pointwise({1}) {{\n"
      "  allow_next_kernel();\n  await_last_kernel();\n{2}"
      "  const index_t count = {3} / {4};\n"
      "  for (index_t at = blockIdx.x * {0} + threadIdx.x; at < count; at += gridDim.x * {0}) {{\n"
      "    const index_t flat = at * {4};\n",
      kThreads, parameters(desc), extents_source(broadcast.groups), all.text, chunk);
  text += coordinates_source(broadcast.groups.size(), "flat");
  return text + body(desc, broadcast, chunk) + "  }\n}\n";
}

}  // namespace

bool pointwise_any_ok(const OpDesc& desc) { return has_reference_meaning(desc); }

void plan_pointwise(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const std::vector<Dim>& dims = desc.outputs[0].dims;
  const Broadcast broadcast = broadcast_of(dims, desc.inputs, desc.symbols, false);
  const int64_t chunk = chunk_of(desc, broadcast.groups.back());
  DeviceModule module;
  module.name = fmt::format("pointwise_{}", type_text(desc.outputs[0], desc.symbols));
  module.source = source_of(desc, broadcast, chunk);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "pointwise", facts);
  launch.block = kThreads;
  launch.grid[0] =
      blocks_for(dims, desc.symbols, kThreads * chunk, int64_t{facts.multiprocessors} * 16);
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    launch.args.push_back(LaunchArg::input(static_cast<int>(i)));
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    launch.args.push_back(LaunchArg::output(static_cast<int>(i)));
  }
  launch.args.push_back(symbols_arg(desc));
}

}  // namespace ramjet::kernels::cuda

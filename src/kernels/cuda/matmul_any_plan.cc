// matmul of any shape: source of what surrounds device/matmul_mma.cuh and device/matmul_fma.cuh,
// which are the same for every program, and their launches. Weights stay row-major.
#include <fmt/core.h>

#include <algorithm>

#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/index_source.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kUnit = 8;

const MatmulDesc& matmul_of(const OpDesc& desc) { return std::get<MatmulDesc>(*desc.attrs); }

/// Operands behind a and b.
struct Operands {
  bool scales = false, token_scales = false;
  std::span<const TensorType> prologue, epilogue;
  size_t first_prologue = 2, first_epilogue = 2;
};

Operands operands_of(const OpDesc& desc) {
  const MatmulDesc& matmul = matmul_of(desc);
  Operands out;
  out.scales = matmul.quant != WeightQuant::kNone;
  out.token_scales = matmul.quant == WeightQuant::kFp8Channel;
  out.first_prologue = out.token_scales ? 4 : out.scales ? 3 : 2;
  const auto count = static_cast<size_t>(matmul.prologue_operands);
  out.first_epilogue = out.first_prologue + count;
  out.prologue = desc.inputs.subspan(out.first_prologue, count);
  out.epilogue = desc.inputs.subspan(out.first_epilogue);
  return out;
}

bool shape_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && desc.inputs[0].rank() >= 2 && desc.inputs[1].rank() == 2;
}

bool half(DType dtype) { return dtype == DType::kBf16 || dtype == DType::kF16; }

Extent extent_at(const TensorType& type, size_t first, size_t last, const OpDesc& desc) {
  return extent_of(std::span(type.dims).subspan(first, last - first), desc.symbols);
}

/// M, N and K.
struct Sizes {
  Extent rows, columns, depth;
};
Sizes sizes_of(const OpDesc& desc) {
  const TensorType &a = desc.inputs[0], &out = desc.outputs[0];
  const size_t rank = a.dims.size();
  return {extent_at(a, 0, rank - 1, desc), extent_at(out, rank - 1, rank, desc),
          extent_at(a, rank - 1, rank, desc)};
}

std::string fused_struct(const OpDesc& desc, const Operands& in) {
  std::string text = "struct Fused {\n  const float* scales;\n  const float* token_scales;\n";
  for (size_t i = 0; i < in.prologue.size(); ++i) {
    text += fmt::format("  const {}* p{};\n", element_type(in.prologue[i].dtype), i);
  }
  for (size_t i = 0; i < in.epilogue.size(); ++i) {
    text += fmt::format("  const {}* q{};\n", element_type(in.epilogue[i].dtype), i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("  {}* o{};\n", element_type(desc.outputs[i].dtype), i);
  }
  return text + "  const int* symbols;\n};\n";
}

std::string extent_function(std::string_view name, const Extent& extent) {
  return fmt::format(
      "__device__ __forceinline__ int64_t {}_extent(const int* symbols) {{ return {}; }}\n", name,
      extent.text);
}

/// Coordinates of `row` and of the last axis, for offsets into operands.
std::string row_coordinates(const Broadcast& broadcast, std::string_view last) {
  const size_t leading = broadcast.groups.size() - 1;
  return "  const int* symbols = f.symbols;\n" + extents_source(broadcast.groups) +
         coordinates_source(leading, "index_t(row)") +
         fmt::format("  [[maybe_unused]] const index_t c{} = {};\n", leading, last);
}

std::string prologue_source(const OpDesc& desc, const Operands& in) {
  const MatmulDesc& matmul = matmul_of(desc);
  if (matmul.prologue.empty()) return "#define PROLOGUE 0\n";
  const Broadcast broadcast = broadcast_of(desc.inputs[0].dims, in.prologue, desc.symbols, true);
  std::string text = "#define PROLOGUE 1\n" + pointwise_function(matmul.prologue, "prologue_of");
  text +=
      "__device__ __forceinline__ float prologue(const Fused& f, float a, int64_t row, int k) "
      "{\n" +
      row_coordinates(broadcast, "index_t(k)") + "  const float in[] = {a";
  for (size_t i = 0; i < in.prologue.size(); ++i) {
    text += fmt::format(", to_float(f.p{}[{}])", i, offset_source(broadcast.present[i]));
  }
  return text + "};\n  float out[1];\n  prologue_of(in, out);\n  return out[0];\n}\n";
}

/// Scales, the program on each of V columns, stores.
std::string finish_source(const OpDesc& desc, const Operands& in) {
  const MatmulDesc& matmul = matmul_of(desc);
  const Broadcast broadcast = broadcast_of(desc.outputs[0].dims, in.epilogue, desc.symbols, true);
  std::string text;
  if (!matmul.epilogue.empty()) text += pointwise_function(matmul.epilogue, "epilogue_of");
  text += "__device__ int weight_row(int column, int j, int columns);\n";
  text += fmt::format(
      "template <int V>\n__device__ __forceinline__ void finish(const Fused& f, "
      "float (&acc)[{0}][V], int64_t row, int column) {{\n{1}"
      "  const index_t to = index_t(row) * e{2} + index_t(column);\n",
      matmul.accumulators, row_coordinates(broadcast, "index_t(column)"),
      broadcast.groups.size() - 1);
  std::string values, stores;
  for (int64_t j = 0; j < matmul.accumulators; ++j) {
    values += fmt::format("{}acc[{}][v]", j == 0 ? "" : ", ", j);
  }
  for (size_t i = 0; i < in.epilogue.size(); ++i) {
    const std::vector<bool>& present = broadcast.present[i];
    text += fmt::format("  float x{0}[V];\n  {1}<V>(f.q{0} + ({2}), x{0});\n", i,
                        present.back() ? "load_chunk" : "spread", offset_source(present));
    values += fmt::format(", x{}[v]", i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("  float y{}[V];\n", i);
    stores += fmt::format("  store_pack<V>(f.o{0} + to, y{0});\n", i);
  }
  text += "#pragma unroll\n  for (int v = 0; v < V; ++v) {\n";
  for (int64_t j = 0; in.scales && j < matmul.accumulators; ++j) {
    text +=
        fmt::format("    acc[{0}][v] *= f.scales[weight_row(column + v, {0}, int(e{1}))]{2};\n", j,
                    broadcast.groups.size() - 1, in.token_scales ? " * f.token_scales[row]" : "");
  }
  if (matmul.epilogue.empty()) return text + "    y0[v] = acc[0][v];\n  }\n" + stores + "}\n";
  text +=
      fmt::format("    const float in[] = {{{}}};\n    float out[{}];\n    epilogue_of(in, out);\n",
                  values, desc.outputs.size());
  for (size_t i = 0; i < desc.outputs.size(); ++i)
    text += fmt::format("    y{0}[v] = out[{0}];\n", i);
  return text + "  }\n" + stores + "}\n";
}

/// Operands of one group of rows: a vector of each is its own.
std::string group_source(const OpDesc& desc, const Operands& in) {
  std::string text =
      "__device__ __forceinline__ Fused of_group(Fused f, int64_t group, int64_t row, int columns) "
      "{\n";
  if (in.scales) {
    text += fmt::format("  f.scales += group * columns * {};\n", matmul_of(desc).accumulators);
  }
  if (in.token_scales) text += "  f.token_scales += row;\n";
  for (size_t i = 0; i < in.epilogue.size(); ++i) {
    text += fmt::format("  f.q{} += group * columns;\n", i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    text += fmt::format("  f.o{} += row * columns;\n", i);
  }
  return text + "  return f;\n}\n";
}

/// The kernel's parameters become a Product.
std::string entry_source(const OpDesc& desc, const Operands& in, std::string_view function,
                         bool grouped) {
  std::string parameters, members;
  const auto add = [&](std::string_view type, std::string_view name, size_t i) {
    parameters += fmt::format("{} {}{}, ", type, name, i);
    members += fmt::format(", {}{}", name, i);
  };
  for (size_t i = 0; i < in.prologue.size(); ++i) {
    add(fmt::format("const {}*", element_type(in.prologue[i].dtype)), "p", i);
  }
  for (size_t i = 0; i < in.epilogue.size(); ++i) {
    add(fmt::format("const {}*", element_type(in.epilogue[i].dtype)), "q", i);
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    add(fmt::format("{}*", element_type(desc.outputs[i].dtype)), "o", i);
  }
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__(256, 2)\n"
      "    {0}(const A_T* a, const B_T* b, const float* scales, const float* token_scales, {1}"
      "{4}const int* symbols) {{\n"
      "  {2}({{a, b, {{scales, token_scales{3}, symbols}}, rows_extent(symbols),\n"
      "      int(columns_extent(symbols)), int(depth_extent(symbols))}}{5});\n}}\n",
      "matmul_any", parameters, grouped ? fmt::format("{}_groups", function) : function, members,
      grouped ? "const int4* groups, " : "", grouped ? ", groups" : "");
}

std::string source_of(const OpDesc& desc, std::string_view function, bool grouped = false) {
  const Operands in = operands_of(desc);
  const Sizes sizes = sizes_of(desc);
  int64_t most = std::max(extent_of(desc.outputs[0].dims, desc.symbols).most,
                          extent_of(desc.inputs[0].dims, desc.symbols).most);
  for (const TensorType& type : desc.inputs.subspan(2)) {
    most = std::max(most, extent_of(type.dims, desc.symbols).most);
  }
  return "#include \"general.cuh\"\n" + index_type_source(most) + fused_struct(desc, in) +
         extent_function("rows", sizes.rows) + extent_function("columns", sizes.columns) +
         extent_function("depth", sizes.depth) + prologue_source(desc, in) +
         finish_source(desc, in) + group_source(desc, in) +
         fmt::format("#include \"{}.cuh\"\n", function) + entry_source(desc, in, function, grouped);
}

void define_product(DeviceModule& module, const OpDesc& desc, const Tactic& tactic,
                    const Sizes& sizes) {
  const MatmulDesc& matmul = matmul_of(desc);
  const bool whole = sizes.depth.divisor % kUnit == 0;
  define_type(module, "A_T", desc.inputs[0].dtype);
  define_type(module, "B_T", desc.inputs[1].dtype);
  define(module, "ACC", matmul.accumulators);
  define(module, "TRANSPOSE_B", matmul.transpose_b ? 1 : 0);
  define(module, "ONE_PATH", tactic.variant == kOnePathVariant ? 1 : 0);
  define(module, "VECTOR_A", whole ? 1 : 0);
  define(module, "VECTOR_B", whole ? 1 : 0);
  // Columns that the epilogue takes at once: as many as move in 16 bytes, fewer of many operands.
  const size_t operands = desc.inputs.size() + desc.outputs.size();
  define(module, "FINISH",
         pack_of(sizes.columns.divisor, operands <= 6    ? 8
                                        : operands <= 12 ? 4
                                                         : 1));
}

/// Blocks that stay: two a multiprocessor, fewer where there is less work.
int64_t grid_of(const MatmulDesc& matmul, const Sizes& sizes, int64_t rows, int64_t lines,
                const DeviceFacts& facts) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t all = sizes.columns.most * matmul.accumulators;
  const int64_t work = std::max(ceil(all, 32), ceil(sizes.rows.most, rows) * ceil(all, lines));
  return std::clamp<int64_t>(work, 1, int64_t{facts.multiprocessors} * 2);
}

void launch_product(const OpDesc& desc, DeviceLaunch& launch) {
  const Operands in = operands_of(desc);
  launch.block = 256;
  launch.args = {LaunchArg::input(0), LaunchArg::input(1), LaunchArg::input(in.scales ? 2 : 0),
                 LaunchArg::input(in.token_scales ? 3 : 0)};
  for (size_t i = in.first_prologue; i < desc.inputs.size(); ++i) {
    launch.args.push_back(LaunchArg::input(static_cast<int>(i)));
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    launch.args.push_back(LaunchArg::output(static_cast<int>(i)));
  }
  launch.args.push_back(symbols_arg(desc));
}

std::string module_name(const OpDesc& desc, std::string_view kind) {
  return fmt::format("{}_{}_{}", kind, type_text(desc.inputs[0], desc.symbols),
                     type_text(desc.inputs[1], desc.symbols));
}

/// The module of a product on tensor cores, and its shared memory.
DeviceModule mma_module(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                        bool grouped, int64_t& shared) {
  DeviceModule module;
  module.name = module_name(desc, grouped ? "matmul_mma_groups" : "matmul_mma");
  module.source = source_of(desc, "matmul_mma", grouped);
  define_product(module, desc, tactic, sizes_of(desc));
  // e4m3 products are exact in f16, and int8 is in both.
  const DType a = desc.inputs[0].dtype;
  define_type(module, "C_T", a == DType::kF8E4M3 ? DType::kF16 : a);
  // Two blocks a multiprocessor: sm_89 has 100 KB.
  shared = facts.sm == 89 ? 48 << 10 : 64 << 10;
  define(module, "SHARED_BYTES", shared);
  return module;
}
DeviceModule fma_module(const OpDesc& desc, const Tactic& tactic, bool grouped, int64_t& shared) {
  DeviceModule module;
  module.name = module_name(desc, grouped ? "matmul_fma_groups" : "matmul_fma");
  module.source = source_of(desc, "matmul_fma", grouped);
  define_product(module, desc, tactic, sizes_of(desc));
  shared = 32 << 10;  // of the path of few rows; tiles want less
  return module;
}

}  // namespace

bool matmul_mma_ok(const OpDesc& desc) {
  if (!shape_ok(desc) || !half(desc.inputs[0].dtype)) return false;
  const WeightQuant quant = matmul_of(desc).quant;
  return quant == WeightQuant::kInt8Channel ||
         (quant == WeightQuant::kNone && desc.inputs[1].dtype == desc.inputs[0].dtype);
}
bool matmul_fp8_ok(const OpDesc& desc) {
  return shape_ok(desc) && matmul_of(desc).quant == WeightQuant::kFp8Channel;
}
bool matmul_fma_ok(const OpDesc& desc) {
  return shape_ok(desc) && !matmul_mma_ok(desc) && !matmul_fp8_ok(desc);
}

void plan_matmul_mma(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     DevicePlan& plan) {
  int64_t shared = 0;
  DeviceModule module = mma_module(desc, tactic, facts, false, shared);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "matmul_any", facts);
  launch.shared_bytes = static_cast<uint32_t>(shared);
  const MatmulDesc& matmul = matmul_of(desc);
  launch.grid[0] = grid_of(matmul, sizes_of(desc), 64, matmul.accumulators == 1 ? 32 : 64, facts);
  launch_product(desc, launch);
}

void plan_matmul_fma(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     DevicePlan& plan) {
  int64_t shared = 0;
  DeviceModule module = fma_module(desc, tactic, false, shared);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "matmul_any", facts);
  launch.shared_bytes = static_cast<uint32_t>(shared);
  launch.grid[0] = grid_of(matmul_of(desc), sizes_of(desc), 64, 64, facts);
  launch_product(desc, launch);
}

void plan_grouped_matmul(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                         const GroupedOperands& from, DevicePlan& plan) {
  int64_t shared = 0;
  DeviceModule module = matmul_fma_ok(desc) ? fma_module(desc, tactic, true, shared)
                                            : mma_module(desc, tactic, facts, true, shared);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "matmul_any", facts);
  launch.module = static_cast<int32_t>(plan.modules.size()) - 1;
  launch.shared_bytes = static_cast<uint32_t>(shared);
  launch.block = 256;
  launch.grid[0] = int64_t{facts.multiprocessors} * 2;
  launch.args = {from.a, from.b, from.scales, from.token_scales};
  launch.args.insert(launch.args.end(), from.epilogue.begin(), from.epilogue.end());
  launch.args.insert(launch.args.end(), {from.out, from.groups, symbols_arg(desc)});
}

}  // namespace ramjet::kernels::cuda

// moe_route and moe. A moe is four or five launches: rows of x go to where their experts' groups
// lie, with a table of the groups' tiles beside them (moe_scatter; where slots are many, moe_sort
// before it); two products over the groups, each an existing kernel that looks its tiles up in the
// table; each token's sum of its experts' rows in the order of its choice (moe_combine). Nothing
// depends on counts that the host would have to know.
//
// On Hopper the products are gemm_sm90.cuh's, one tactic a tile of tokens; else, and for types and
// extents that it does not take, those of any shape.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_cost.h"
#include "kernels/cuda/gemm_sm90.h"
#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/index_source.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kMostExperts = 8192;    // whose counts fit a block's static shared memory
constexpr int64_t kWholeGroup = 1 << 30;  // a tile that holds any group
constexpr int64_t kLeadingOperands = 5;   // x, both weights, ids, weights of the choice
constexpr int64_t kMostSlots = 1 << 28;

/// One of the two products: its operands in the op's own numbering.
struct MoeProduct {
  const MatmulDesc* desc = nullptr;
  size_t weight = 0, scales = 0;
  size_t first = 0, count = 0;  // of the epilogue
  int64_t rows = 0, depth = 0;  // of an expert's matrix
  int64_t columns() const { return rows / desc->accumulators; }
};

struct MoeShape {
  const MoeDesc* desc = nullptr;
  Dim tokens, slots;
  int64_t most_slots = 0, k = 0, experts = 0;
  bool scaled = false;
  MoeProduct up, down;
};

size_t operands_of(const MatmulDesc& desc) {
  return desc.epilogue.empty() ? 0
                               : static_cast<size_t>(std::max<int64_t>(
                                     0, desc.epilogue.num_inputs - desc.accumulators));
}

/// Whether the op's types are such as moe_shape() reads.
bool shape_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc) || desc.inputs.size() < kLeadingOperands) return false;
  const auto fixed = [](const TensorType& type, size_t from) {
    return std::all_of(type.dims.begin() + static_cast<ptrdiff_t>(from), type.dims.end(),
                       [](const Dim& dim) { return dim.fixed() && dim.offset > 0; });
  };
  return desc.inputs[0].rank() == 2 && desc.inputs[3].rank() == 2 && fixed(desc.inputs[0], 1) &&
         fixed(desc.inputs[1], 0) && fixed(desc.inputs[2], 0) && fixed(desc.inputs[3], 1) &&
         desc.inputs[1].dims[0].offset <= kMostExperts;
}

MoeShape moe_shape(const OpDesc& desc) {
  MoeShape s;
  s.desc = &std::get<MoeDesc>(*desc.attrs);
  s.scaled = s.desc->up.quant != WeightQuant::kNone;
  s.tokens = desc.inputs[0].dims[0];
  s.k = desc.inputs[3].dims[1].offset;
  s.slots = scaled(s.tokens, s.k);
  s.most_slots = extent_of(std::span(&s.slots, 1), desc.symbols).most;
  s.experts = desc.inputs[1].dims[0].offset;
  const auto product = [&](const MatmulDesc& matmul, size_t weight, size_t first) {
    const std::vector<Dim>& dims = desc.inputs[weight].dims;
    return MoeProduct{&matmul,        weight,        weight + 4, first, operands_of(matmul),
                      dims[1].offset, dims[2].offset};
  };
  const size_t first = s.scaled ? kLeadingOperands + 2 : kLeadingOperands;
  s.up = product(s.desc->up, 1, first);
  s.down = product(s.desc->down, 2, first + s.up.count);
  return s;
}

int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

/// The workspace: offsets of its parts.
struct MoeWorkspace {
  int64_t groups = 0, places = 0, rows = 0, hidden = 0, partials = 0, bytes = 0;
  int64_t result() const { return rows; }  // rows of x are done with by then
};
MoeWorkspace workspace_of(const OpDesc& desc, const MoeShape& s, int64_t tile, DType result,
                          int64_t partials) {
  MoeWorkspace w;
  const int64_t element = dtype_bytes(desc.inputs[0].dtype);
  const auto take = [&w](int64_t bytes) {
    const int64_t at = w.bytes;
    w.bytes += aligned(bytes);
    return at;
  };
  // Every expert may have a tile that is not full.
  const int64_t tiles = s.most_slots / tile + std::min(s.experts, s.most_slots);
  w.groups = take((1 + tiles) * 16);
  w.places = take(s.most_slots * 4);
  w.rows =
      take(s.most_slots * std::max(s.up.depth * element, s.down.columns() * dtype_bytes(result)));
  w.hidden = take(s.most_slots * s.down.depth * element);
  w.partials = take(partials);
  return w;
}

DeviceLaunch& add_launch(DevicePlan& plan, DeviceModule module, std::string entry,
                         const DeviceFacts& facts) {
  DeviceLaunch& launch = single_launch(plan, std::move(module), std::move(entry), facts);
  launch.module = static_cast<int32_t>(plan.modules.size()) - 1;
  return launch;
}

/// moe_scatter and moe_combine are one module.
struct RowsModule {
  DeviceModule module;
  LaunchArg symbol;
  int64_t vec = 1;
  int64_t sort_warps = 0;  // 0: places are found row by row
};
RowsModule rows_module(const OpDesc& desc, const MoeShape& s, int64_t tile, DType result) {
  constexpr std::string_view kWords[] = {"uint16_t", "uint32_t", "uint2", "uint4"};
  const int64_t bytes = s.up.depth * dtype_bytes(desc.inputs[0].dtype);
  size_t word = 3;
  while (word > 0 && bytes % (int64_t{2} << word) != 0) --word;
  RowsModule made;
  made.module.name = fmt::format("moe_rows_{}_{}_of_{}", s.up.depth, s.k, s.experts);
  made.module.source = "#include \"moe_rows.cuh\"\n";
  made.vec = pack_of(s.down.columns(), 16 / dtype_bytes(result));
  define(made.module, "X_T", kWords[word]);
  define(made.module, "WIDTH", bytes / (int64_t{2} << word));
  define(made.module, "K", s.k);
  define(made.module, "EXPERTS", s.experts);
  define(made.module, "TILE", tile);
  // Tiles of so many rows are for so many slots. Each warp's counts share static memory.
  constexpr int64_t kSortedTile = 64, kCounts = 10240;
  if (tile >= kSortedTile && 2 * s.experts <= kCounts) {
    made.sort_warps = std::min<int64_t>(32, kCounts / s.experts - 1);
  }
  define(made.module, "SORTED", made.sort_warps > 0 ? 1 : 0);
  define(made.module, "SORT_WARPS", made.sort_warps);
  define_type(made.module, "Y_T", result);
  define_type(made.module, "OUT_T", desc.outputs[0].dtype);
  define(made.module, "COLUMNS", s.down.columns());
  define(made.module, "VEC", made.vec);
  made.symbol = define_extent(made.module, "ROW", s.tokens);
  return made;
}

/// Of the first module.
DeviceLaunch& add_rows_launch(DevicePlan& plan, std::string_view entry, const DeviceFacts& facts) {
  DeviceLaunch& launch = plan.launches.emplace_back();
  launch.entry = entry;
  launch.grid = {1, 1, 1};
  launch.programmatic = facts.sm >= 90;
  return launch;
}

void launch_scatter(const MoeShape& s, const MoeWorkspace& w, const RowsModule& rows,
                    const DeviceFacts& facts, DevicePlan& plan) {
  plan.modules.push_back(rows.module);
  Dim blocks = s.slots;
  if (rows.sort_warps > 0) {
    DeviceLaunch& sort = add_rows_launch(plan, "moe_sort", facts);
    sort.block = static_cast<uint32_t>(rows.sort_warps * 32);
    sort.args = {LaunchArg::input(3), LaunchArg::workspace(w.places),
                 LaunchArg::workspace(w.groups), rows.symbol};
  } else {
    ++blocks.offset;  // one that writes the table
  }
  DeviceLaunch& launch = add_rows_launch(plan, "moe_scatter", facts);
  launch.grid[0] = LaunchExtent::ceil(blocks, 1, 1, int64_t{16} * facts.multiprocessors);
  launch.block = 128;
  launch.args = {LaunchArg::input(0),
                 LaunchArg::input(3),
                 LaunchArg::workspace(w.rows),
                 LaunchArg::workspace(w.places),
                 LaunchArg::workspace(w.groups),
                 rows.symbol};
}

void launch_combine(const MoeShape& s, const MoeWorkspace& w, const RowsModule& rows,
                    const DeviceFacts& facts, DevicePlan& plan) {
  DeviceLaunch& launch = add_rows_launch(plan, "moe_combine", facts);
  launch.grid[0] = LaunchExtent::ceil(scaled(s.tokens, s.down.columns() / rows.vec), 256);
  launch.block = 256;
  launch.args = {LaunchArg::workspace(w.result()), LaunchArg::workspace(w.places),
                 LaunchArg::input(4), LaunchArg::output(0), rows.symbol};
}

/// One expert's product as a matmul of its own over all slots.
struct ProductDesc {
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;
  std::span<const Symbol> symbols;

  ProductDesc(const OpDesc& desc, const MoeShape& s, const MoeProduct& p, DType a, DType result)
      : attrs(*p.desc), symbols(desc.symbols) {
    inputs = {{a, {s.slots, p.depth}}};
    const auto add = [&](size_t operand) {
      const TensorType& type = desc.inputs[operand];
      inputs.push_back({type.dtype, {type.dims.begin() + 1, type.dims.end()}});
    };
    add(p.weight);
    if (s.scaled) add(p.scales);
    for (size_t i = 0; i < p.count; ++i) add(p.first + i);
    outputs = {{result, {s.slots, p.columns()}}};
  }
  OpDesc desc() const { return {OpKind::kMatmul, &attrs, inputs, outputs, symbols}; }
};

/// Operands of epilogues are one value a column.
bool operands_ok(const OpDesc& desc, const MoeProduct& p) {
  for (size_t i = p.first; i < p.first + p.count; ++i) {
    if (i >= desc.inputs.size() || desc.inputs[i].rank() != 2) return false;
    if (desc.inputs[i].dims[1] != Dim(p.columns())) return false;
  }
  return p.desc->transpose_b;
}

// Any shape.

bool moe_any_ok(const OpDesc& desc) {
  if (!shape_ok(desc)) return false;
  const MoeShape s = moe_shape(desc);
  const DType x = desc.inputs[0].dtype;
  const auto fits = [&](const MoeProduct& p, DType result) {
    const ProductDesc product(desc, s, p, x, result);
    return operands_ok(desc, p) && (matmul_mma_ok(product.desc()) || matmul_fma_ok(product.desc()));
  };
  return s.most_slots <= kMostSlots && fits(s.up, x) && fits(s.down, DType::kF32);
}

void plan_moe_any(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                  DevicePlan& plan) {
  const MoeShape s = moe_shape(desc);
  const DType x = desc.inputs[0].dtype;
  const MoeWorkspace w = workspace_of(desc, s, kWholeGroup, DType::kF32, 0);
  const RowsModule rows = rows_module(desc, s, kWholeGroup, DType::kF32);
  launch_scatter(s, w, rows, facts, plan);
  const auto add = [&](const MoeProduct& p, DType result, int64_t from, int64_t to) {
    const ProductDesc product(desc, s, p, x, result);
    const LaunchArg scales = LaunchArg::input(static_cast<int>(s.scaled ? p.scales : 0));
    GroupedOperands operands = {LaunchArg::workspace(from),
                                LaunchArg::input(static_cast<int>(p.weight)),
                                scales,
                                LaunchArg::input(0),
                                LaunchArg::workspace(to),
                                LaunchArg::workspace(w.groups),
                                {}};
    for (size_t i = 0; i < p.count; ++i) {
      operands.epilogue.push_back(LaunchArg::input(static_cast<int>(p.first + i)));
    }
    plan_grouped_matmul(product.desc(), tactic, facts, operands, plan);
  };
  add(s.up, x, w.rows, w.hidden);
  add(s.down, DType::kF32, w.hidden, w.result());
  launch_combine(s, w, rows, facts, plan);
  plan.workspace_bytes = w.bytes;
}

// Hopper.

int tile_of(const Tactic& tactic) { return tactic.variant & kGemmTileMask; }

GemmSm90Config config_of(const OpDesc& desc, const MoeProduct& p, const Tactic& tactic) {
  GemmSm90Config config;
  config.n = p.rows;
  config.k = p.depth;
  config.grouped = true;
  config.block_t = tile_of(tactic);
  config.parts = tactic.variant >> kGemmPartsShift;
  config.accumulators = static_cast<int>(p.desc->accumulators);
  config.epilogue = p.desc->epilogue;
  for (size_t i = 0; i < p.count; ++i) {
    config.operands.push_back({.dtype = desc.inputs[p.first + i].dtype, .by_feature = true});
  }
  return config;
}

bool product_fits_sm90(const OpDesc& desc, const MoeProduct& p) {
  constexpr int64_t kRowsOfTile = 64, kElementsOfUnit = 8;
  if (!operands_ok(desc, p) || p.desc->quant != WeightQuant::kNone) return false;
  if (desc.inputs[p.weight].dtype != DType::kBf16) return false;
  if (p.rows % kRowsOfTile != 0 || p.depth % kElementsOfUnit != 0) return false;
  return std::none_of(desc.inputs.begin() + static_cast<ptrdiff_t>(p.first),
                      desc.inputs.begin() + static_cast<ptrdiff_t>(p.first + p.count),
                      [](const TensorType& type) { return device_type(type.dtype).empty(); });
}

template <int kTile>
bool moe_sm90_ok(const OpDesc& desc) {
  if (!shape_ok(desc) || desc.inputs[0].dtype != DType::kBf16) return false;
  const MoeShape s = moe_shape(desc);
  if (s.up.desc->accumulators != 2 || !product_fits_sm90(desc, s.up) ||
      !product_fits_sm90(desc, s.down)) {
    return false;
  }
  return s.most_slots <= kMostSlots && (kTile == 8 || s.most_slots > kTile / 2);
}

void plan_moe_sm90(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                   DevicePlan& plan) {
  const MoeShape s = moe_shape(desc);
  const int64_t tile = tile_of(tactic);
  const GemmSm90Config up = config_of(desc, s.up, tactic), down = config_of(desc, s.down, tactic);
  const int64_t partials = std::max(gemm_sm90_workspace_bytes(up, facts.multiprocessors),
                                    gemm_sm90_workspace_bytes(down, facts.multiprocessors));
  const MoeWorkspace w = workspace_of(desc, s, tile, DType::kBf16, partials);
  const RowsModule rows = rows_module(desc, s, tile, DType::kBf16);
  launch_scatter(s, w, rows, facts, plan);
  const auto add = [&](const MoeProduct& p, const GemmSm90Config& config, int64_t from,
                       int64_t to) {
    DeviceModule module;
    module.name = fmt::format("moe_sm90_n{}_k{}_t{}", config.n, config.k, tile);
    module.source = gemm_sm90_source(config);
    module.defines = gemm_sm90_defines(config);
    DeviceLaunch& launch = add_launch(plan, std::move(module), "gemm_sm90", facts);
    launch.programmatic = true;
    launch.grid[0] = LaunchExtent::ceil(s.slots, 1, gemm_sm90_blocks_of_tile(config),
                                        gemm_sm90_most_blocks(config, facts.multiprocessors));
    launch.block = gemm_sm90_threads(config);
    launch.shared_bytes = gemm_sm90_shared_bytes(config);
    launch.args = {LaunchArg::tensor_map(0), LaunchArg::input(static_cast<int>(p.weight))};
    if (config.parts == 0) {
      launch.args.insert(launch.args.end(), {LaunchArg::workspace(w.partials), LaunchArg::flags()});
    }
    launch.args.push_back(LaunchArg::workspace(w.groups));
    for (size_t i = 0; i < p.count; ++i) {
      launch.args.push_back(LaunchArg::input(static_cast<int>(p.first + i)));
    }
    launch.args.push_back(LaunchArg::workspace(to));
    launch.maps = {{.base = LaunchArg::workspace(from),
                    .dtype = DType::kBf16,
                    .extents = {config.k, s.slots},
                    .strides = {config.k * 2},
                    .box = {64, tile},
                    .swizzle_bytes = 128}};
  };
  add(s.up, up, w.rows, w.hidden);
  add(s.down, down, w.hidden, w.result());
  launch_combine(s, w, rows, facts, plan);
  plan.workspace_bytes = w.bytes;
  if (up.parts == 0) plan.flags_bytes = facts.multiprocessors * int64_t{8};
}

// Routing.

bool moe_route_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && desc.inputs[0].rank() == 2 && width_of(desc.inputs[0]) > 0;
}

void plan_moe_route(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  constexpr int64_t kWarps = 4;
  const auto& route = std::get<MoeRouteDesc>(*desc.attrs);
  const int64_t experts = width_of(desc.inputs[0]);
  DeviceModule module;
  module.name = fmt::format("moe_route_{}_of_{}", route.k, experts);
  module.source = "#include \"moe_route.cuh\"\n";
  define_type(module, "X_T", desc.inputs[0].dtype);
  define(module, "EXPERTS", experts);
  define(module, "K", route.k);
  define(module, "RENORMALIZE", route.renormalize ? 1 : 0);
  define(module, "SCALE", device_float(route.scale));
  const LaunchArg symbol = define_extent(module, "ROW", desc.inputs[0].dims[0]);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "moe_route", facts);
  launch.grid[0] = LaunchExtent::ceil(desc.inputs[0].dims[0], kWarps);
  launch.block = kWarps * 32;
  launch.args = {LaunchArg::input(0), LaunchArg::output(0), LaunchArg::output(1), symbol};
}

/// Sums over k in one order whatever the tile; a token's experts in the order of its choice.
std::string whole_order(const OpDesc&, const Tactic&) { return "sm90.moe_in_1"; }

template <int kTile>
constexpr Tactic sm90(std::string_view name, int priority) {
  return {.name = name,
          .op = OpKind::kMoe,
          .priority = priority,
          .supports = moe_sm90_ok<kTile>,
          .weight_layout = "sm90.tile64x128_pair.v1",
          .down_layout = "sm90.tile64x128.v1",
          .sm = 90,
          .variant = kTile,
          .plan = plan_moe_sm90,
          .cost_us = moe_sm90_cost};
}
template <int kTile>
constexpr Tactic sm90_whole(std::string_view name, int priority) {
  Tactic made = sm90<kTile>(name, priority);
  made.variant |= 1 << kGemmPartsShift;
  made.sum_order = whole_order;
  return made;
}

constexpr Tactic any(std::string_view name, bool fixed) {
  return {.name = name,
          .op = OpKind::kMoe,
          .priority = 1,
          .supports = moe_any_ok,
          .sm = 80,
          .variant = fixed ? kOnePathVariant : 0,
          .plan = plan_moe_any,
          .cost_us = general_cost,
          .sum_order = fixed ? own_sum_order : nullptr,
          .invariant_only = fixed};
}

constexpr std::array kTactics = {
    Tactic{.name = "cuda.moe_route.v1",
           .op = OpKind::kMoeRoute,
           .priority = 10,
           .supports = moe_route_ok,
           .sm = 80,
           .plan = plan_moe_route,
           .cost_us = row_cost,
           .sum_order = own_sum_order},
    any("cuda.moe.v1", false),
    any("cuda.moe_fixed.v1", true),
    sm90<8>("sm90.moe_t8.v1", 50),
    sm90<16>("sm90.moe_t16.v1", 51),
    sm90<32>("sm90.moe_t32.v1", 52),
    sm90<64>("sm90.moe_t64.v1", 53),
    sm90<128>("sm90.moe_t128.v1", 54),
    sm90<256>("sm90.moe_t256.v1", 55),
    sm90_whole<8>("sm90.moe_t8w.v1", 40),
    sm90_whole<16>("sm90.moe_t16w.v1", 41),
    sm90_whole<32>("sm90.moe_t32w.v1", 42),
    sm90_whole<64>("sm90.moe_t64w.v1", 43),
    sm90_whole<128>("sm90.moe_t128w.v1", 44),
    sm90_whole<256>("sm90.moe_t256w.v1", 45),
};

}  // namespace

std::span<const Tactic> moe_tactics() { return kTactics; }

}  // namespace ramjet::kernels::cuda

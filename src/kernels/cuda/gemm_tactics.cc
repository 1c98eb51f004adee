// matmul on Hopper: device/gemm_sm90.cuh, one tactic a token tile. Pairs of weights (two
// accumulators) are interleaved by the compiler in tiles of 16 rows; their own layout moves the
// rows of a pair to one thread's registers, and nothing else knows of it.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_cost.h"
#include "kernels/cuda/gemm_sm90.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr std::string_view kPlainLayout = "sm90.tile64x128.v1";
constexpr std::string_view kPairLayout = "sm90.tile64x128_pair.v1";
constexpr int64_t kRowBytes = 128, kUnit = 16;

template <bool kPair>
void pack(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
          std::span<std::byte> out) {
  const int64_t row_bytes = cols * dtype_bytes(dtype);
  const int64_t k_blocks = (row_bytes + kRowBytes - 1) / kRowBytes;
  std::fill(out.begin(), out.end(), std::byte{0});
  for (int64_t row = 0; row < rows; ++row) {
    const std::byte* from = source.data() + row * row_bytes;
    const int64_t to = kPair ? gemm_sm90_pair_row(row) : row;
    for (int64_t at = 0; at < row_bytes; at += kUnit) {
      std::memcpy(out.data() + gemm_sm90_weight_offset(to, at, k_blocks), from + at,
                  static_cast<size_t>(std::min(kUnit, row_bytes - at)));
    }
  }
}

constexpr WeightLayout kLayouts[] = {
    {kPlainLayout, gemm_sm90_packed_bytes, pack<false>},
    {kPairLayout, gemm_sm90_packed_bytes, pack<true>},
};

size_t first_epilogue_operand(const MatmulDesc& matmul) {
  return matmul.quant == WeightQuant::kFp8Channel ? 4 : 2;
}

/// How an operand broadcasts over out[T, N]; false if it does so in another way.
bool classify(const TensorType& type, const TensorType& out, GemmOperand& operand) {
  if (type.rank() > 2 || device_type(type.dtype).empty()) return false;
  operand = {.dtype = type.dtype};
  if (type.rank() >= 1 && type.dims.back() != Dim(1)) {
    if (type.dims.back() != out.dims.back()) return false;
    operand.by_feature = true;
  }
  if (type.rank() == 2 && type.dims[0] != Dim(1)) {
    if (type.dims[0] != out.dims[0]) return false;
    operand.by_token = true;
  }
  return true;
}

bool types_fit(const OpDesc& desc, const MatmulDesc& matmul) {
  const bool fp8 = matmul.quant == WeightQuant::kFp8Channel;
  const DType element = fp8 ? DType::kF8E4M3 : DType::kBf16;
  if (desc.inputs.size() < first_epilogue_operand(matmul)) return false;
  const TensorType &a = desc.inputs[0], &b = desc.inputs[1];
  if (a.dtype != element || b.dtype != element || a.rank() != 2 || b.rank() != 2) return false;
  if (!b.dims[0].fixed() || !b.dims[1].fixed() || a.dims[1] != b.dims[1]) return false;
  if (b.dims[1].offset <= 0 || b.dims[1].offset * dtype_bytes(element) % kUnit != 0) return false;
  const Dim& rows = a.dims[0];
  if (!rows.fixed() && (rows.factor != 1 || rows.offset != 0)) return false;
  for (const TensorType& out : desc.outputs) {
    if (out.rank() != 2 || device_type(out.dtype).empty()) return false;
    if (out.dims != desc.outputs[0].dims) return false;
  }
  return !desc.outputs.empty();
}

template <int kAccumulators, int kBlockT>
bool supports(const OpDesc& desc) {
  const auto* matmul = std::get_if<MatmulDesc>(desc.attrs);
  if (matmul == nullptr || !matmul->transpose_b || matmul->accumulators != kAccumulators ||
      !matmul->prologue.empty() || matmul->quant == WeightQuant::kInt8Channel ||
      !types_fit(desc, *matmul)) {
    return false;
  }
  // Features of a pair come in whole tiles of 16 of each weight.
  const int64_t n = desc.inputs[1].dims[0].offset;
  if (kAccumulators == 2 && n % 32 != 0) return false;
  for (size_t i = first_epilogue_operand(*matmul); i < desc.inputs.size(); ++i) {
    GemmOperand operand;
    if (!classify(desc.inputs[i], desc.outputs[0], operand)) return false;
  }
  // A tile of which more than half stays empty is no candidate.
  const Dim& rows = desc.inputs[0].dims[0];
  const int64_t most =
      rows.fixed() ? rows.offset : desc.symbols[static_cast<size_t>(rows.symbol)].max;
  return kBlockT == 8 || most > kBlockT / 2;
}

/// Pairs of blocks share a tile of tokens: an even number of tiles of 128 rows.
template <int kAccumulators, int kBlockT>
bool supports_cluster(const OpDesc& desc) {
  return supports<kAccumulators, kBlockT>(desc) && desc.inputs[1].dims[0].offset % 256 == 0;
}

/// Each part of a tile has some k blocks.
template <int kAccumulators, int kBlockT, int kParts>
bool supports_parts(const OpDesc& desc) {
  if (!supports<kAccumulators, kBlockT>(desc)) return false;
  const TensorType& b = desc.inputs[1];
  return b.dims[1].offset * dtype_bytes(b.dtype) >= 4 * kParts * kRowBytes;
}

int segments_of(const OpDesc& desc) {
  const TensorType& b = desc.inputs[1];
  return gemm_sm90_segments(b.dims[0].offset, b.dims[1].offset, b.dtype == DType::kF8E4M3);
}

/// Whole tiles sum as one segment. Where there are more, the largest tile of tokens has no
/// registers for a second set of sums, nor have the larger slim ones.
template <int kAccumulators, int kBlockT>
bool supports_fixed(const OpDesc& desc) {
  return supports<kAccumulators, kBlockT>(desc) && segments_of(desc) > 1;
}
template <int kAccumulators, int kBlockT>
bool supports_fixed_cluster(const OpDesc& desc) {
  return supports_cluster<kAccumulators, kBlockT>(desc) && segments_of(desc) > 1;
}
std::string whole_order(const OpDesc&, const Tactic&) { return "sm90.gemm_in_1"; }
std::string fixed_order(const OpDesc& desc, const Tactic&) {
  return fmt::format("sm90.gemm_in_{}", segments_of(desc));
}

GemmSm90Config config_of(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts) {
  const auto& matmul = std::get<MatmulDesc>(*desc.attrs);
  GemmSm90Config config;
  config.n = desc.inputs[1].dims[0].offset;
  config.k = desc.inputs[1].dims[1].offset;
  config.fp8 = matmul.quant == WeightQuant::kFp8Channel;
  config.block_t = tactic.variant & kGemmTileMask;
  if ((tactic.variant & kGemmClusterBit) != 0) config.cluster = 2;
  if ((tactic.variant & kGemmSlimBit) != 0) config.slim = true;
  config.parts = tactic.variant >> kGemmPartsShift & kGemmPartsMask;
  config.pingpong = (tactic.variant & kGemmTurnsBit) != 0;
  config.store_map = (tactic.variant & kGemmStoreBit) != 0;
  if ((tactic.variant & kGemmRowsBit) != 0) {
    config.rows = gemm_sm90_rows(config.n);
    config.fragments = false;
    // A share that fits as a whole is asked for before the kernel ahead is done; else what lies
    // beside matters more.
    config.slim = !gemm_rows_hold_all(config);
  }
  if ((tactic.variant & kGemmFixedBit) != 0) config.segments = segments_of(desc);
  config.accumulators = static_cast<int>(matmul.accumulators);
  const Dim& rows = desc.inputs[0].dims[0];
  if (rows.fixed()) config.fixed_tokens = rows.offset;
  config.epilogue = matmul.epilogue;
  for (size_t i = first_epilogue_operand(matmul); i < desc.inputs.size(); ++i) {
    GemmOperand operand;
    classify(desc.inputs[i], desc.outputs[0], operand);
    config.operands.push_back(operand);
  }
  config.outputs.clear();
  for (const TensorType& out : desc.outputs) config.outputs.push_back(out.dtype);
  return config;
}

DeviceLaunch launch_of(const OpDesc& desc, const GemmSm90Config& config, int multiprocessors) {
  const Dim rows = desc.inputs[0].dims[0];
  const int64_t element = config.fp8 ? 1 : 2;
  DeviceLaunch launch;
  launch.entry = gemm_sm90_entry(config);
  launch.grid[0] = LaunchExtent::ceil(rows, config.block_t, gemm_sm90_blocks_of_tile(config),
                                      gemm_sm90_most_blocks(config, multiprocessors));
  launch.block = gemm_sm90_threads(config);
  launch.cluster = gemm_sm90_cluster(config);
  launch.shared_bytes = gemm_sm90_shared_bytes(config);
  launch.args = {LaunchArg::tensor_map(0)};
  if (gemm_sm90_store_map(config)) launch.args.push_back(LaunchArg::tensor_map(1));
  launch.args.push_back(LaunchArg::input(1));
  if (config.parts == 0) {
    launch.args.insert(launch.args.end(), {LaunchArg::workspace(), LaunchArg::flags()});
  }
  if (!rows.fixed()) launch.args.push_back(LaunchArg::symbol(rows.symbol));
  for (size_t i = 2; i < desc.inputs.size(); ++i) {
    launch.args.push_back(LaunchArg::input(static_cast<int>(i)));
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    launch.args.push_back(LaunchArg::output(static_cast<int>(i)));
  }
  launch.maps = {{.base = LaunchArg::input(0),
                  .dtype = desc.inputs[0].dtype,
                  .extents = {config.k, rows},
                  .strides = {config.k * element},
                  .box = {kRowBytes / element, config.block_t / config.cluster},
                  .swizzle_bytes = 128}};
  if (gemm_sm90_store_map(config)) {
    const GemmStoreBox box = gemm_sm90_store_box(config);
    const int64_t features = config.n / config.accumulators;
    launch.maps.push_back({.base = LaunchArg::output(0),
                           .dtype = DType::kBf16,
                           .extents = {features, rows},
                           .strides = {features * 2},
                           .box = {box.features, box.tokens},
                           .swizzle_bytes = box.swizzle_bytes});
  }
  return launch;
}

void plan(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts, DevicePlan& plan) {
  const GemmSm90Config config = config_of(desc, tactic, facts);
  DeviceModule module;
  module.name = fmt::format("gemm_sm90_n{}_k{}_t{}{}{}{}", config.n, config.k, config.block_t,
                            config.fp8 ? "_fp8" : "", config.accumulators == 2 ? "_pair" : "",
                            config.segments > 0 ? "_fixed" : "");
  module.source = gemm_sm90_source(config);
  module.defines = gemm_sm90_defines(config);
  plan.modules = {std::move(module)};
  plan.launches = {launch_of(desc, config, facts.multiprocessors)};
  plan.workspace_bytes = gemm_sm90_workspace_bytes(config, facts.multiprocessors);
  if (config.parts == 0) plan.flags_bytes = facts.multiprocessors * int64_t{8};
}

/// The largest tile that is a candidate is likely the best: larger ones have priority.
template <int kAccumulators, int kBlockT>
constexpr Tactic tactic(std::string_view name, int priority) {
  return {.name = name,
          .op = OpKind::kMatmul,
          .priority = priority,
          .supports = supports<kAccumulators, kBlockT>,
          .weight_layout = kAccumulators == 2 ? kPairLayout : kPlainLayout,
          .sm = 90,
          .variant = kBlockT,
          .plan = plan,
          .cost_us = gemm_sm90_cost};
}
/// Whole tiles, or tiles cut into equal parts.
template <int kAccumulators, int kBlockT, int kParts>
constexpr Tactic parts_tactic(std::string_view name, int priority) {
  Tactic made = tactic<kAccumulators, kBlockT>(name, priority);
  made.supports = supports_parts<kAccumulators, kBlockT, kParts>;
  made.variant |= kParts << kGemmPartsShift;
  if (kParts == 1) made.sum_order = whole_order;
  return made;
}
template <int kAccumulators, int kBlockT>
constexpr Tactic slim_tactic(std::string_view name, int priority) {
  Tactic made = tactic<kAccumulators, kBlockT>(name, priority);
  made.variant |= kGemmSlimBit;
  return made;
}
template <int kAccumulators, int kBlockT>
constexpr Tactic cluster_tactic(std::string_view name, int priority) {
  Tactic made = tactic<kAccumulators, kBlockT>(name, priority);
  made.supports = supports_cluster<kAccumulators, kBlockT>;
  made.variant |= kGemmClusterBit;
  return made;
}
template <int kAccumulators, int kBlockT, int kParts>
bool supports_parts_cluster(const OpDesc& desc) {
  return supports_parts<kAccumulators, kBlockT, kParts>(desc) &&
         supports_cluster<kAccumulators, kBlockT>(desc);
}
template <int kAccumulators, int kBlockT, int kParts>
constexpr Tactic parts_cluster(std::string_view name, int priority) {
  Tactic made = parts_tactic<kAccumulators, kBlockT, kParts>(name, priority);
  made.supports = supports_parts_cluster<kAccumulators, kBlockT, kParts>;
  made.variant |= kGemmClusterBit;
  return made;
}

/// Equal shares of rows, one a block: operands as the epilogue on accumulators takes them.
template <int kBlockT>
bool supports_rows(const OpDesc& desc) {
  if (!supports<1, kBlockT>(desc) || gemm_sm90_rows(desc.inputs[1].dims[0].offset) == 0) {
    return false;
  }
  Tactic tactic;
  tactic.variant = kBlockT | 1 << kGemmPartsShift | kGemmRowsBit;
  return gemm_sm90_direct(config_of(desc, tactic, DeviceFacts{}));
}
template <int kBlockT>
constexpr Tactic rows_tactic(std::string_view name, int priority) {
  Tactic made = tactic<1, kBlockT>(name, priority);
  made.supports = supports_rows<kBlockT>;
  made.variant |= 1 << kGemmPartsShift | kGemmRowsBit;
  return made;
}

/// The same with K cut at fixed places: all of these give the same bits.
constexpr Tactic fix(Tactic made, bool (*supports)(const OpDesc&)) {
  made.supports = supports;
  made.variant |= kGemmFixedBit;
  made.invariant_only = true;
  made.sum_order = fixed_order;
  return made;
}
template <int kAccumulators, int kBlockT>
constexpr Tactic fixed(std::string_view name, int priority) {
  return fix(tactic<kAccumulators, kBlockT>(name, priority),
             supports_fixed<kAccumulators, kBlockT>);
}
template <int kAccumulators, int kBlockT>
constexpr Tactic fixed_slim(std::string_view name, int priority) {
  return fix(slim_tactic<kAccumulators, kBlockT>(name, priority),
             supports_fixed<kAccumulators, kBlockT>);
}
template <int kAccumulators, int kBlockT>
constexpr Tactic fixed_cluster(std::string_view name, int priority) {
  return fix(cluster_tactic<kAccumulators, kBlockT>(name, priority),
             supports_fixed_cluster<kAccumulators, kBlockT>);
}

constexpr Tactic kTactics[] = {
    tactic<1, 8>("sm90.gemm_t8.v2", 50),
    tactic<1, 16>("sm90.gemm_t16.v2", 51),
    tactic<1, 32>("sm90.gemm_t32.v2", 52),
    tactic<1, 64>("sm90.gemm_t64.v2", 53),
    tactic<1, 128>("sm90.gemm_t128.v2", 54),
    tactic<1, 256>("sm90.gemm_t256.v2", 55),
    cluster_tactic<1, 128>("sm90.gemm_t128x2.v1", 56),
    cluster_tactic<1, 256>("sm90.gemm_t256x2.v1", 57),
    slim_tactic<1, 8>("sm90.gemm_t8s.v1", 46),
    slim_tactic<1, 16>("sm90.gemm_t16s.v1", 47),
    slim_tactic<1, 32>("sm90.gemm_t32s.v1", 48),
    slim_tactic<1, 64>("sm90.gemm_t64s.v1", 49),
    parts_tactic<1, 8, 1>("sm90.gemm_t8w.v1", 38),
    parts_tactic<1, 16, 1>("sm90.gemm_t16w.v1", 39),
    parts_tactic<1, 32, 1>("sm90.gemm_t32w.v1", 40),
    parts_tactic<1, 64, 1>("sm90.gemm_t64w.v1", 41),
    parts_tactic<1, 128, 1>("sm90.gemm_t128w.v1", 42),
    parts_tactic<1, 256, 1>("sm90.gemm_t256w.v1", 43),
    parts_tactic<1, 64, 2>("sm90.gemm_t64c2.v1", 36),
    parts_tactic<1, 128, 2>("sm90.gemm_t128c2.v1", 37),
    parts_cluster<1, 128, 1>("sm90.gemm_t128x2w.v1", 44),
    parts_cluster<1, 256, 1>("sm90.gemm_t256x2w.v1", 45),
    rows_tactic<8>("sm90.gemm_t8r.v1", 35),
    rows_tactic<16>("sm90.gemm_t16r.v1", 34),
    tactic<2, 8>("sm90.gemm_pair_t8.v2", 50),
    tactic<2, 16>("sm90.gemm_pair_t16.v2", 51),
    tactic<2, 32>("sm90.gemm_pair_t32.v2", 52),
    tactic<2, 64>("sm90.gemm_pair_t64.v2", 53),
    tactic<2, 128>("sm90.gemm_pair_t128.v2", 54),
    tactic<2, 256>("sm90.gemm_pair_t256.v2", 55),
    cluster_tactic<2, 128>("sm90.gemm_pair_t128x2.v1", 56),
    cluster_tactic<2, 256>("sm90.gemm_pair_t256x2.v1", 57),
    slim_tactic<2, 8>("sm90.gemm_pair_t8s.v1", 46),
    slim_tactic<2, 16>("sm90.gemm_pair_t16s.v1", 47),
    slim_tactic<2, 32>("sm90.gemm_pair_t32s.v1", 48),
    slim_tactic<2, 64>("sm90.gemm_pair_t64s.v1", 49),
    parts_tactic<2, 8, 1>("sm90.gemm_pair_t8w.v1", 38),
    parts_tactic<2, 16, 1>("sm90.gemm_pair_t16w.v1", 39),
    parts_tactic<2, 32, 1>("sm90.gemm_pair_t32w.v1", 40),
    parts_tactic<2, 64, 1>("sm90.gemm_pair_t64w.v1", 41),
    parts_tactic<2, 128, 1>("sm90.gemm_pair_t128w.v1", 42),
    parts_tactic<2, 256, 1>("sm90.gemm_pair_t256w.v1", 43),
    parts_tactic<2, 64, 2>("sm90.gemm_pair_t64c2.v1", 36),
    parts_tactic<2, 128, 2>("sm90.gemm_pair_t128c2.v1", 37),
    parts_cluster<2, 128, 1>("sm90.gemm_pair_t128x2w.v1", 44),
    parts_cluster<2, 256, 1>("sm90.gemm_pair_t256x2w.v1", 45),
    fixed<1, 8>("sm90.gemm_t8f.v1", 50),
    fixed<1, 16>("sm90.gemm_t16f.v1", 51),
    fixed<1, 32>("sm90.gemm_t32f.v1", 52),
    fixed<1, 64>("sm90.gemm_t64f.v1", 53),
    fixed<1, 128>("sm90.gemm_t128f.v1", 54),
    fixed_cluster<1, 128>("sm90.gemm_t128x2f.v1", 56),
    fixed_slim<1, 8>("sm90.gemm_t8sf.v1", 46),
    fixed_slim<1, 16>("sm90.gemm_t16sf.v1", 47),
    fixed<2, 8>("sm90.gemm_pair_t8f.v1", 50),
    fixed<2, 16>("sm90.gemm_pair_t16f.v1", 51),
    fixed<2, 32>("sm90.gemm_pair_t32f.v1", 52),
    fixed<2, 64>("sm90.gemm_pair_t64f.v1", 53),
    fixed<2, 128>("sm90.gemm_pair_t128f.v1", 54),
    fixed_cluster<2, 128>("sm90.gemm_pair_t128x2f.v1", 56),
    fixed_slim<2, 8>("sm90.gemm_pair_t8sf.v1", 46),
    fixed_slim<2, 16>("sm90.gemm_pair_t16sf.v1", 47),
};

}  // namespace

std::span<const Tactic> gemm_tactics() { return kTactics; }
std::span<const WeightLayout> layouts() { return kLayouts; }

}  // namespace ramjet::kernels::cuda

#include <algorithm>
#include <numeric>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_cost.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/paging.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kMaxSequences = 8192;  // whose prefix sums a block keeps in shared memory

const AttentionDesc& attention_of(const OpDesc& desc) {
  return std::get<AttentionDesc>(*desc.attrs);
}
bool fp8_cache(const AttentionDesc& d) { return d.kv_dtype == DType::kF8E4M3; }
int64_t element_bytes(const AttentionDesc& d) { return fp8_cache(d) ? 1 : 2; }

const Symbol* sequences_symbol(const OpDesc& desc) {
  const Dim& dim = desc.inputs[2].dims[0];
  const bool plain = !dim.fixed() && dim.factor == 1 && dim.offset == 0;
  return plain ? &desc.symbols[static_cast<size_t>(dim.symbol)] : nullptr;
}

bool supports_any(const OpDesc& desc) {
  const AttentionDesc& d = attention_of(desc);
  const DType q = desc.inputs[0].dtype, kv = d.kv_dtype;
  return d.scale > 0 && (!d.sinks || desc.inputs[4].dtype == DType::kF32) && is_real(q) &&
         desc.outputs[0].dtype == q && (is_real(kv) || kv == DType::kF8E4M3) &&
         sequences_symbol(desc) != nullptr && desc.inputs[3].dims[1].fixed();
}

bool supports_decode(const OpDesc& desc, DType kv_dtype) {
  const AttentionDesc& d = attention_of(desc);
  return supports_any(desc) && d.kv_dtype == kv_dtype && desc.inputs[0].dtype == DType::kBf16 &&
         d.head_dim == value_dim(d) && d.head_dim * element_bytes(d) % 16 == 0 &&
         d.head_dim <= 256 && d.block_tokens % 16 == 0 &&
         sequences_symbol(desc)->max <= kMaxSequences;
}
bool supports_bf16(const OpDesc& desc) { return supports_decode(desc, DType::kBf16); }
bool supports_fp8(const OpDesc& desc) { return supports_decode(desc, DType::kF8E4M3); }

std::string float_define(const char* name, double value) {
  return fmt::format("{}={:.9e}f", name, value);
}

DeviceModule module_of(const OpDesc& desc, const char* source, int rows) {
  const AttentionDesc& d = attention_of(desc);
  DeviceModule module;
  module.name = fmt::format("{}_h{}x{}_d{}_{}{}", source, d.num_heads, d.num_kv_heads, d.head_dim,
                            dtype_name(d.kv_dtype), d.window > 0 ? "_window" : "");
  module.source = fmt::format("#include \"{}.cuh\"\n", source);
  const DType q = desc.inputs[0].dtype;
  const int kv = fp8_cache(d)                ? 1
                 : d.kv_dtype == DType::kF32 ? 2
                 : d.kv_dtype == DType::kF16 ? 3
                                             : 0;
  module.defines = {fmt::format("ATT_HEADS={}", d.num_heads),
                    fmt::format("ATT_KV_HEADS={}", d.num_kv_heads),
                    fmt::format("ATT_DIM={}", d.head_dim),
                    fmt::format("ATT_V_DIM={}", value_dim(d)),
                    fmt::format("ATT_BLOCK_TOKENS={}", d.block_tokens),
                    fmt::format("ATT_KV={}", kv),
                    fmt::format("ATT_Q_F32={}", q == DType::kF32   ? 1
                                                : q == DType::kF16 ? 2
                                                                   : 0),
                    fmt::format("ATT_WINDOW={}", d.window),
                    fmt::format("ATT_MAX_BLOCKS={}", desc.inputs[3].dims[1].offset),
                    fmt::format("ATT_MAX_SEQUENCES={}", sequences_symbol(desc)->max),
                    fmt::format("ATT_ROWS={}", rows),
                    fmt::format("ATT_SINKS={}", d.sinks ? 1 : 0),
                    float_define("ATT_SCALE", d.scale),
                    float_define("ATT_SOFTCAP", d.softcap),
                    float_define("ATT_K_SCALE", fp8_cache(d) ? d.k_scale : 1),
                    float_define("ATT_V_SCALE", fp8_cache(d) ? d.v_scale : 1)};
  return module;
}

DeviceLaunch launch_of(const OpDesc& desc, DevicePlan& plan, const char* entry) {
  const AttentionDesc& d = attention_of(desc);
  DeviceLaunch launch;
  launch.module = static_cast<int32_t>(plan.modules.size()) - 1;
  launch.entry = entry;
  launch.block = 128;
  launch.args = {LaunchArg::input(0),
                 LaunchArg::input(1),
                 LaunchArg::input(2),
                 LaunchArg::input(3),
                 LaunchArg::symbol(desc.inputs[2].dims[0].symbol),
                 LaunchArg::kv_layer(d.kv_group, d.kv_layer),
                 LaunchArg::output(0)};
  if (d.sinks) launch.args.push_back(LaunchArg::input(4));
  return launch;
}

/// The kernel of any shape, for the sequences that `when` names.
void add_any(const OpDesc& desc, const DeviceFacts& facts, LaunchWhen when, DevicePlan& plan) {
  constexpr int64_t kWarps = 4;
  plan.modules.push_back(module_of(desc, "attention_any", when == LaunchWhen::kAnyMany ? 2 : 0));
  DeviceLaunch launch = launch_of(desc, plan, "attention_any");
  launch.grid[0] = LaunchExtent::ceil(desc.inputs[0].dims[0], 1,
                                      (attention_of(desc).num_heads + kWarps - 1) / kWarps,
                                      int64_t{facts.multiprocessors} * 64);
  launch.when = when;
  // Never read without.
  if (!attention_of(desc).sinks) launch.args.push_back(LaunchArg::input(0));
  plan.launches.push_back(std::move(launch));
}

/// `cluster`: a cluster of so many blocks a sequence and KV head; 0: equal runs over a fixed grid.
void add_decode(const OpDesc& desc, const DeviceFacts& facts, int64_t cluster, DevicePlan& plan) {
  constexpr int64_t kWarps = 4, kRingBytes = 96 << 10, kShortRing = 64 << 10;
  const AttentionDesc& d = attention_of(desc);
  const int64_t least = fp8_cache(d) ? 128 : 64;
  const int64_t pad = d.head_dim <= least ? least : d.head_dim <= 128 ? 128 : 256;
  const int64_t stage = kWarps * 32 * pad * element_bytes(d);
  // e4m3 waits for its conversions rather than for memory: three blocks a multiprocessor with a
  // shorter ring each, where they fit. Sums of 16 x pad f32 a warp land where copies did.
  const int64_t rest = sequences_symbol(desc)->max * 4 + (2 << 10);
  const bool three =
      cluster == 0 && fp8_cache(d) && pad == 128 && 3 * (kShortRing + rest) <= (228 << 10);
  const int64_t stages = three ? kShortRing / stage : std::clamp<int64_t>(kRingBytes / stage, 3, 8);
  const int64_t group = d.num_heads / d.num_kv_heads;
  const int64_t pairs = d.num_kv_heads * ((group + 15) / 16);
  const int64_t together = three ? 3 : stages * stage > kRingBytes + 1024 ? 1 : 2;
  const int64_t blocks = facts.multiprocessors * together;
  const Dim sequences = desc.inputs[2].dims[0];
  plan.modules.push_back(module_of(desc, "attention_decode", 1));
  plan.modules.back().defines.push_back(fmt::format("ATT_PAD={}", pad));
  plan.modules.back().defines.push_back(fmt::format("STAGES={}", stages));
  plan.modules.back().defines.push_back(fmt::format("ATT_CLUSTER={}", cluster));
  plan.modules.back().defines.push_back(fmt::format("ATT_BLOCKS={}", three ? 3 : 1));
  DeviceLaunch launch =
      launch_of(desc, plan, cluster > 0 ? "attention_decode_cluster" : "attention_decode");
  launch.shared_bytes = static_cast<uint32_t>(stages * stage);
  launch.when = LaunchWhen::kAnySingle;
  if (cluster > 0) {
    launch.cluster = static_cast<uint32_t>(cluster);
    launch.grid[0] = LaunchExtent::ceil(sequences, 1, pairs * cluster);
  } else {
    launch.args.push_back(LaunchArg::workspace(plan.workspace_bytes));
    launch.args.push_back(LaunchArg::flags());
    // One sequence has too little work for two blocks a multiprocessor, and the product after it
    // wants the room for its weights.
    launch.grid[0] = LaunchExtent::ceil(sequences, 1, facts.multiprocessors, blocks);
    plan.workspace_bytes += blocks * 2 * (16 * pad + 64) * 4;
    plan.flags_bytes = sequences_symbol(desc)->max * pairs * 4;
  }
  plan.launches.push_back(std::move(launch));
}

/// A wgmma of 64 x n: an instruction of n / 2 accumulators is too long to write by hand. The first
/// operand lies in shared memory, or in registers, and then the second is transposed.
std::string wgmma_function(const char* name, int64_t n, bool from_registers, const char* type) {
  const int64_t count = n / 2, operands = from_registers ? 4 : 1;
  std::string registers, outputs;
  for (int64_t i = 0; i < count; ++i) {
    registers += fmt::format("{}%{}", i == 0 ? "" : ", ", i);
    outputs += fmt::format("{}\"+f\"(d[{}])", i == 0 ? "" : ", ", i);
  }
  const std::string a =
      from_registers ? fmt::format("{{%{}, %{}, %{}, %{}}}", count, count + 1, count + 2, count + 3)
                     : fmt::format("%{}", count);
  const int64_t b = count + operands;
  const bool eight_bits = std::string_view(type).find("e4m3") != std::string_view::npos;
  const char* const order = from_registers ? ", 1" : eight_bits ? "" : ", 0, 0";
  return fmt::format(
      "__device__ __forceinline__ void {}(float (&d)[{}], {}, uint64_t b, int add) {{\n"
      "  asm volatile(\"{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{}, 0;\\n"
      "wgmma.mma_async.sync.aligned.m64n{}{} {{{}}}, {}, %{}, p, 1, 1{};\\n}}\\n\"\n"
      "      : {}\n      : {}, \"l\"(b), \"r\"(add));\n}}\n",
      name, count,
      from_registers ? "uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3" : "uint64_t a", b + 1,
      n, type, registers, a, b, order, outputs,
      from_registers ? "\"r\"(a0), \"r\"(a1), \"r\"(a2), \"r\"(a3)" : "\"l\"(a)");
}

/// Pages as boxes of a tensor map: whole, or parts of equal size, make up a tile. What is widened
/// may be of any size: it is cleared outside the sequence on its way.
bool by_tensor_map(const AttentionDesc& d, int64_t keys) {
  return fp8_cache(d) || (d.window == 0 && d.head_dim >= 64 &&
                          (keys % d.block_tokens == 0 || d.block_tokens % keys == 0));
}

/// Keys and values by blocks of the cache, and queries by tokens, of so many heads a tile.
struct MapShape {
  int64_t pad, page_rows, heads;
};
void add_maps(const OpDesc& desc, const MapShape& shape, DeviceLaunch& launch) {
  constexpr int64_t kBoxColumns = 64, kBoxRows = 64;
  const AttentionDesc& d = attention_of(desc);
  const bool fp8 = fp8_cache(d);  // whole rows, as they lie
  const int64_t row = d.head_dim * 2, rows = 2 * d.num_kv_heads * d.block_tokens;
  const int64_t cell = d.head_dim * element_bytes(d);
  launch.maps = {{.base = LaunchArg::kv_layer(d.kv_group, d.kv_layer),
                  .dtype = d.kv_dtype,
                  .extents = {d.head_dim, rows, -1},
                  .strides = {cell, rows * cell},
                  .box = {fp8 ? shape.pad : kBoxColumns, shape.page_rows, 1},
                  .swizzle_bytes = fp8 ? 0 : 128},
                 {.base = LaunchArg::input(0),
                  .dtype = DType::kBf16,
                  .extents = {d.head_dim, d.num_heads, desc.inputs[0].dims[0]},
                  .strides = {row, d.num_heads * row},
                  .box = {kBoxColumns, shape.heads, kBoxRows / shape.heads},
                  .swizzle_bytes = 128}};
  launch.args.push_back(LaunchArg::tensor_map(0));
  launch.args.push_back(LaunchArg::tensor_map(1));
}

/// `all`: the sequences of one query too, with the heads of a KV head in one tile.
void add_prefill(const OpDesc& desc, const DeviceFacts& facts, bool all, DevicePlan& plan) {
  constexpr int64_t kStages = 2, kRows = 128, kAlignment = 1024, kShared = 227 << 10, kRest = 1024;
  constexpr int64_t kSplitKeys = 2048;
  const AttentionDesc& d = attention_of(desc);
  const bool fp8 = fp8_cache(d);
  const int64_t pad = d.head_dim <= 64 ? 64 : d.head_dim <= 128 ? 128 : 256;
  const int64_t keys = pad <= 128 ? 128 : 64;
  const bool mapped = by_tensor_map(d, keys);
  const int64_t queries = mapped && pad <= 128 && !fp8 ? 2 : 1;  // buffers: what memory holds
  const int64_t page_rows = std::gcd(keys, d.block_tokens);
  const int64_t tiles = (queries * kRows + 2 * kStages * keys) * pad * 2 + kAlignment;
  const int64_t rest = kShared - tiles - kRest - sequences_symbol(desc)->max * 4;
  const int64_t raw = fp8 ? std::clamp<int64_t>(rest / (keys * pad), 1, 4) : 0;
  plan.modules.push_back(module_of(desc, "attention_prefill", all ? 0 : 2));
  DeviceModule& module = plan.modules.back();
  const char* const type = fp8 ? "k16.f32.f16.f16" : "k16.f32.bf16.bf16";
  module.source = "#include \"hopper.cuh\"\n" + wgmma_function("wgmma_scores", keys, false, type) +
                  wgmma_function("wgmma_values", pad, true, type) + module.source;
  const std::pair<const char*, int64_t> defines[] = {
      {"ATT_PAD", pad},   {"TILE_KEYS", keys}, {"STAGES", kStages},     {"QUERIES", queries},
      {"RAW_TILES", raw}, {"ATT_TMA", mapped}, {"PAGE_ROWS", page_rows}};
  for (const auto& [name, value] : defines) {
    module.defines.push_back(fmt::format("{}={}", name, value));
  }
  DeviceLaunch launch = launch_of(desc, plan, "attention_prefill");
  launch.grid[0] = facts.multiprocessors;
  launch.block = 384;
  launch.shared_bytes = static_cast<uint32_t>(tiles + raw * keys * pad);
  launch.when = all ? LaunchWhen::kAlways : LaunchWhen::kAnyMany;
  // A window has few keys, and 256 dimensions no registers for the addition.
  const bool splits = all && d.window == 0 && pad <= 128;
  const int64_t split = splits ? kSplitKeys / keys : 0;
  const int64_t slots = int64_t{2} * facts.multiprocessors;
  define(module, "SPLIT_TILES", split);
  define(module, "SPLIT_SLOTS", slots);
  if (split > 0) {
    const int64_t heads = d.num_kv_heads;
    launch.args.push_back(LaunchArg::workspace(plan.workspace_bytes));
    launch.args.push_back(LaunchArg::flags());
    plan.workspace_bytes += (slots + facts.multiprocessors) * 256 * (pad / 8 + 1) * 16;
    plan.flags_bytes = sequences_symbol(desc)->max * heads * 2 * 4;
  }
  if (mapped) {
    add_maps(desc, {pad, page_rows, all ? d.num_heads / d.num_kv_heads : 1}, launch);
  }
  plan.launches.push_back(std::move(launch));
}

/// Rows of e4m3 keys that fill 128 bytes: what attention_prefill_e4m3.cuh is for.
bool keys_as_they_lie(const AttentionDesc& d) {
  return fp8_cache(d) && d.head_dim > 64 && d.head_dim <= 128 && d.window == 0 && !d.sinks;
}

void add_prefill_e4m3(const OpDesc& desc, const DeviceFacts& facts, DevicePlan& plan) {
  constexpr int64_t kPad = 128, kKeys = 128, kRows = 128, kShared = 227 << 10, kRest = 1024;
  constexpr int64_t kPlaces = 3, kAlignment = 1024, kTile = kKeys * kPad;  // of e4m3
  const AttentionDesc& d = attention_of(desc);
  const int64_t page_rows = std::gcd(kKeys, d.block_tokens);
  // Queries in bf16, keys as they lie, values in f16.
  const int64_t tiles = kRows * kPad * 2 + kPlaces * 3 * kTile + kAlignment;
  const int64_t rest = kShared - tiles - kRest - sequences_symbol(desc)->max * 4;
  const int64_t raw = std::clamp<int64_t>(rest / kTile, 1, 4);
  plan.modules.push_back(module_of(desc, "attention_prefill_e4m3", 2));
  DeviceModule& module = plan.modules.back();
  module.source = "#include \"hopper.cuh\"\n" +
                  wgmma_function("wgmma_scores", kKeys, false, "k32.f32.e4m3.e4m3") +
                  wgmma_function("wgmma_values", kPad, true, "k16.f32.f16.f16") + module.source;
  define(module, "ATT_PAD", kPad);
  define(module, "TILE_KEYS", kKeys);
  define(module, "RAW_TILES", raw);
  define(module, "PAGE_ROWS", page_rows);
  DeviceLaunch launch = launch_of(desc, plan, "attention_prefill");
  launch.grid[0] = facts.multiprocessors;
  launch.block = 384;
  launch.shared_bytes = static_cast<uint32_t>(tiles + raw * kTile);
  launch.when = LaunchWhen::kAnyMany;
  add_maps(desc, {kPad, page_rows, 1}, launch);
  // Keys in the order in which they are multiplied.
  launch.maps.push_back(launch.maps[0]);
  launch.maps.back().swizzle_bytes = 128;
  launch.args.push_back(LaunchArg::tensor_map(2));
  plan.launches.push_back(std::move(launch));
}

void plan_any(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  add_any(desc, facts, LaunchWhen::kAlways, plan);
}
void plan_split(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  add_decode(desc, facts, 0, plan);
  add_any(desc, facts, LaunchWhen::kAnyMany, plan);
}
/// Tactic::variant: blocks of a cluster.
void plan_sm90(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan) {
  add_decode(desc, facts, tactic.variant, plan);
  if (keys_as_they_lie(attention_of(desc))) {
    add_prefill_e4m3(desc, facts, plan);
  } else {
    add_prefill(desc, facts, false, plan);
  }
}
void plan_fixed(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  add_prefill(desc, facts, true, plan);
}
bool supports_sm90(const OpDesc& desc) {
  constexpr int64_t kMost = 4096;  // sequences: shared memory is fuller here
  return (supports_bf16(desc) || supports_fp8(desc)) && sequences_symbol(desc)->max <= kMost;
}

bool supports_fixed(const OpDesc& desc) {
  constexpr int64_t kMostHeads = 64;  // of a KV head
  const AttentionDesc& d = attention_of(desc);
  return supports_sm90(desc) && d.num_heads / d.num_kv_heads <= kMostHeads;
}

constexpr Tactic kTactics[] = {
    {.name = "cuda.attention_sm90.v2",
     .op = OpKind::kPagedAttention,
     .priority = 20,
     .supports = supports_sm90,
     .sm = 90,
     .plan = plan_sm90,
     .cost_us = attention_cost},
    {.name = "cuda.attention_sm90_cluster.v1",
     .op = OpKind::kPagedAttention,
     .priority = 19,
     .supports = supports_sm90,
     .sm = 90,
     .variant = 8,
     .plan = plan_sm90,
     .cost_us = attention_cost},
    {.name = "cuda.attention_split_bf16.v2",
     .op = OpKind::kPagedAttention,
     .priority = 10,
     .supports = supports_bf16,
     .sm = 80,
     .plan = plan_split,
     .cost_us = attention_split_cost},
    {.name = "cuda.attention_split_fp8.v2",
     .op = OpKind::kPagedAttention,
     .priority = 10,
     .supports = supports_fp8,
     .sm = 89,
     .plan = plan_split,
     .cost_us = attention_split_cost},
    {.name = "cuda.attention_any.v1",
     .op = OpKind::kPagedAttention,
     .priority = 1,
     .supports = supports_any,
     .sm = 80,
     .plan = plan_any,
     .cost_us = attention_any_cost,
     .sum_order = own_sum_order},
    {.name = "cuda.attention_sm90_fixed.v1",
     .op = OpKind::kPagedAttention,
     .priority = 18,
     .supports = supports_fixed,
     .sm = 90,
     .plan = plan_fixed,
     .cost_us = attention_fixed_cost,
     .sum_order = own_sum_order,
     .invariant_only = true},
};

}  // namespace

std::span<const Tactic> attention_tactics() { return kTactics; }

}  // namespace ramjet::kernels::cuda

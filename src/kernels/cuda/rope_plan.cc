#include "kernels/cuda/rope_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "kernels/cuda/plan_util.h"
#include "kernels/paging.h"
#include "op/rope.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kMaxHead = 2048;  // heads of four warps in shared memory
constexpr int64_t kWarps = 4;

struct Append {
  AttentionDesc attention;
  bool fused = false;
  QkvDesc qkv;  // as it is for a kv_append but for attention
};

Append append_of(const OpDesc& desc) {
  Append out;
  if (const auto* qkv = std::get_if<QkvDesc>(desc.attrs)) {
    out.qkv = *qkv;
    out.attention = qkv->attention;
    out.fused = true;
  } else {
    out.attention = std::get<AttentionDesc>(*desc.attrs);
  }
  return out;
}

bool append_shape_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const AttentionDesc attention = append_of(desc).attention;
  return attention.head_dim > 0 && attention.head_dim <= kMaxHead && attention.block_tokens > 0 &&
         desc.inputs[0].rank() == 2 && desc.inputs[3].rank() == 1 && desc.inputs[4].rank() == 2;
}

/// The frequencies as an array: the host's figures, so that no pow differs.
std::string frequency_source(const RopeSpec& spec) {
  std::string values;
  const auto append = [&](int64_t length) {
    std::vector<float> frequencies(static_cast<size_t>(spec.rotary_dim / 2));
    rope_inv_freq(spec, length, frequencies);
    for (float f : frequencies) {
      fmt::format_to(std::back_inserter(values), "{},", device_float(double{f}));
    }
  };
  append(1);
  if (spec.kind == RopeKind::kLongrope) append(spec.original_max_position + 1);
  return fmt::format("__device__ const float frequencies[] = {{{}}};\n", values);
}

}  // namespace

bool rope_table_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const auto& spec = std::get<RopeSpec>(*desc.attrs);
  return spec.rotary_dim > 0 && spec.rotary_dim % 2 == 0 && desc.inputs[0].rank() == 1 &&
         desc.inputs[2].rank() == 1;
}

void plan_rope_table(const OpDesc& desc, const Tactic&, const DeviceFacts& facts,
                     DevicePlan& plan) {
  const auto& spec = std::get<RopeSpec>(*desc.attrs);
  const bool dynamic = spec.kind == RopeKind::kDynamic;
  DeviceModule module;
  module.name = fmt::format("rope_table_{}", spec.rotary_dim);
  if (!dynamic) module.source = frequency_source(spec);
  module.source += "#include \"rope_table.cuh\"\n";
  define(module, "ROTARY", spec.rotary_dim);
  define(module, "FACTOR", device_float(spec.attention_factor));
  define(module, "KIND", dynamic ? 2 : spec.kind == RopeKind::kLongrope ? 1 : 0);
  define(module, "ORIGINAL", spec.original_max_position);
  define(module, "THETA", fmt::format("{:.17e}", spec.theta));
  define(module, "STRETCH", fmt::format("{:.17e}", spec.factor));
  const LaunchArg sequences = define_extent(module, "SEQ", desc.inputs[2].dims[0]);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "rope_table", facts);
  launch.grid[0] = LaunchExtent::ceil(scaled(desc.inputs[0].dims[0], spec.rotary_dim / 2), 128);
  launch.block = 128;
  launch.args = {LaunchArg::input(0), LaunchArg::input(1), LaunchArg::input(2),
                 LaunchArg::output(0), sequences};
}

bool rope_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const auto& rope = std::get<RopeDesc>(*desc.attrs);
  return rope.head_dim > 0 && rope.head_dim <= kMaxHead && desc.inputs[0].rank() == 2;
}

void plan_rope(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const auto& rope = std::get<RopeDesc>(*desc.attrs);
  const Dim rows = desc.inputs[0].dims[0];
  DeviceModule module;
  module.name = fmt::format("rope_{}x{}", rope.num_heads, rope.head_dim);
  module.source = "#include \"rope_rows.cuh\"\n";
  define(module, "APPEND", 0);
  define_type(module, "X_T", desc.inputs[0].dtype);
  define_type(module, "V_T", desc.inputs[0].dtype);
  define_type(module, "OUT_T", desc.outputs[0].dtype);
  define_type(module, "KV_T", DType::kF32);
  define(module, "DIM", rope.head_dim);
  define(module, "V_DIM", rope.head_dim);
  define(module, "HEADS", rope.num_heads);
  define(module, "KV_HEADS", 0);
  define(module, "BLOCK_TOKENS", 1);
  define(module, "ROTARY", rope.rotary_dim);
  define(module, "INTERLEAVED", rope.interleaved ? 1 : 0);
  define(module, "EPS", device_float(0));
  define(module, "WEIGHT_OFFSET", device_float(0));
  define(module, "V_SCALE", device_float(1));
  const LaunchArg symbol = define_extent(module, "ROW", rows);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "rope_rows", facts);
  launch.grid[0] = LaunchExtent::ceil(scaled(rows, rope.num_heads), kWarps);
  launch.block = kWarps * 32;
  launch.args = {LaunchArg::input(0), LaunchArg::input(1), LaunchArg::output(0), symbol};
}

bool append_ok(const OpDesc& desc) {
  return append_shape_ok(desc) && is_real(append_of(desc).attention.kv_dtype);
}
bool append_fp8_ok(const OpDesc& desc) {
  return append_shape_ok(desc) && append_of(desc).attention.kv_dtype == DType::kF8E4M3;
}

void plan_append(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const Append append = append_of(desc);
  const AttentionDesc& attention = append.attention;
  const int64_t dim = attention.head_dim, heads = append.fused ? attention.num_heads : 0;
  const bool normed = append.qkv.qk_norm, fp8 = attention.kv_dtype == DType::kF8E4M3;
  const size_t v = append.fused ? 0 : 1;
  DeviceModule module;
  module.name = fmt::format("{}_{}x{}_{}", op_name(desc.op), attention.num_kv_heads, dim,
                            dtype_name(attention.kv_dtype));
  module.source = "#include \"rope_rows.cuh\"\n";
  define(module, "APPEND", 1);
  define(module, "FUSED", append.fused ? 1 : 0);
  define_type(module, "X_T", desc.inputs[0].dtype);
  define_type(module, "V_T", desc.inputs[v].dtype);
  define_type(module, "OUT_T", append.fused ? desc.outputs[0].dtype : DType::kF32);
  define_type(module, "KV_T", attention.kv_dtype);
  define_type(module, "Q_WEIGHT_T", normed ? desc.inputs[5].dtype : DType::kF32);
  define_type(module, "K_WEIGHT_T", normed ? desc.inputs[6].dtype : DType::kF32);
  define(module, "DIM", dim);
  define(module, "V_DIM", value_dim(attention));
  define(module, "HEADS", heads);
  define(module, "KV_HEADS", attention.num_kv_heads);
  define(module, "BLOCK_TOKENS", attention.block_tokens);
  define(module, "ROTARY", append.fused ? append.qkv.rotary_dim : 0);
  define(module, "INTERLEAVED", append.qkv.interleaved ? 1 : 0);
  define(module, "QK_NORM", normed ? 1 : 0);
  define(module, "EPS", device_float(append.qkv.norm.eps));
  define(module, "WEIGHT_OFFSET", device_float(append.qkv.norm.weight_offset));
  define(module, "K_SCALE", device_float(fp8 ? attention.k_scale : 1));
  define(module, "V_SCALE", device_float(fp8 ? attention.v_scale : 1));
  const LaunchArg sequences = define_extent(module, "SEQ", desc.inputs[3].dims[0]);
  const LaunchArg blocks = define_extent(module, "TABLE", desc.inputs[4].dims[1]);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "append_rows", facts);
  const int64_t items = heads + 2 * attention.num_kv_heads;
  launch.grid[0] = LaunchExtent::ceil(scaled(desc.inputs[0].dims[0], items), kWarps);
  launch.block = kWarps * 32;
  // What is absent is never read; a kv_append has inputs k, v and the batch alone.
  const LaunchArg out = append.fused ? LaunchArg::output(0) : LaunchArg::input(0);
  launch.args = {LaunchArg::input(0),
                 LaunchArg::input(static_cast<int>(v)),
                 LaunchArg::input(append.fused ? 1 : 0),
                 LaunchArg::input(normed ? 5 : 0),
                 LaunchArg::input(normed ? 6 : 0),
                 out,
                 LaunchArg::kv_layer(attention.kv_group, attention.kv_layer),
                 LaunchArg::input(2),
                 LaunchArg::input(3),
                 LaunchArg::input(4),
                 sequences,
                 blocks};
}

}  // namespace ramjet::kernels::cuda

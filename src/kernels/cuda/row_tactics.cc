// Norms, quantize, embedding and gathers; the rotary ones lie in rope_plan.cc.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_cost.h"
#include "kernels/cuda/general_plan.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/cuda/rope_plan.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kMaxWidth = 32768;  // a row stays in the registers of a block
constexpr int64_t kManyWidth = 2048;  // at least, of rows that few threads take

/// Operands of the three ops of norm_rows.cuh by their index; -1: none.
struct NormOperands {
  int y = -1, weight = -1, bias = -1, sum = -1;
  int out = 0, scales = -1;
  bool quant = false;
};

NormOperands norm_operands(const OpDesc& desc) {
  NormOperands at;
  if (desc.op == OpKind::kQuantize) {
    at.scales = 1, at.quant = true;
    return at;
  }
  const bool add = desc.op == OpKind::kAddNorm;
  const size_t weight = add ? 2 : 1;
  at.weight = static_cast<int>(weight);
  if (desc.inputs.size() > weight + 1) at.bias = at.weight + 1;
  if (add) at.y = 1, at.sum = 0, at.out = 1;
  at.quant = std::get<NormDesc>(*desc.attrs).quant == ActivationQuant::kFp8Token;
  if (at.quant) at.scales = at.out + 1;
  return at;
}

bool norm_ok(const OpDesc& desc) { return norm_rows_ok(desc) && !norm_operands(desc).quant; }
bool norm_quant_ok(const OpDesc& desc) { return norm_rows_ok(desc) && norm_operands(desc).quant; }
bool wide(const OpDesc& desc) { return width_of(desc.inputs[0]) >= kManyWidth; }
bool norm_many_ok(const OpDesc& desc) { return norm_ok(desc) && wide(desc); }
bool norm_quant_many_ok(const OpDesc& desc) { return norm_quant_ok(desc) && wide(desc); }

struct RowGeometry {
  int64_t vec = 1, items = 1, threads = 32, rows = 1;
};

/// Short rows get a warp each; longer ones a block with few accesses a thread, or, where rows are
/// many, a small block with many, so that more rows are in flight and fewer threads meet.
RowGeometry row_geometry(int64_t width, int64_t most_vec, bool many) {
  RowGeometry g;
  g.vec = pack_of(width, most_vec);
  const int64_t chunks = width / g.vec;
  if (chunks <= 64) {
    g.rows = 4;
  } else {
    const int64_t items = many ? 8 : 2, least = many ? 32 : 128;
    const int64_t wanted = (chunks + items - 1) / items;
    g.threads = std::clamp<int64_t>((wanted + 31) / 32 * 32, least, 1024);
  }
  g.items = (chunks + g.threads - 1) / g.threads;
  return g;
}

void define_norm(DeviceModule& module, const OpDesc& desc, const NormOperands& at) {
  const auto type = [&](std::string_view name, std::span<const TensorType> types, int index) {
    define_type(module, name, index < 0 ? DType::kF32 : types[static_cast<size_t>(index)].dtype);
  };
  type("X_T", desc.inputs, 0);
  type("Y_T", desc.inputs, at.y);
  type("WEIGHT_T", desc.inputs, at.weight);
  type("BIAS_T", desc.inputs, at.bias);
  type("SUM_T", desc.outputs, at.sum);
  type("OUT_T", desc.outputs, at.out);
  NormDesc norm;
  int64_t kind = 0;
  if (at.weight >= 0) {
    norm = std::get<NormDesc>(*desc.attrs);
    kind = norm.kind == NormKind::kRms ? 1 : 2;
  }
  define(module, "NORM", kind);
  define(module, "ADD", at.y >= 0 ? 1 : 0);
  define(module, "QUANT", at.quant ? 1 : 0);
  define(module, "HAS_BIAS", at.bias >= 0 ? 1 : 0);
  define(module, "EPS", device_float(norm.eps));
  define(module, "WEIGHT_OFFSET", device_float(norm.weight_offset));
}

void plan_norm(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan) {
  const NormOperands at = norm_operands(desc);
  const int64_t width = width_of(desc.inputs[0]);
  const Dim rows = *rows_of(desc.inputs[0]);
  const bool many = tactic.variant == kManyRows;
  const RowGeometry g = row_geometry(width, desc.inputs[0].dtype == DType::kF32 ? 4 : 8, many);
  DeviceModule module;
  module.name =
      fmt::format("{}_{}_{}{}{}", op_name(desc.op), width, dtype_name(desc.inputs[0].dtype),
                  at.quant ? "_fp8" : "", many ? "_many" : "");
  module.source = "#include \"norm_rows.cuh\"\n";
  define_norm(module, desc, at);
  define(module, "WIDTH", width);
  define(module, "VEC", g.vec);
  define(module, "ITEMS", g.items);
  define(module, "ROW_THREADS", g.threads);
  define(module, "BLOCK_ROWS", g.rows);
  const LaunchArg symbol = define_extent(module, "ROW", rows);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "norm_rows", facts);
  launch.grid[0] = LaunchExtent::ceil(rows, g.rows);
  launch.block = static_cast<uint32_t>(g.threads * g.rows);
  // What is absent is never read.
  const auto input = [](int index) { return LaunchArg::input(std::max(index, 0)); };
  const auto output = [](int index) { return LaunchArg::output(std::max(index, 0)); };
  launch.args = {input(0),       input(at.y),    input(at.weight),  input(at.bias),
                 output(at.sum), output(at.out), output(at.scales), symbol};
}

void plan_copy_rows(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const bool embedding = desc.op == OpKind::kEmbedding;
  const TensorType& table = desc.inputs[embedding ? 1 : 0];
  const TensorType& indices = desc.inputs[embedding ? 0 : 1];
  const int64_t width = width_of(table), bytes = dtype_bytes(table.dtype);
  const Dim rows = *product(indices, 0, indices.rank());
  const int64_t vec = pack_of(width, 16 / bytes);
  DeviceModule module;
  module.name = fmt::format("{}_{}_{}", op_name(desc.op), width, dtype_name(table.dtype));
  module.source = "#include \"copy_rows.cuh\"\n";
  if (embedding) {
    define_type(module, "X_T", table.dtype);
    define_type(module, "OUT_T", desc.outputs[0].dtype);
    define(module, "SCALE", device_float(std::get<EmbeddingDesc>(*desc.attrs).scale));
  } else {  // bits are moved as they are
    constexpr std::string_view kWords[] = {"uint8_t", "uint16_t", "uint32_t", "uint64_t"};
    const std::string_view word = kWords[bytes == 8 ? 3 : bytes / 2];
    define(module, "X_T", word);
    define(module, "OUT_T", word);
  }
  define(module, "WIDTH", width);
  define(module, "VEC", vec);
  const LaunchArg symbol = define_extent(module, "ROW", rows);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "copy_rows", facts);
  launch.grid[0] = LaunchExtent::ceil(scaled(rows, width / vec), 256);
  launch.block = 256;
  const LaunchArg from = LaunchArg::input(embedding ? 1 : 0);
  const LaunchArg index = LaunchArg::input(embedding ? 0 : 1);
  launch.args = {from, index, LaunchArg::output(0), symbol};
}

constexpr Tactic make(std::string_view name, OpKind op, int sm, bool (*supports)(const OpDesc&),
                      DevicePlanner plan) {
  return {.name = name,
          .op = op,
          .priority = 10,
          .supports = supports,
          .sm = sm,
          .plan = plan,
          .cost_us = row_cost,
          .sum_order = own_sum_order};
}
constexpr Tactic make_many(std::string_view name, OpKind op, int sm,
                           bool (*supports)(const OpDesc&)) {
  Tactic made = make(name, op, sm, supports, plan_norm);
  made.priority = 9;
  made.variant = kManyRows;
  return made;
}

// e4m3 conversions need sm_89.
constexpr std::array kTactics = {
    make("cuda.norm.v2", OpKind::kNorm, 80, norm_ok, plan_norm),
    make("cuda.norm_fp8.v2", OpKind::kNorm, 89, norm_quant_ok, plan_norm),
    make("cuda.add_norm.v2", OpKind::kAddNorm, 80, norm_ok, plan_norm),
    make("cuda.add_norm_fp8.v2", OpKind::kAddNorm, 89, norm_quant_ok, plan_norm),
    make("cuda.quantize.v2", OpKind::kQuantize, 89, norm_quant_ok, plan_norm),
    make_many("cuda.norm_many.v1", OpKind::kNorm, 80, norm_many_ok),
    make_many("cuda.norm_fp8_many.v1", OpKind::kNorm, 89, norm_quant_many_ok),
    make_many("cuda.add_norm_many.v1", OpKind::kAddNorm, 80, norm_many_ok),
    make_many("cuda.add_norm_fp8_many.v1", OpKind::kAddNorm, 89, norm_quant_many_ok),
    make_many("cuda.quantize_many.v1", OpKind::kQuantize, 89, norm_quant_many_ok),
    make("cuda.embedding.v1", OpKind::kEmbedding, 80, copy_rows_ok, plan_copy_rows),
    make("cuda.gather_rows.v1", OpKind::kGatherRows, 80, copy_rows_ok, plan_copy_rows),
    make("cuda.rope_table.v1", OpKind::kRopeTable, 80, rope_table_ok, plan_rope_table),
    make("cuda.rope.v1", OpKind::kRope, 80, rope_ok, plan_rope),
    make("cuda.kv_append.v1", OpKind::kKvAppend, 80, append_ok, plan_append),
    make("cuda.kv_append_fp8.v1", OpKind::kKvAppend, 89, append_fp8_ok, plan_append),
    make("cuda.qkv_rope_append.v1", OpKind::kQkvRopeAppend, 80, append_ok, plan_append),
    make("cuda.qkv_rope_append_fp8.v1", OpKind::kQkvRopeAppend, 89, append_fp8_ok, plan_append),
};

}  // namespace

bool norm_rows_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const int64_t width = width_of(desc.inputs[0]);
  return width > 0 && width <= kMaxWidth && rows_of(desc.inputs[0]).has_value();
}
bool copy_rows_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const bool embedding = desc.op == OpKind::kEmbedding;
  const TensorType& indices = desc.inputs[embedding ? 0 : 1];
  return width_of(desc.inputs[embedding ? 1 : 0]) > 0 &&
         product(indices, 0, indices.rank()).has_value();
}

std::span<const Tactic> row_tactics() { return kTactics; }

}  // namespace ramjet::kernels::cuda

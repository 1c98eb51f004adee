// Tactics for any graph: what they claim lies with their plans. Their priority is below that of
// every kernel made for a shape.
#include <array>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_cost.h"
#include "kernels/cuda/general_plan.h"

namespace ramjet::kernels::cuda {
namespace {

struct Entry {
  int sm;
  int priority;
};
constexpr Entry kAny = {80, 1};
constexpr Entry kAnyFp8 = {89, 1};  // e4m3 conversions
constexpr Entry kTensorCores = {80, 5};

constexpr Tactic make(std::string_view name, OpKind op, Entry entry,
                      bool (*supports)(const OpDesc&), DevicePlanner plan) {
  return {.name = name,
          .op = op,
          .priority = entry.priority,
          .supports = supports,
          .sm = entry.sm,
          .plan = plan,
          .cost_us = plan == plan_matmul_fma ? matmul_fma_cost : general_cost,
          .sum_order = own_sum_order};
}
/// Products of few rows take another path than those of many.
constexpr Tactic matmul(std::string_view name, Entry entry, bool (*supports)(const OpDesc&),
                        DevicePlanner plan) {
  Tactic made = make(name, OpKind::kMatmul, entry, supports, plan);
  made.sum_order = nullptr;
  return made;
}
/// One path for any number of rows.
constexpr Tactic fixed_matmul(std::string_view name, Entry entry, bool (*supports)(const OpDesc&),
                              DevicePlanner plan) {
  Tactic made = make(name, OpKind::kMatmul, entry, supports, plan);
  made.variant = kOnePathVariant;
  made.invariant_only = true;
  return made;
}

constexpr std::array kTactics = {
    make("cuda.pointwise.v1", OpKind::kPointwise, kAny, pointwise_any_ok, plan_pointwise),
    make("cuda.reshape.v1", OpKind::kReshape, kAny, reshape_any_ok, plan_reshape),
    make("cuda.transpose.v1", OpKind::kTranspose, kAny, transpose_any_ok, plan_transpose),
    make("cuda.slice.v1", OpKind::kSlice, kAny, slice_any_ok, plan_slice),
    make("cuda.concat.v1", OpKind::kConcat, kAny, concat_any_ok, plan_concat),
    make("cuda.gather_any.v1", OpKind::kGatherRows, kAny, rows_any_ok, plan_rows_any),
    make("cuda.embedding_any.v1", OpKind::kEmbedding, kAny, rows_any_ok, plan_rows_any),
    make("cuda.reduce.v1", OpKind::kReduce, kAny, reduce_any_ok, plan_axis),
    make("cuda.softmax.v1", OpKind::kSoftmax, kAny, softmax_any_ok, plan_axis),
    make("cuda.topk.v1", OpKind::kTopk, kAny, topk_any_ok, plan_topk),
    make("cuda.conv.v1", OpKind::kConv, kAny, conv_any_ok, plan_conv),
    make("cuda.norm_any.v1", OpKind::kNorm, kAny, norm_any_ok, plan_norm_any),
    make("cuda.norm_any_fp8.v1", OpKind::kNorm, kAnyFp8, norm_any_fp8_ok, plan_norm_any),
    make("cuda.add_norm_any.v1", OpKind::kAddNorm, kAny, norm_any_ok, plan_norm_any),
    make("cuda.add_norm_any_fp8.v1", OpKind::kAddNorm, kAnyFp8, norm_any_fp8_ok, plan_norm_any),
    make("cuda.quantize_any.v1", OpKind::kQuantize, kAnyFp8, norm_any_fp8_ok, plan_norm_any),
    matmul("cuda.matmul_mma.v1", kTensorCores, matmul_mma_ok, plan_matmul_mma),
    matmul("cuda.matmul_fp8.v1", {89, 5}, matmul_fp8_ok, plan_matmul_mma),
    matmul("cuda.matmul_fma.v1", kAny, matmul_fma_ok, plan_matmul_fma),
    fixed_matmul("cuda.matmul_mma_fixed.v1", kTensorCores, matmul_mma_ok, plan_matmul_mma),
    fixed_matmul("cuda.matmul_fp8_fixed.v1", {89, 5}, matmul_fp8_ok, plan_matmul_mma),
    fixed_matmul("cuda.matmul_fma_fixed.v1", kAny, matmul_fma_ok, plan_matmul_fma),
};

}  // namespace

std::span<const Tactic> general_tactics() { return kTactics; }

}  // namespace ramjet::kernels::cuda

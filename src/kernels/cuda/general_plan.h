// Ops of any shape: what their tactics claim and how they are launched. The table is in
// general_tactics.cc. Pure functions.
//
// Kernels are generated or compiled for the op's types and fixed extents, read symbols on the
// device, and loop where a grid is smaller than the work.
#pragma once

#include <vector>

#include "kernels/device_plan.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cuda {

// What the kernels over rows claim (row_tactics.cc); those of any shape take the rest.
bool norm_rows_ok(const OpDesc& desc);
bool copy_rows_ok(const OpDesc& desc);

bool pointwise_any_ok(const OpDesc& desc);
void plan_pointwise(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                    DevicePlan& plan);

// Copies: shape_plan.cc.
bool reshape_any_ok(const OpDesc& desc);
bool transpose_any_ok(const OpDesc& desc);
bool slice_any_ok(const OpDesc& desc);
bool concat_any_ok(const OpDesc& desc);
bool rows_any_ok(const OpDesc& desc);  // embedding and gather_rows
void plan_reshape(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                  DevicePlan& plan);
void plan_transpose(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                    DevicePlan& plan);
void plan_slice(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                DevicePlan& plan);
void plan_concat(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                 DevicePlan& plan);
void plan_rows_any(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                   DevicePlan& plan);

// Along an axis: axis_plan.cc.
bool reduce_any_ok(const OpDesc& desc);
bool softmax_any_ok(const OpDesc& desc);
bool topk_any_ok(const OpDesc& desc);
bool norm_any_ok(const OpDesc& desc);
bool norm_any_fp8_ok(const OpDesc& desc);
bool conv_any_ok(const OpDesc& desc);
void plan_axis(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan);
void plan_topk(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan);
void plan_norm_any(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                   DevicePlan& plan);
void plan_conv(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan);

// Any row-major matmul: matmul_any_plan.cc.
inline constexpr int kOnePathVariant = 1;  // of Tactic::variant: few rows go the way of many
bool matmul_mma_ok(const OpDesc& desc);    // 16-bit operands, or 16-bit a and int8 b
bool matmul_fp8_ok(const OpDesc& desc);    // e4m3 with scales of rows and columns
bool matmul_fma_ok(const OpDesc& desc);    // all others: f32 throughout
void plan_matmul_mma(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     DevicePlan& plan);
void plan_matmul_fma(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     DevicePlan& plan);
/// Groups of rows with a b each (moe): `desc` is one group's, its rows those of all. The epilogue's
/// operands are [groups, columns], scales [groups, rows of b].
struct GroupedOperands {
  LaunchArg a, b, scales, token_scales, out;
  LaunchArg groups;  // device/matmul_any.cuh: for_groups
  std::vector<LaunchArg> epilogue;
};
void plan_grouped_matmul(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                         const GroupedOperands& from, DevicePlan& plan);

}  // namespace ramjet::kernels::cuda

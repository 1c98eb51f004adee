// Planners of device/rope_table.cuh and device/rope_rows.cuh. Pure functions.
#pragma once

#include "kernels/device_plan.h"

namespace ramjet::kernels::cuda {

bool rope_table_ok(const OpDesc& desc);
bool rope_ok(const OpDesc& desc);
bool append_ok(const OpDesc& desc);      // a cache of f32, f16 or bf16
bool append_fp8_ok(const OpDesc& desc);  // of e4m3

void plan_rope_table(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     DevicePlan& plan);
void plan_rope(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
               DevicePlan& plan);
/// kv_append and qkv_rope_append.
void plan_append(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                 DevicePlan& plan);

}  // namespace ramjet::kernels::cuda

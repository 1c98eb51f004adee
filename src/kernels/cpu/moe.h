// moe on the CPU: tokens grouped by expert, each group multiplied by the packed matmul of an
// instruction set. An expert that no token chose is not read.
//
// A token's sum runs over its experts in order of their number, so it is the same beside any
// others. Kernels follow the rules of kernels/kernel.h.
#pragma once

#include "kernels/kernel.h"

namespace ramjet::kernels::cpu {

void moe(const KernelCall& call, CpuKernel matmul);
template <CpuKernel kMatmul>
void moe_with(const KernelCall& call) {
  moe(call, kMatmul);
}

/// Whether both products are ones that the packed matmul takes, of whole panels an expert.
bool moe_ok(const OpDesc& desc, bool bf16);
bool amx_moe_ok(const OpDesc& desc, bool bf16);
int64_t moe_workspace(const OpDesc& desc);

}  // namespace ramjet::kernels::cpu

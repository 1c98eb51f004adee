#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layouts.h"
#include "kernels/cpu/matmul_plan.h"
#include "tensor/half.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq," \
                                                   "avx512vl,avx512bf16,fma,f16c,prfchw"))),      \
                                 apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,f16c")
#pragma GCC target("prfchw")
#endif
// clang-format off
namespace ramjet::kernels::cpu::amx {
namespace {
#include "kernels/cpu/simd_types.inc"
#include "kernels/cpu/simd_avx512.inc"
#include "kernels/cpu/simd_math.inc"
#include "kernels/cpu/convert.inc"
#include "kernels/cpu/program.inc"
#include "kernels/cpu/matmul_core.inc"
#include "kernels/cpu/amx_tiles.inc"
#include "kernels/cpu/amx_block_end.inc"
#include "kernels/cpu/amx_pack.inc"
#include "kernels/cpu/amx_tiled.inc"
#include "kernels/cpu/amx_matmul.inc"
}  // namespace
#include "kernels/cpu/amx_entry.inc"
}  // namespace ramjet::kernels::cpu::amx
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

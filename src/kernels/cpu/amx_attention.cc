#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/cpu/kernels.h"
#include "kernels/paging.h"
#include "tensor/half.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq," \
                                                   "avx512vl,avx512bf16,fma,f16c"))),             \
                                 apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,f16c")
#endif
// clang-format off
namespace ramjet::kernels::cpu::amx {
namespace {
#include "kernels/cpu/simd_types.inc"
#include "kernels/cpu/simd_avx512.inc"
#include "kernels/cpu/simd_math.inc"
#include "kernels/cpu/convert.inc"
#include "kernels/cpu/micro.inc"
#include "kernels/cpu/program.inc"
#include "kernels/cpu/softmax_row.inc"
#include "kernels/cpu/attention.inc"
#include "kernels/cpu/amx_tiles.inc"
#include "kernels/cpu/amx_attention.inc"
}  // namespace
void attention(const KernelCall& call) { tile_attention_without_cache<HardwareTiles>(call); }
void paged_attention(const KernelCall& call) { tile_attention<HardwareTiles>(call); }
void paged_attention_emulated(const KernelCall& call) { tile_attention<SoftwareTiles>(call); }
}  // namespace ramjet::kernels::cpu::amx
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

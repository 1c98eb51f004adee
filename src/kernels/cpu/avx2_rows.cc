#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/lora.h"
#include "kernels/paging.h"
#include "op/rope.h"
#include "tensor/half.h"

// Vectors of 64 bytes are passed between inlined functions only.
#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
// clang-format off
namespace ramjet::kernels::cpu::avx2 {
namespace {
#include "kernels/cpu/simd_types.inc"
#include "kernels/cpu/simd_avx2.inc"
#include "kernels/cpu/simd_math.inc"
#include "kernels/cpu/convert.inc"
#include "kernels/cpu/program.inc"
#include "kernels/cpu/softmax_row.inc"
}  // namespace
#include "kernels/cpu/pointwise.inc"
#include "kernels/cpu/rows.inc"
#include "kernels/cpu/rope.inc"
#include "kernels/cpu/lora.inc"
}  // namespace ramjet::kernels::cpu::avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

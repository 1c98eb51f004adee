// Loops that do nothing but saturate one resource of a core: the ceilings of kernel_timing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ramjet::kernels::cpu {

/// Reads all bytes; returns a sum that keeps the loads alive. Size a multiple of 256.
uint64_t read_stream(std::span<const std::byte> bytes);
/// Floating-point operations of `rounds` rounds of independent multiply-adds, run in registers.
double run_fma_avx2(int64_t rounds);
double run_fma_avx512(int64_t rounds);
/// The same for bf16 tiles; needs the AMX permission (machine_isa() == kAmx).
double run_amx(int64_t rounds);

}  // namespace ramjet::kernels::cpu

#include "kernels/cpu/cpu_tactics.h"

#include <array>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layouts.h"
#include "kernels/cpu/matmul_plan.h"

namespace ramjet::kernels::cpu {
namespace {

bool bf16_weights(const OpDesc& desc) { return packed_matmul_ok(desc, true); }
bool plain_weights(const OpDesc& desc) { return packed_matmul_ok(desc, false); }

// Priorities: 100 an instruction set, 10 for reading packed weights.
constexpr int kAvx2 = 100, kAvx512 = 200, kPacked = 10;

constexpr std::array kTactics = {
    Tactic{"cpu.avx2.matmul_n16k2.v1", OpKind::kMatmul, Isa::kAvx2, kAvx2 + kPacked, bf16_weights,
           nullptr, kPairedLayout, avx2::matmul_paired},
    Tactic{"cpu.avx2.matmul_n16.v1", OpKind::kMatmul, Isa::kAvx2, kAvx2 + kPacked, plain_weights,
           nullptr, kPlainLayout, avx2::matmul_plain},
    Tactic{"cpu.avx2.matmul_row_major.v1", OpKind::kMatmul, Isa::kAvx2, kAvx2, row_major_matmul_ok,
           nullptr, "row_major", avx2::matmul_row_major},
    Tactic{"cpu.avx512.matmul_n16k2.v1", OpKind::kMatmul, Isa::kAvx512, kAvx512 + kPacked,
           bf16_weights, nullptr, kPairedLayout, avx512::matmul_paired},
    Tactic{"cpu.avx512.matmul_n16.v1", OpKind::kMatmul, Isa::kAvx512, kAvx512 + kPacked,
           plain_weights, nullptr, kPlainLayout, avx512::matmul_plain},
    Tactic{"cpu.avx512.matmul_row_major.v1", OpKind::kMatmul, Isa::kAvx512, kAvx512,
           row_major_matmul_ok, nullptr, "row_major", avx512::matmul_row_major},
};

}  // namespace

std::span<const Tactic> tactics() { return kTactics; }

}  // namespace ramjet::kernels::cpu

// The entry points of the CPU kernels by instruction set. Sources are the .inc files, compiled
// once for each set under its target attribute (avx2_*.cc, avx512_*.cc); see README.md.
#pragma once

#include "kernels/kernel.h"

namespace ramjet::kernels::cpu {

namespace avx2 {
void matmul_paired(const KernelCall& call);
void matmul_plain(const KernelCall& call);
void matmul_row_major(const KernelCall& call);
void pointwise(const KernelCall& call);
void norm(const KernelCall& call);
void add_norm(const KernelCall& call);
void quantize(const KernelCall& call);
void embedding(const KernelCall& call);
void softmax(const KernelCall& call);
void reduce(const KernelCall& call);
void rope_table(const KernelCall& call);
void rope(const KernelCall& call);
void kv_append(const KernelCall& call);
void qkv_rope_append(const KernelCall& call);
void paged_attention(const KernelCall& call);
void attention(const KernelCall& call);
void lora(const KernelCall& call);
}  // namespace avx2

namespace avx512 {
void matmul_paired(const KernelCall& call);
void matmul_plain(const KernelCall& call);
void matmul_row_major(const KernelCall& call);
void pointwise(const KernelCall& call);
void norm(const KernelCall& call);
void add_norm(const KernelCall& call);
void quantize(const KernelCall& call);
void embedding(const KernelCall& call);
void softmax(const KernelCall& call);
void reduce(const KernelCall& call);
void rope_table(const KernelCall& call);
void rope(const KernelCall& call);
void kv_append(const KernelCall& call);
void qkv_rope_append(const KernelCall& call);
void paged_attention(const KernelCall& call);
void attention(const KernelCall& call);
void lora(const KernelCall& call);
}  // namespace avx512

/// Tile kernels; they also need AVX-512. The emulated ones are for tests on machines without tiles.
namespace amx {
void matmul_paired(const KernelCall& call);
void matmul_plain(const KernelCall& call);
void paged_attention(const KernelCall& call);
void attention(const KernelCall& call);
void matmul_paired_emulated(const KernelCall& call);
void matmul_plain_emulated(const KernelCall& call);
void paged_attention_emulated(const KernelCall& call);
}  // namespace amx

}  // namespace ramjet::kernels::cpu

#include "kernels/cpu/cpu_tactics.h"

#include <array>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layouts.h"
#include "kernels/cpu/lora.h"
#include "kernels/cpu/matmul_plan.h"
#include "kernels/cpu/moe.h"
#include "kernels/cpu/row_ops.h"

namespace ramjet::kernels::cpu {
namespace {

bool bf16_weights(const OpDesc& desc) { return packed_matmul_ok(desc, true); }
bool amx_bf16(const OpDesc& desc) { return amx_matmul_ok(desc, true); }
bool amx_eight_bits(const OpDesc& desc) { return amx_matmul_ok(desc, false); }
bool plain_weights(const OpDesc& desc) { return packed_matmul_ok(desc, false); }

// Priorities: 100 an instruction set, 10 for reading packed weights.
constexpr int kAvx2 = 100, kAvx512 = 200, kAmx = 300, kPacked = 10;

constexpr Tactic row_op(std::string_view name, OpKind op, Isa isa, bool (*supports)(const OpDesc&),
                        CpuKernel run) {
  return {.name = name,
          .op = op,
          .isa = isa,
          .priority = isa == Isa::kAvx2 ? kAvx2 : kAvx512,
          .supports = supports,
          .run = run,
          .sum_order = own_sum_order};
}

/// Every matmul of an instruction set sums in the order of k: alike in each layout, for any rows.
std::string matmul_order(const OpDesc&, const Tactic& tactic) {
  return Target{tactic.isa}.name() + ".k";
}
struct MatmulEntry {
  Isa isa;
  int priority;
  std::string_view layout;
};
constexpr Tactic matmul(std::string_view name, MatmulEntry entry, bool (*supports)(const OpDesc&),
                        CpuKernel run) {
  return {.name = name,
          .op = OpKind::kMatmul,
          .isa = entry.isa,
          .priority = entry.priority,
          .supports = supports,
          .workspace_bytes = entry.isa == Isa::kAmx ? amx_workspace : nullptr,
          .weight_layout = entry.layout,
          .run = run,
          .sum_order = matmul_order};
}
bool moe_bf16(const OpDesc& desc) { return moe_ok(desc, true); }
bool moe_plain(const OpDesc& desc) { return moe_ok(desc, false); }
bool moe_amx_bf16(const OpDesc& desc) { return amx_moe_ok(desc, true); }
bool moe_amx_eight_bits(const OpDesc& desc) { return amx_moe_ok(desc, false); }
constexpr Tactic moe_op(std::string_view name, MatmulEntry entry, bool (*supports)(const OpDesc&),
                        CpuKernel run) {
  Tactic made = matmul(name, entry, supports, run);
  made.op = OpKind::kMoe;
  made.workspace_bytes = moe_workspace;
  made.sum_order = own_sum_order;
  return made;
}
constexpr Tactic attention(std::string_view name, Isa isa, bool (*supports)(const OpDesc&),
                           CpuKernel run) {
  Tactic made = row_op(name, OpKind::kPagedAttention, isa, supports, run);
  if (isa == Isa::kAmx) made.priority = kAmx;
  made.workspace_bytes = attention_workspace;
  return made;
}
constexpr Tactic encoder_attention(std::string_view name, Isa isa, bool (*supports)(const OpDesc&),
                                   CpuKernel run) {
  Tactic made = attention(name, isa, supports, run);
  made.op = OpKind::kAttention;
  return made;
}
constexpr Tactic lora_op(std::string_view name, Isa isa, CpuKernel run) {
  Tactic made = row_op(name, OpKind::kLora, isa, lora_ok, run);
  made.workspace_bytes = lora_workspace;
  return made;
}

constexpr std::array kTactics = {
    matmul("cpu.amx.matmul_n16k2.v1", {Isa::kAmx, kAmx + kPacked, kPairedLayout}, amx_bf16,
           amx::matmul_paired),
    matmul("cpu.amx.matmul_n16.v1", {Isa::kAmx, kAmx + kPacked, kPlainLayout}, amx_eight_bits,
           amx::matmul_plain),
    matmul("cpu.avx2.matmul_n16k2.v1", {Isa::kAvx2, kAvx2 + kPacked, kPairedLayout}, bf16_weights,
           avx2::matmul_paired),
    matmul("cpu.avx2.matmul_n16.v1", {Isa::kAvx2, kAvx2 + kPacked, kPlainLayout}, plain_weights,
           avx2::matmul_plain),
    matmul("cpu.avx2.matmul_row_major.v1", {Isa::kAvx2, kAvx2, "row_major"}, row_major_matmul_ok,
           avx2::matmul_row_major),
    matmul("cpu.avx512.matmul_n16k2.v1", {Isa::kAvx512, kAvx512 + kPacked, kPairedLayout},
           bf16_weights, avx512::matmul_paired),
    matmul("cpu.avx512.matmul_n16.v1", {Isa::kAvx512, kAvx512 + kPacked, kPlainLayout},
           plain_weights, avx512::matmul_plain),
    matmul("cpu.avx512.matmul_row_major.v1", {Isa::kAvx512, kAvx512, "row_major"},
           row_major_matmul_ok, avx512::matmul_row_major),
    moe_op("cpu.amx.moe_n16k2.v1", {Isa::kAmx, kAmx + kPacked, kPairedLayout}, moe_amx_bf16,
           moe_with<amx::matmul_paired>),
    moe_op("cpu.amx.moe_n16.v1", {Isa::kAmx, kAmx + kPacked, kPlainLayout}, moe_amx_eight_bits,
           moe_with<amx::matmul_plain>),
    moe_op("cpu.avx512.moe_n16k2.v1", {Isa::kAvx512, kAvx512 + kPacked, kPairedLayout}, moe_bf16,
           moe_with<avx512::matmul_paired>),
    moe_op("cpu.avx512.moe_n16.v1", {Isa::kAvx512, kAvx512 + kPacked, kPlainLayout}, moe_plain,
           moe_with<avx512::matmul_plain>),
    moe_op("cpu.avx2.moe_n16k2.v1", {Isa::kAvx2, kAvx2 + kPacked, kPairedLayout}, moe_bf16,
           moe_with<avx2::matmul_paired>),
    moe_op("cpu.avx2.moe_n16.v1", {Isa::kAvx2, kAvx2 + kPacked, kPlainLayout}, moe_plain,
           moe_with<avx2::matmul_plain>),
    row_op("cpu.avx2.pointwise.v1", OpKind::kPointwise, Isa::kAvx2, pointwise_ok, avx2::pointwise),
    row_op("cpu.avx2.norm.v1", OpKind::kNorm, Isa::kAvx2, norm_ok, avx2::norm),
    row_op("cpu.avx2.add_norm.v1", OpKind::kAddNorm, Isa::kAvx2, add_norm_ok, avx2::add_norm),
    row_op("cpu.avx2.quantize.v1", OpKind::kQuantize, Isa::kAvx2, quantize_ok, avx2::quantize),
    row_op("cpu.avx2.embedding.v1", OpKind::kEmbedding, Isa::kAvx2, embedding_ok, avx2::embedding),
    row_op("cpu.avx2.softmax.v1", OpKind::kSoftmax, Isa::kAvx2, softmax_ok, avx2::softmax),
    row_op("cpu.avx2.reduce.v1", OpKind::kReduce, Isa::kAvx2, reduce_ok, avx2::reduce),
    row_op("cpu.avx2.rope_table.v1", OpKind::kRopeTable, Isa::kAvx2, rope_table_ok,
           avx2::rope_table),
    row_op("cpu.avx2.rope.v1", OpKind::kRope, Isa::kAvx2, rope_ok, avx2::rope),
    row_op("cpu.avx2.kv_append.v1", OpKind::kKvAppend, Isa::kAvx2, kv_append_ok, avx2::kv_append),
    row_op("cpu.avx2.qkv_rope_append.v1", OpKind::kQkvRopeAppend, Isa::kAvx2, qkv_ok,
           avx2::qkv_rope_append),
    attention("cpu.avx2.paged_attention.v1", Isa::kAvx2, attention_ok, avx2::paged_attention),
    row_op("cpu.avx512.pointwise.v1", OpKind::kPointwise, Isa::kAvx512, pointwise_ok,
           avx512::pointwise),
    row_op("cpu.avx512.norm.v1", OpKind::kNorm, Isa::kAvx512, norm_ok, avx512::norm),
    row_op("cpu.avx512.add_norm.v1", OpKind::kAddNorm, Isa::kAvx512, add_norm_ok, avx512::add_norm),
    row_op("cpu.avx512.quantize.v1", OpKind::kQuantize, Isa::kAvx512, quantize_ok,
           avx512::quantize),
    row_op("cpu.avx512.embedding.v1", OpKind::kEmbedding, Isa::kAvx512, embedding_ok,
           avx512::embedding),
    row_op("cpu.avx512.softmax.v1", OpKind::kSoftmax, Isa::kAvx512, softmax_ok, avx512::softmax),
    row_op("cpu.avx512.reduce.v1", OpKind::kReduce, Isa::kAvx512, reduce_ok, avx512::reduce),
    row_op("cpu.avx512.rope_table.v1", OpKind::kRopeTable, Isa::kAvx512, rope_table_ok,
           avx512::rope_table),
    row_op("cpu.avx512.rope.v1", OpKind::kRope, Isa::kAvx512, rope_ok, avx512::rope),
    row_op("cpu.avx512.kv_append.v1", OpKind::kKvAppend, Isa::kAvx512, kv_append_ok,
           avx512::kv_append),
    row_op("cpu.avx512.qkv_rope_append.v1", OpKind::kQkvRopeAppend, Isa::kAvx512, qkv_ok,
           avx512::qkv_rope_append),
    attention("cpu.avx512.paged_attention.v1", Isa::kAvx512, attention_ok, avx512::paged_attention),
    attention("cpu.amx.paged_attention.v1", Isa::kAmx, amx_attention_ok, amx::paged_attention),
    lora_op("cpu.avx2.lora.v1", Isa::kAvx2, avx2::lora),
    lora_op("cpu.avx512.lora.v1", Isa::kAvx512, avx512::lora),
    encoder_attention("cpu.avx2.attention.v1", Isa::kAvx2, attention_ok, avx2::attention),
    encoder_attention("cpu.avx512.attention.v1", Isa::kAvx512, attention_ok, avx512::attention),
    encoder_attention("cpu.amx.attention.v1", Isa::kAmx, amx_attention_ok, amx::attention),
};

}  // namespace

std::span<const Tactic> tactics() { return kTactics; }

}  // namespace ramjet::kernels::cpu

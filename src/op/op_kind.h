// The op set. Operands and results of each op are stated here and nowhere else.
//
// T: tokens of the step, all sequences laid end to end; S: sequences; R: rows of logits.
//   matmul(a[..,M,K], b) -> [..,M,N]: b is [N,K] (transpose_b, the checkpoint's order) or [K,N].
//       Fused form: a, b, [scales f32[N] if quantized], prologue operands.., epilogue operands..
//       With quant = fp8_channel: a is e4m3, b e4m3, then scales f32[N] and f32[T] of a's rows.
//       -> one result per epilogue output. Two accumulators: b is the merge of two weights.
//   pointwise(x..) -> one result per program output.
//   norm(x[..,D], weight[D], [bias[D]]) -> [..,D]
//   add_norm(x, y, weight) -> (x + y, norm(x + y))
//   embedding(ids i32[T], table[V,D]) -> [T,D];  gather_rows(x[T,D], rows i32[R]) -> [R,D]
//   reduce, softmax, reshape, transpose, slice, concat, topk, conv: as in their descriptors.
//   rope_table(positions i32[T], query_start i32[S+1], prompt_len i32[S]) -> f32[T,rotary_dim]:
//       cos in the first half of a row, sin in the second. Scalings that depend on a sequence's
//       length see max(prompt_len, position + 1), whatever the chunks it is computed in.
//   rope(x[T,H*D], table) -> [T,H*D]
//   kv_append(k[T,Hkv*D], v[T,Hkv*Dv], query_start, kv_len, block_table i32[S,blocks]) -> ():
//       writes the cache; program order with paged_attention is kept.
//   paged_attention(q[T,H*D], query_start, kv_len, block_table, [sinks f32[H]]) -> [T,H*Dv].
//       Sequence s owns rows query_start[s] .. query_start[s+1]-1; its last row is at position
//       kv_len[s]-1; keys of all its positions are in the cache.
//   attention(q[T,H*D], k[T,Hkv*D], v[T,Hkv*Dv], query_start, kv_len) -> [T,H*Dv]: each query of a
//       sequence sees the keys of all its tokens, before and after; no cache. kv_len[s] is
//       query_start[s+1] - query_start[s].
//   qkv_rope_append(qkv[T,(H+2*Hkv)*D], table, query_start, kv_len, block_table,
//       [q_norm[D], k_norm[D]]) -> q[T,H*D]: splits, norms, rotates and appends in one pass.
//   quantize(x[..,K]) -> (e4m3[..,K], f32[T]): each token by its largest magnitude / 448.
//       A norm or add_norm with quant = fp8_token gives those two in place of its normed result.
//   sample, resolve_tokens: as in op/sampling.h; they update some of their operands in place.
//   moe_route(logits[T,E]) -> (i32[T,k], f32[T,k]): each token's experts, the best first, and their
//       weights. The ids are distinct and within 0 .. E-1 whatever the logits are.
//   moe(x[T,D], up[E,A*I,D], down[E,N,I], ids i32[T,k], weights f32[T,k],
//       [scales f32[E,A*I], f32[E,N] if quantized], operands [E,I] of up's epilogue..,
//       operands [E,N] of down's..) -> [T,N]: the weighted sum over a token's experts of
//       down(up(x)); A is up's accumulators, 2 where it holds gate and up.
//   lora(x[T,K], slots i32[T], scales f32[S], (a[S,R,K], b[S,R,N]) of each part..) -> [T,sum of N]:
//       what the low-rank adapter in each token's slot adds to projections of x, side by side:
//       scales[s] * (x a[s]^T) b[s]; zeros for a token whose slot is none of 0 .. S-1.
//   all_reduce, all_gather, reduce_scatter: multi-GPU ops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ramjet {

// The formatter does not settle on a layout of such lists.
// clang-format off
#define RAMJET_OPS(X)                                                                       \
  X(Matmul, "matmul")                                                                       \
  X(Pointwise, "pointwise")                                                                 \
  X(Norm, "norm")                                                                           \
  X(AddNorm, "add_norm")                                                                    \
  X(Embedding, "embedding")                                                                 \
  X(GatherRows, "gather_rows")                                                              \
  X(Reduce, "reduce") X(Softmax, "softmax") X(Reshape, "reshape") X(Transpose, "transpose") \
      X(Slice, "slice") X(Concat, "concat") X(Topk, "topk") X(Conv, "conv")                 \
          X(RopeTable, "rope_table") X(Rope, "rope") X(KvAppend, "kv_append")               \
              X(PagedAttention, "paged_attention") X(QkvRopeAppend, "qkv_rope_append")      \
                  X(Moe, "moe") X(AllReduce, "all_reduce") X(AllGather, "all_gather")       \
                      X(ReduceScatter, "reduce_scatter") X(Quantize, "quantize")            \
                          X(Sample, "sample") X(ResolveTokens, "resolve_tokens")            \
                              X(MoeRoute, "moe_route") X(Attention, "attention")         \
                                  X(Lora, "lora")
// clang-format on

enum class OpKind : uint8_t {
#define X(name, text) k##name,
  RAMJET_OPS(X)
#undef X
};

std::string_view op_name(OpKind op);
std::optional<OpKind> parse_op(std::string_view name);
/// A stored operand of the op that a tactic's weight layout is about, not always row-major.
bool has_layout(OpKind op, size_t operand);
/// Writes the KV cache, state or a peer: never removed, never reordered against its like.
bool has_side_effect(OpKind op);

}  // namespace ramjet

// Rules of the transformer's own ops.
#include "ir/infer_rules.h"

namespace ramjet::ir {
namespace {

constexpr int64_t kMaxHeads = 1 << 16;

/// query_start i32[S+1], kv_len i32[S] and, unless `table` is 0, block_table i32[S, blocks].
Status check_step(const OpCall& call, size_t query_start, size_t kv_len, size_t table) {
  RETURN_IF_ERROR(want_i32(call, query_start, "query_start", 1));
  RETURN_IF_ERROR(want_i32(call, kv_len, "kv_len", 1));
  const Dim sequences = call.inputs[kv_len].dims[0];
  if (add_dims(sequences, Dim(1)) != call.inputs[query_start].dims[0]) {
    return invalid_argument("query_start {} wants one entry more than kv_len {}",
                            shown(call, query_start), shown(call, kv_len));
  }
  if (table == 0) return ok_status();
  RETURN_IF_ERROR(want_i32(call, table, "block_table", 2));
  if (call.inputs[table].dims[0] == sequences) return ok_status();
  return invalid_argument("block_table {} wants a row for each entry of kv_len {}",
                          shown(call, table), shown(call, kv_len));
}

Status check_heads(const AttentionDesc& desc) {
  const bool good = desc.num_heads >= 1 && desc.num_heads <= kMaxHeads && desc.num_kv_heads >= 1 &&
                    desc.num_heads % desc.num_kv_heads == 0 && desc.head_dim >= 1 &&
                    desc.head_dim <= kMaxHeads && desc.v_head_dim >= 1 &&
                    desc.v_head_dim <= kMaxHeads && desc.window >= 0 && desc.kv_layer >= 0 &&
                    desc.kv_group >= 0;
  if (good) return ok_status();
  return invalid_argument("num_heads={} num_kv_heads={} head_dim={} v_head_dim={} are no heads",
                          desc.num_heads, desc.num_kv_heads, desc.head_dim, desc.v_head_dim);
}

Status want_matrix(const OpCall& call, size_t index, std::string_view what, int64_t columns) {
  RETURN_IF_ERROR(want_float(call, index, what));
  const TensorType& type = call.inputs[index];
  if (type.rank() == 2 && type.dims[1] == Dim(columns)) return ok_status();
  return invalid_argument("{} is {}, wants [tokens, {}]", what, shown(call, index), columns);
}

Status check_rotary(int64_t rotary_dim, int64_t head_dim) {
  if (rotary_dim >= 0 && rotary_dim % 2 == 0 && rotary_dim <= head_dim) return ok_status();
  return invalid_argument("rotary_dim={} is not even and within head_dim={}", rotary_dim, head_dim);
}

Status check_table(const OpCall& call, size_t index, int64_t rotary_dim) {
  const TensorType& table = call.inputs[index];
  if (table == TensorType{DType::kF32, {call.inputs[0].dims[0], Dim(rotary_dim)}}) {
    return ok_status();
  }
  return invalid_argument("the rope table is {}, wants f32[{}, {}]", shown(call, index),
                          dim_text(call.inputs[0].dims[0], call.symbols), rotary_dim);
}

}  // namespace

Types infer_rope_table(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 3, 3));
  RETURN_IF_ERROR(want_i32(call, 0, "positions", 1));
  RETURN_IF_ERROR(check_step(call, 1, 2, 0));
  const int64_t rotary_dim = desc_of<RopeSpec>(call).rotary_dim;
  if (rotary_dim < 2 || rotary_dim > kMaxHeads) {
    return invalid_argument("rotary_dim={} is out of range", rotary_dim);
  }
  RETURN_IF_ERROR(check_rotary(rotary_dim, rotary_dim));
  return std::vector<TensorType>{{DType::kF32, {call.inputs[0].dims[0], Dim(rotary_dim)}}};
}

Types infer_rope(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 2, 2));
  const RopeDesc& desc = desc_of<RopeDesc>(call);
  if (desc.num_heads < 1 || desc.num_heads > kMaxHeads || desc.head_dim < 1 ||
      desc.head_dim > kMaxHeads || desc.rotary_dim < 2) {
    return invalid_argument("num_heads={} head_dim={} rotary_dim={} are out of range",
                            desc.num_heads, desc.head_dim, desc.rotary_dim);
  }
  RETURN_IF_ERROR(check_rotary(desc.rotary_dim, desc.head_dim));
  RETURN_IF_ERROR(want_matrix(call, 0, "x", desc.num_heads * desc.head_dim));
  RETURN_IF_ERROR(check_table(call, 1, desc.rotary_dim));
  return std::vector<TensorType>{call.inputs[0]};
}

Types infer_kv_append(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 5, 5));
  const AttentionDesc& desc = desc_of<AttentionDesc>(call);
  RETURN_IF_ERROR(check_heads(desc));
  RETURN_IF_ERROR(want_matrix(call, 0, "k", desc.num_kv_heads * desc.head_dim));
  RETURN_IF_ERROR(want_matrix(call, 1, "v", desc.num_kv_heads * desc.v_head_dim));
  if (call.inputs[0].dims[0] != call.inputs[1].dims[0]) {
    return invalid_argument("k {} and v {} differ in rows", shown(call, 0), shown(call, 1));
  }
  RETURN_IF_ERROR(check_step(call, 2, 3, 4));
  return std::vector<TensorType>{};
}

Types infer_paged_attention(const OpCall& call) {
  const AttentionDesc& desc = desc_of<AttentionDesc>(call);
  const size_t operands = desc.sinks ? 5 : 4;
  RETURN_IF_ERROR(want_inputs(call, operands, operands));
  RETURN_IF_ERROR(check_heads(desc));
  RETURN_IF_ERROR(want_matrix(call, 0, "q", desc.num_heads * desc.head_dim));
  RETURN_IF_ERROR(check_step(call, 1, 2, 3));
  if (desc.sinks && call.inputs[4] != TensorType{DType::kF32, {Dim(desc.num_heads)}}) {
    return invalid_argument("sinks is {}, wants f32[{}]", shown(call, 4), desc.num_heads);
  }
  const TensorType& q = call.inputs[0];
  return std::vector<TensorType>{{q.dtype, {q.dims[0], Dim(desc.num_heads * desc.v_head_dim)}}};
}

Types infer_attention(const OpCall& call) {
  const AttentionDesc& desc = desc_of<AttentionDesc>(call);
  RETURN_IF_ERROR(want_inputs(call, 5, 5));
  RETURN_IF_ERROR(check_heads(desc));
  if (desc.sinks || desc.window != 0 || desc.v_head_dim != desc.head_dim || desc.kv_layer != 0) {
    return invalid_argument(
        "attention without a cache has keys as wide as values and neither sinks nor a window");
  }
  RETURN_IF_ERROR(want_matrix(call, 0, "q", desc.num_heads * desc.head_dim));
  RETURN_IF_ERROR(want_matrix(call, 1, "k", desc.num_kv_heads * desc.head_dim));
  RETURN_IF_ERROR(want_matrix(call, 2, "v", desc.num_kv_heads * desc.v_head_dim));
  for (const size_t i : {size_t{1}, size_t{2}}) {
    if (call.inputs[i].dims[0] == call.inputs[0].dims[0] &&
        call.inputs[i].dtype == call.inputs[1].dtype) {
      continue;
    }
    return invalid_argument("q {}, k {} and v {} differ in rows or dtype", shown(call, 0),
                            shown(call, 1), shown(call, 2));
  }
  RETURN_IF_ERROR(check_step(call, 3, 4, 0));
  const TensorType& q = call.inputs[0];
  return std::vector<TensorType>{{q.dtype, {q.dims[0], Dim(desc.num_heads * desc.v_head_dim)}}};
}

Types infer_qkv_rope_append(const OpCall& call) {
  const QkvDesc& desc = desc_of<QkvDesc>(call);
  const AttentionDesc& heads = desc.attention;
  const size_t operands = desc.qk_norm ? 7 : 5;
  RETURN_IF_ERROR(want_inputs(call, operands, operands));
  RETURN_IF_ERROR(check_heads(heads));
  RETURN_IF_ERROR(check_rotary(desc.rotary_dim, heads.head_dim));
  const int64_t columns = (heads.num_heads + heads.num_kv_heads) * heads.head_dim +
                          heads.num_kv_heads * heads.v_head_dim;
  RETURN_IF_ERROR(want_matrix(call, 0, "qkv", columns));
  RETURN_IF_ERROR(check_table(call, 1, desc.rotary_dim));
  RETURN_IF_ERROR(check_step(call, 2, 3, 4));
  for (size_t i = 5; i < operands; ++i) {
    RETURN_IF_ERROR(want_float(call, i, "a head norm's weight"));
    if (call.inputs[i].dims != std::vector<Dim>{Dim(heads.head_dim)}) {
      return invalid_argument("a head norm's weight is {}, wants [{}]", shown(call, i),
                              heads.head_dim);
    }
  }
  const TensorType& qkv = call.inputs[0];
  return std::vector<TensorType>{{qkv.dtype, {qkv.dims[0], Dim(heads.num_heads * heads.head_dim)}}};
}

}  // namespace ramjet::ir

#include <algorithm>
#include <array>

#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

bool real(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16;
}
bool number(DType dtype) { return real(dtype) || dtype == DType::kI32; }

bool all(std::span<const TensorType> types, bool (*is)(DType)) {
  return std::all_of(types.begin(), types.end(), [&](const auto& t) { return is(t.dtype); });
}
bool i32_from(const OpDesc& desc, size_t first, size_t count) {
  if (desc.inputs.size() < first + count) return false;
  return all(desc.inputs.subspan(first, count), [](DType d) { return d == DType::kI32; });
}
template <class T>
const T* attrs(const OpDesc& desc) {
  return desc.attrs == nullptr ? nullptr : std::get_if<T>(desc.attrs);
}

bool matmul_ok(const OpDesc& desc) {
  const auto* m = attrs<MatmulDesc>(desc);
  if (m == nullptr || desc.inputs.size() < 2) return false;
  const bool scaled = m->quant == WeightQuant::kInt8Channel;
  const bool fp8 = m->quant == WeightQuant::kFp8Channel;
  const size_t first = fp8 ? 4 : scaled ? 3 : 2;
  if (desc.inputs.size() < first + static_cast<size_t>(m->prologue_operands)) return false;
  const DType a = desc.inputs[0].dtype;
  if (fp8 ? a != DType::kF8E4M3 : !real(a)) return false;
  if (fp8) {
    if (desc.inputs[1].dtype != DType::kF8E4M3 || desc.inputs[2].dtype != DType::kF32 ||
        desc.inputs[3].dtype != DType::kF32) {
      return false;
    }
  } else if (scaled ? desc.inputs[1].dtype != DType::kI8 || desc.inputs[2].dtype != DType::kF32
                    : !real(desc.inputs[1].dtype)) {
    return false;
  }
  const bool single = m->accumulators == 1;
  if (!single && (m->accumulators != 2 || !m->transpose_b || m->epilogue.empty())) return false;
  return desc.inputs[1].rank() >= 2 && all(desc.inputs.subspan(first), number) &&
         !desc.outputs.empty() && all(desc.outputs, real);
}

bool pointwise_ok(const OpDesc& desc) {
  const auto* p = attrs<PointwiseDesc>(desc);
  return p != nullptr && desc.inputs.size() == static_cast<size_t>(p->program.num_inputs) &&
         desc.outputs.size() == p->program.outputs.size() && !desc.outputs.empty() &&
         all(desc.inputs, number) && all(desc.outputs, number);
}
/// e4m3 and f32 scales.
bool quantized(std::span<const TensorType> outputs) {
  return outputs.size() == 2 && outputs[0].dtype == DType::kF8E4M3 &&
         outputs[1].dtype == DType::kF32;
}
bool normed(const NormDesc& desc, std::span<const TensorType> outputs) {
  if (desc.quant == ActivationQuant::kFp8Token) return quantized(outputs);
  return outputs.size() == 1 && all(outputs, real);
}
bool norm_ok(const OpDesc& desc) {
  const auto* n = attrs<NormDesc>(desc);
  return n != nullptr && desc.inputs.size() >= 2 && desc.inputs.size() <= 3 &&
         all(desc.inputs, real) && normed(*n, desc.outputs);
}
bool quantize_ok(const OpDesc& desc) {
  return desc.inputs.size() == 1 && all(desc.inputs, real) && quantized(desc.outputs);
}
bool add_norm_ok(const OpDesc& desc) {
  const auto* n = attrs<NormDesc>(desc);
  return n != nullptr && desc.inputs.size() >= 3 && desc.inputs.size() <= 4 &&
         all(desc.inputs, real) && desc.outputs.size() >= 2 && real(desc.outputs[0].dtype) &&
         normed(*n, desc.outputs.subspan(1));
}
bool embedding_ok(const OpDesc& desc) {
  return attrs<EmbeddingDesc>(desc) != nullptr && desc.inputs.size() == 2 && i32_from(desc, 0, 1) &&
         real(desc.inputs[1].dtype) && all(desc.outputs, real);
}
bool same_dtype(const OpDesc& desc) {
  return desc.outputs.size() == 1 && !desc.inputs.empty() &&
         desc.inputs[0].dtype == desc.outputs[0].dtype;
}
bool gather_ok(const OpDesc& desc) {
  return desc.inputs.size() == 2 && i32_from(desc, 1, 1) && same_dtype(desc);
}
bool reduce_ok(const OpDesc& desc) {
  return attrs<ReduceDesc>(desc) != nullptr && desc.inputs.size() == 1 &&
         all(desc.inputs, number) && desc.outputs.size() == 1 && all(desc.outputs, number);
}
bool softmax_ok(const OpDesc& desc) {
  return attrs<AxisDesc>(desc) != nullptr && desc.inputs.size() == 1 && all(desc.inputs, real) &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool copy_ok(const OpDesc& desc) { return desc.inputs.size() == 1 && same_dtype(desc); }
bool concat_ok(const OpDesc& desc) {
  if (!same_dtype(desc) || attrs<AxisDesc>(desc) == nullptr) return false;
  const DType dtype = desc.inputs[0].dtype;
  return std::all_of(desc.inputs.begin(), desc.inputs.end(),
                     [&](const auto& t) { return t.dtype == dtype; });
}
bool topk_ok(const OpDesc& desc) {
  return attrs<TopkDesc>(desc) != nullptr && desc.inputs.size() == 1 && all(desc.inputs, number) &&
         desc.outputs.size() == 2 && number(desc.outputs[0].dtype) &&
         desc.outputs[1].dtype == DType::kI32;
}
bool conv_ok(const OpDesc& desc) {
  return attrs<ConvDesc>(desc) != nullptr && desc.inputs.size() >= 2 && desc.inputs.size() <= 3 &&
         (desc.inputs[0].rank() == 3 || desc.inputs[0].rank() == 4) && all(desc.inputs, real) &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool rope_table_ok(const OpDesc& desc) {
  return attrs<RopeSpec>(desc) != nullptr && i32_from(desc, 0, 3) && desc.outputs.size() == 1 &&
         desc.outputs[0].dtype == DType::kF32;
}
bool rope_ok(const OpDesc& desc) {
  return attrs<RopeDesc>(desc) != nullptr && desc.inputs.size() == 2 &&
         real(desc.inputs[0].dtype) && desc.inputs[1].dtype == DType::kF32 &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool kv_append_ok(const OpDesc& desc) {
  return attrs<AttentionDesc>(desc) != nullptr && i32_from(desc, 2, 3) &&
         all(desc.inputs.first(2), real);
}
bool attention_ok(const OpDesc& desc) {
  const auto* a = attrs<AttentionDesc>(desc);
  if (a == nullptr || !i32_from(desc, 1, 3) || !real(desc.inputs[0].dtype)) return false;
  if (a->num_kv_heads <= 0 || a->num_heads % a->num_kv_heads != 0) return false;
  if (a->sinks && (desc.inputs.size() != 5 || !real(desc.inputs[4].dtype))) return false;
  return desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool encoder_attention_ok(const OpDesc& desc) {
  const auto* a = attrs<AttentionDesc>(desc);
  if (a == nullptr || !i32_from(desc, 3, 2) || !all(desc.inputs.first(3), real)) return false;
  if (a->num_kv_heads <= 0 || a->num_heads % a->num_kv_heads != 0 || a->sinks) return false;
  return a->head_dim == a->v_head_dim && desc.inputs[1].dtype == desc.inputs[2].dtype &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool qkv_ok(const OpDesc& desc) {
  const auto* q = attrs<QkvDesc>(desc);
  if (q == nullptr || !i32_from(desc, 2, 3) || !real(desc.inputs[0].dtype)) return false;
  if (desc.inputs.size() != (q->qk_norm ? 7u : 5u)) return false;
  return desc.inputs[1].dtype == DType::kF32 && all(desc.inputs.subspan(5), real) &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}
bool sample_ok(const OpDesc& desc) {
  return desc.inputs.size() == 6 && desc.inputs[0].dtype == DType::kF32 && i32_from(desc, 1, 5) &&
         desc.outputs.size() == 2 && all(desc.outputs, [](DType d) { return d == DType::kI32; });
}
bool resolve_tokens_ok(const OpDesc& desc) {
  return desc.inputs.size() == 2 && i32_from(desc, 0, 2) && same_dtype(desc);
}

bool moe_route_ok(const OpDesc& desc) {
  return attrs<MoeRouteDesc>(desc) != nullptr && desc.inputs.size() == 1 &&
         real(desc.inputs[0].dtype) && desc.outputs.size() == 2 &&
         desc.outputs[0].dtype == DType::kI32 && desc.outputs[1].dtype == DType::kF32;
}
bool moe_ok(const OpDesc& desc) {
  const auto* m = attrs<MoeDesc>(desc);
  if (m == nullptr || desc.inputs.size() < 5 || !real(desc.inputs[0].dtype)) return false;
  const bool scaled = m->up.quant == WeightQuant::kInt8Channel;
  if (!scaled && m->up.quant != WeightQuant::kNone) return false;
  if (m->up.quant != m->down.quant || (scaled && desc.inputs.size() < 7)) return false;
  for (size_t i = 1; i < desc.inputs.size(); ++i) {
    const DType dtype = desc.inputs[i].dtype;
    if (i <= 2 && !(scaled ? dtype == DType::kI8 : real(dtype))) return false;
    if (i > 4 && !real(dtype)) return false;
    if (i <= 2 && desc.inputs[i].rank() != 3) return false;
  }
  return i32_from(desc, 3, 1) && desc.inputs[4].dtype == DType::kF32 && desc.outputs.size() == 1 &&
         all(desc.outputs, real);
}
bool lora_ok(const OpDesc& desc) {
  if (desc.inputs.size() < 5 || desc.inputs.size() % 2 == 0 || !i32_from(desc, 1, 1)) return false;
  for (size_t i = 3; i < desc.inputs.size(); ++i) {
    const TensorType& type = desc.inputs[i];
    const auto fixed = [](const Dim& dim) { return dim.fixed(); };
    if (type.rank() != 3 || !std::all_of(type.dims.begin(), type.dims.end(), fixed)) return false;
  }
  return real(desc.inputs[0].dtype) && desc.inputs[0].rank() == 2 &&
         desc.inputs[2].dtype == DType::kF32 && all(desc.inputs.subspan(3), real) &&
         desc.outputs.size() == 1 && all(desc.outputs, real);
}

constexpr Tactic make(std::string_view name, OpKind op, bool (*supports)(const OpDesc&),
                      CpuKernel run) {
  return {.name = name, .op = op, .supports = supports, .run = run, .sum_order = own_sum_order};
}

constexpr std::array kTactics = {
    make("cpu.reference.matmul.v1", OpKind::kMatmul, matmul_ok, matmul),
    make("cpu.reference.pointwise.v1", OpKind::kPointwise, pointwise_ok, pointwise),
    make("cpu.reference.norm.v1", OpKind::kNorm, norm_ok, norm),
    make("cpu.reference.add_norm.v1", OpKind::kAddNorm, add_norm_ok, add_norm),
    make("cpu.reference.quantize.v1", OpKind::kQuantize, quantize_ok, quantize),
    make("cpu.reference.embedding.v1", OpKind::kEmbedding, embedding_ok, embedding),
    make("cpu.reference.gather_rows.v1", OpKind::kGatherRows, gather_ok, gather_rows),
    make("cpu.reference.reduce.v1", OpKind::kReduce, reduce_ok, reduce),
    make("cpu.reference.softmax.v1", OpKind::kSoftmax, softmax_ok, softmax),
    make("cpu.reference.reshape.v1", OpKind::kReshape, copy_ok, reshape),
    make("cpu.reference.transpose.v1", OpKind::kTranspose, copy_ok, transpose),
    make("cpu.reference.slice.v1", OpKind::kSlice, copy_ok, slice),
    make("cpu.reference.concat.v1", OpKind::kConcat, concat_ok, concat),
    make("cpu.reference.topk.v1", OpKind::kTopk, topk_ok, topk),
    make("cpu.reference.conv.v1", OpKind::kConv, conv_ok, conv),
    make("cpu.reference.rope_table.v1", OpKind::kRopeTable, rope_table_ok, rope_table),
    make("cpu.reference.rope.v1", OpKind::kRope, rope_ok, rope),
    make("cpu.reference.kv_append.v1", OpKind::kKvAppend, kv_append_ok, kv_append),
    make("cpu.reference.paged_attention.v1", OpKind::kPagedAttention, attention_ok,
         paged_attention),
    make("cpu.reference.attention.v1", OpKind::kAttention, encoder_attention_ok, attention),
    make("cpu.reference.qkv_rope_append.v1", OpKind::kQkvRopeAppend, qkv_ok, qkv_rope_append),
    make("cpu.reference.sample.v1", OpKind::kSample, sample_ok, sample),
    make("cpu.reference.resolve_tokens.v1", OpKind::kResolveTokens, resolve_tokens_ok,
         resolve_tokens),
    make("cpu.reference.lora.v1", OpKind::kLora, lora_ok, lora),
    make("cpu.reference.moe_route.v1", OpKind::kMoeRoute, moe_route_ok, moe_route),
    make("cpu.reference.moe.v1", OpKind::kMoe, moe_ok, moe),
};

}  // namespace

std::span<const Tactic> tactics() { return kTactics; }

}  // namespace ramjet::kernels::reference

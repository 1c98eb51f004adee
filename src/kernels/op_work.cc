#include "kernels/op_work.h"

#include <algorithm>
#include <vector>

#include "kernels/paging.h"

namespace ramjet::kernels {
namespace {

constexpr int64_t kDecodeKeys = 1024;
constexpr int64_t kPromptTokens = 2048;

double type_bytes(const TensorType& type, std::span<const int64_t> symbols) {
  return static_cast<double>(type.shape(symbols).elements()) *
         static_cast<double>(dtype_bytes(type.dtype));
}

double all_bytes(const OpDesc& desc, std::span<const int64_t> symbols) {
  double bytes = 0;
  for (const TensorType& type : desc.inputs) bytes += type_bytes(type, symbols);
  for (const TensorType& type : desc.outputs) bytes += type_bytes(type, symbols);
  return bytes;
}

/// Bytes of a token in the cache.
double cell_bytes(const AttentionDesc& d) {
  return static_cast<double>(d.num_kv_heads * (d.head_dim + value_dim(d)) *
                             dtype_bytes(d.kv_dtype));
}

OpWork attention_work(const OpDesc& desc, std::span<const int64_t> symbols) {
  const AttentionDesc& d = *attention_desc_of(desc);
  const BatchShape batch = batch_shape(desc, symbols);
  const auto visible = [&](int64_t keys) {
    return static_cast<double>(d.window > 0 ? std::min(keys, d.window) : keys);
  };
  // The mean of the first and the last query is close enough where a window cuts in between.
  const double keys = (visible(batch.keys) + visible(batch.keys - batch.queries + 1)) / 2;
  OpWork work;
  const double tokens = static_cast<double>(symbols[0]);
  work.flops = 2.0 * static_cast<double>(d.num_heads * (d.head_dim + value_dim(d))) * tokens * keys;
  work.bytes = type_bytes(desc.inputs[0], symbols) + type_bytes(desc.outputs[0], symbols) +
               static_cast<double>(batch.sequences) * visible(batch.keys) * cell_bytes(d);
  return work;
}

/// Of the experts at most as many are read as there are choices.
OpWork moe_work(const OpDesc& desc, std::span<const int64_t> symbols) {
  const Shape ids = desc.inputs[3].shape(symbols);
  const auto experts = static_cast<double>(std::max<int64_t>(desc.inputs[1].dims[0].offset, 1));
  const auto choices = static_cast<double>(ids.elements());
  double stored = 0, elements = 0;
  for (const size_t i : {1, 2}) {
    stored += type_bytes(desc.inputs[i], symbols);
    elements += static_cast<double>(desc.inputs[i].shape(symbols).elements());
  }
  OpWork work;
  work.bytes = all_bytes(desc, symbols) - stored + stored * std::min(1.0, choices / experts);
  work.flops = 2 * choices * elements / experts;
  return work;
}

}  // namespace

int sequences_operand(OpKind op) {
  switch (op) {
    case OpKind::kPagedAttention:
    case OpKind::kRopeTable: return 2;
    case OpKind::kKvAppend:
    case OpKind::kQkvRopeAppend: return 3;
    default: return -1;
  }
}

const AttentionDesc* attention_desc_of(const OpDesc& desc) {
  if (const auto* qkv = std::get_if<QkvDesc>(desc.attrs)) return &qkv->attention;
  return std::get_if<AttentionDesc>(desc.attrs);
}

BatchShape batch_shape(const OpDesc& desc, std::span<const int64_t> symbols) {
  const auto operand = static_cast<size_t>(sequences_operand(desc.op));
  const Dim& dim = desc.inputs[operand].dims[0];
  const int64_t most_sequences =
      dim.fixed() ? dim.offset : desc.symbols[static_cast<size_t>(dim.symbol)].max;
  const int64_t tokens = std::max<int64_t>(desc.inputs[0].dims[0].evaluate(symbols), 1);
  int64_t most_keys = kDecodeKeys + kPromptTokens;
  if (const AttentionDesc* d = attention_desc_of(desc)) {
    const TensorType& table = desc.inputs[operand + 1];
    most_keys = std::max<int64_t>(table.dims.back().offset * d->block_tokens, 1);
  }
  if (tokens <= most_sequences) return {tokens, 1, std::min(kDecodeKeys, most_keys)};
  const int64_t prompt = std::min(kPromptTokens, most_keys);
  const int64_t sequences = std::min((tokens + prompt - 1) / prompt, most_sequences);
  const int64_t queries = (tokens + sequences - 1) / sequences;
  return {(tokens + queries - 1) / queries, queries, queries};
}

std::vector<int64_t> batch_symbols(const OpDesc& desc, std::span<const int64_t> symbols) {
  std::vector<int64_t> values(symbols.begin(), symbols.end());
  const int operand = sequences_operand(desc.op);
  if (operand < 0) return values;
  const Dim& dim = desc.inputs[static_cast<size_t>(operand)].dims[0];
  if (dim.fixed() || dim.factor == 0) return values;
  values[static_cast<size_t>(dim.symbol)] =
      (batch_shape(desc, symbols).sequences - dim.offset) / dim.factor;
  return values;
}

OpWork op_work(const OpDesc& desc, std::span<const int64_t> given) {
  const std::vector<int64_t> symbols = batch_symbols(desc, given);
  OpWork work;
  switch (desc.op) {
    case OpKind::kMatmul: {
      const TensorType& b = desc.inputs[1];
      const double rows = static_cast<double>(desc.inputs[0].shape(symbols).rows());
      work.bytes = all_bytes(desc, symbols);
      work.flops = 2 * rows * static_cast<double>(b.shape(symbols).elements());
      work.fp8 = b.dtype == DType::kF8E4M3;
      return work;
    }
    case OpKind::kMoe: return moe_work(desc, symbols);
    case OpKind::kPagedAttention: return attention_work(desc, symbols);
    case OpKind::kEmbedding:
    case OpKind::kGatherRows: work.bytes = 2 * type_bytes(desc.outputs[0], symbols); return work;
    case OpKind::kKvAppend:
    case OpKind::kQkvRopeAppend: {
      work.bytes = type_bytes(desc.inputs[0], symbols);
      if (desc.op == OpKind::kKvAppend) work.bytes += type_bytes(desc.inputs[1], symbols);
      for (const TensorType& out : desc.outputs) work.bytes += type_bytes(out, symbols);
      work.bytes += static_cast<double>(desc.inputs[0].shape(symbols).rows()) *
                    cell_bytes(*attention_desc_of(desc));
      return work;
    }
    case OpKind::kLora:  // a step of the bare model: adapters come and go
      work.bytes = type_bytes(desc.inputs[1], symbols) + type_bytes(desc.outputs[0], symbols);
      return work;
    default: work.bytes = all_bytes(desc, symbols); return work;
  }
}

double floor_us(const OpWork& work, const DeviceFacts& facts) {
  const double peak = work.fp8 && facts.fp8_tflops > 0 ? facts.fp8_tflops : facts.bf16_tflops;
  return std::max(work.bytes / facts.tbps, work.flops / peak) * 1e-6;
}

}  // namespace ramjet::kernels

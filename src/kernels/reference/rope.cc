#include "op/rope.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/paging.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

/// Rotates one head in place; `table` is a row of rope_table.
void rotate(std::span<float> head, const float* table, int64_t rotary_dim, bool interleaved) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const auto first = static_cast<size_t>(interleaved ? 2 * i : i);
    const auto second = static_cast<size_t>(interleaved ? 2 * i + 1 : i + half);
    const float x = head[first], y = head[second];
    const float cosine = table[i], sine = table[half + i];
    head[first] = x * cosine - y * sine;
    head[second] = y * cosine + x * sine;
  }
}

void rms_norm_head(std::span<float> head, const NormDesc& desc, const TensorView& weight) {
  double square = 0;
  for (float value : head) square += double{value} * double{value};
  const double scale = 1 / std::sqrt(square / static_cast<double>(head.size()) + desc.eps);
  for (size_t i = 0; i < head.size(); ++i) {
    const double w = desc.weight_offset + load(weight, static_cast<int64_t>(i));
    head[i] = static_cast<float>(head[i] * scale * w);
  }
}

}  // namespace

void rope_table(const KernelCall& call) {
  const auto& spec = std::get<RopeSpec>(*call.attrs);
  const int32_t* positions = call.inputs[0].as<int32_t>();
  const RaggedBatch batch(call.inputs[1], call.inputs[2]);
  const int64_t half = spec.rotary_dim / 2;
  float* out = call.outputs[0].as<float>();
  std::vector<float> inv_freq(static_cast<size_t>(half));
  for (int64_t s = 0; s < batch.sequences; ++s) {
    for (int64_t row = batch.query_start[s]; row < batch.query_start[s + 1]; ++row) {
      const int64_t length = std::max(batch.kv_len[s], positions[row] + 1);
      const float factor = rope_inv_freq(spec, length, inv_freq);
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(positions[row]) * inv_freq[static_cast<size_t>(i)];
        out[row * spec.rotary_dim + i] = std::cos(angle) * factor;
        out[row * spec.rotary_dim + half + i] = std::sin(angle) * factor;
      }
    }
  }
}

void rope(const KernelCall& call) {
  const auto& desc = std::get<RopeDesc>(*call.attrs);
  const TensorView& x = call.inputs[0];
  const float* table = call.inputs[1].as<float>();
  std::vector<float> head(static_cast<size_t>(desc.head_dim));
  for (int64_t row = 0; row < x.shape[0]; ++row) {
    for (int64_t h = 0; h < desc.num_heads; ++h) {
      const int64_t base = (row * desc.num_heads + h) * desc.head_dim;
      for (size_t i = 0; i < head.size(); ++i) head[i] = load(x, base + static_cast<int64_t>(i));
      rotate(head, table + row * desc.rotary_dim, desc.rotary_dim, desc.interleaved);
      for (size_t i = 0; i < head.size(); ++i) {
        store(call.outputs[0], base + static_cast<int64_t>(i), head[i]);
      }
    }
  }
}

void qkv_rope_append(const KernelCall& call) {
  const auto& desc = std::get<QkvDesc>(*call.attrs);
  const AttentionDesc& attention = desc.attention;
  const TensorView& qkv = call.inputs[0];
  const float* table = desc.rotary_dim > 0 ? call.inputs[1].as<float>() : nullptr;
  const RaggedBatch batch(call.inputs[2], call.inputs[3], call.inputs[4]);
  const KvView& kv = call.kv[static_cast<size_t>(attention.kv_group)];
  const int64_t heads = attention.num_heads, kv_heads = attention.num_kv_heads;
  const int64_t dim = attention.head_dim, v_dim = value_dim(attention);
  const int64_t width = (heads + kv_heads) * dim + kv_heads * v_dim;
  std::vector<float> head(static_cast<size_t>(dim));
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t s = batch.sequence_of(row), position = batch.position_of(row, s);
    const int64_t block = batch.block_of(s, position, kv.block_tokens);
    const int64_t token = position % kv.block_tokens;
    for (int64_t h = 0; h < heads + kv_heads; ++h) {
      for (int64_t i = 0; i < dim; ++i) {
        head[static_cast<size_t>(i)] = load(qkv, row * width + h * dim + i);
      }
      if (desc.qk_norm) rms_norm_head(head, desc.norm, call.inputs[h < heads ? 5 : 6]);
      if (table != nullptr) {
        rotate(head, table + row * desc.rotary_dim, desc.rotary_dim, desc.interleaved);
      }
      for (int64_t i = 0; i < dim; ++i) {
        const float value = head[static_cast<size_t>(i)];
        if (h < heads) {
          store(call.outputs[0], (row * heads + h) * dim + i, value);
        } else {
          store_cached(key_at(kv, attention, block, h - heads, token), kv.dtype, i, value,
                       attention.k_scale);
        }
      }
    }
    for (int64_t h = 0; h < kv_heads; ++h) {
      std::byte* slot = value_at(kv, attention, block, h, token);
      const int64_t base = row * width + (heads + kv_heads) * dim + h * v_dim;
      for (int64_t i = 0; i < v_dim; ++i) {
        store_cached(slot, kv.dtype, i, load(qkv, base + i), attention.v_scale);
      }
    }
  }
}

}  // namespace ramjet::kernels::reference

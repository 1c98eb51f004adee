#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/paging.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

struct Query {
  int64_t row, head, sequence, position;
};

/// Softmax weights of the keys first .. position that a query sees.
std::vector<double> attention_weights(const KernelCall& call, const AttentionDesc& desc,
                                      const KvView& kv, const RaggedBatch& batch,
                                      const Query& query) {
  const int64_t kv_head = query.head / (desc.num_heads / desc.num_kv_heads);
  const int64_t first = first_visible(desc, query.position);
  const int64_t base = (query.row * desc.num_heads + query.head) * desc.head_dim;
  std::vector<double> scores;
  for (int64_t p = first; p <= query.position; ++p) {
    const int64_t block = batch.block_of(query.sequence, p, kv.block_tokens);
    const std::byte* key = key_at(kv, desc, block, kv_head, p % kv.block_tokens);
    double score = 0;
    for (int64_t i = 0; i < desc.head_dim; ++i) {
      score += double{load(call.inputs[0], base + i)} * double{load_element(key, kv.dtype, i)};
    }
    score *= desc.scale * cache_scale(kv.dtype, desc.k_scale);
    if (desc.softcap > 0) score = desc.softcap * std::tanh(score / desc.softcap);
    scores.push_back(score);
  }
  double top = *std::max_element(scores.begin(), scores.end());
  const double sink = desc.sinks ? double{load(call.inputs[4], query.head)} : -INFINITY;
  top = std::max(top, sink);
  double sum = std::exp(sink - top);  // a sink takes weight and gives no value
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
  return scores;
}

/// Each query sees the keys up to its own, or with `causal` false all of its sequence.
void attend(const KernelCall& call, const KvView& kv, const RaggedBatch& batch, bool causal) {
  const auto& desc = std::get<AttentionDesc>(*call.attrs);
  const int64_t v_dim = value_dim(desc);
  const double v_scale = cache_scale(kv.dtype, desc.v_scale);
  call.pool->parallel_for(batch.rows() * desc.num_heads, 1, [&](int64_t item, int64_t, int) {
    Query query{.row = item / desc.num_heads, .head = item % desc.num_heads};
    query.sequence = batch.sequence_of(query.row);
    query.position =
        causal ? batch.position_of(query.row, query.sequence) : batch.kv_len[query.sequence] - 1;
    const std::vector<double> weights = attention_weights(call, desc, kv, batch, query);
    const int64_t kv_head = query.head / (desc.num_heads / desc.num_kv_heads);
    std::vector<double> sum(static_cast<size_t>(v_dim), 0.0);
    int64_t p = first_visible(desc, query.position);
    for (double weight : weights) {
      const int64_t block = batch.block_of(query.sequence, p, kv.block_tokens);
      const std::byte* value = value_at(kv, desc, block, kv_head, p++ % kv.block_tokens);
      for (int64_t i = 0; i < v_dim; ++i) {
        sum[static_cast<size_t>(i)] += weight * double{load_element(value, kv.dtype, i)};
      }
    }
    for (int64_t i = 0; i < v_dim; ++i) {
      store(call.outputs[0], item * v_dim + i,
            static_cast<float>(sum[static_cast<size_t>(i)] * v_scale));
    }
  });
}

}  // namespace

void kv_append(const KernelCall& call) {
  const auto& desc = std::get<AttentionDesc>(*call.attrs);
  const RaggedBatch batch(call.inputs[2], call.inputs[3], call.inputs[4]);
  const KvView& kv = call.kv[static_cast<size_t>(desc.kv_group)];
  const int64_t dim = desc.head_dim, v_dim = value_dim(desc);
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t s = batch.sequence_of(row), position = batch.position_of(row, s);
    const int64_t block = batch.block_of(s, position, kv.block_tokens);
    const int64_t token = position % kv.block_tokens;
    for (int64_t h = 0; h < desc.num_kv_heads; ++h) {
      std::byte* key = key_at(kv, desc, block, h, token);
      std::byte* value = value_at(kv, desc, block, h, token);
      const int64_t k_base = (row * desc.num_kv_heads + h) * dim;
      const int64_t v_base = (row * desc.num_kv_heads + h) * v_dim;
      for (int64_t i = 0; i < dim; ++i) {
        store_cached(key, kv.dtype, i, load(call.inputs[0], k_base + i), desc.k_scale);
      }
      for (int64_t i = 0; i < v_dim; ++i) {
        store_cached(value, kv.dtype, i, load(call.inputs[1], v_base + i), desc.v_scale);
      }
    }
  }
}

void paged_attention(const KernelCall& call) {
  const auto& desc = std::get<AttentionDesc>(*call.attrs);
  attend(call, call.kv[static_cast<size_t>(desc.kv_group)],
         RaggedBatch(call.inputs[1], call.inputs[2], call.inputs[3]), true);
}

void attention(const KernelCall& call) {
  attend(call, rows_as_cache(call.inputs[1], call.inputs[2]),
         RaggedBatch(call.inputs[3], call.inputs[4]), false);
}

}  // namespace ramjet::kernels::reference

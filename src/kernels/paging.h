// How rows of a ragged batch map to sequences, positions and cache slots. Borrows its views.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel.h"

namespace ramjet::kernels {

/// query_start i32[S+1], kv_len i32[S], block_table i32[S, blocks] as every paged op takes them.
struct RaggedBatch {
  const int32_t* query_start = nullptr;
  const int32_t* kv_len = nullptr;
  const int32_t* block_table = nullptr;
  int64_t sequences = 0;
  int64_t blocks_per_sequence = 0;

  RaggedBatch(const TensorView& starts, const TensorView& lengths)
      : query_start(starts.as<int32_t>()),
        kv_len(lengths.as<int32_t>()),
        sequences(lengths.elements()) {}
  RaggedBatch(const TensorView& starts, const TensorView& lengths, const TensorView& table)
      : RaggedBatch(starts, lengths) {
    block_table = table.as<int32_t>();
    blocks_per_sequence = table.shape.back();
  }

  /// Rows that belong to a sequence; padding may follow.
  int64_t rows() const { return sequences == 0 ? 0 : query_start[sequences]; }
  int64_t sequence_of(int64_t row) const {
    int64_t low = 0, high = sequences;  // query_start[low] <= row < query_start[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (query_start[middle] <= row ? low : high) = middle;
    }
    return low;
  }
  /// Position of a row in its sequence: the last row is at kv_len - 1.
  int64_t position_of(int64_t row, int64_t sequence) const {
    return kv_len[sequence] - (query_start[sequence + 1] - row);
  }
  /// Without a table each row is a block of its own: keys that lie as the queries do.
  int64_t block_of(int64_t sequence, int64_t position, int64_t block_tokens) const {
    if (block_table == nullptr) return query_start[sequence] + position;
    return block_table[sequence * blocks_per_sequence + position / block_tokens];
  }
};

inline int64_t value_dim(const AttentionDesc& desc) {
  return desc.v_head_dim > 0 ? desc.v_head_dim : desc.head_dim;
}
/// First position that a query at `position` may see.
inline int64_t first_visible(const AttentionDesc& desc, int64_t position) {
  return desc.window > 0 && position >= desc.window ? position - desc.window + 1 : 0;
}
inline std::byte* key_at(const KvView& kv, const AttentionDesc& desc, int64_t block, int64_t head,
                         int64_t token) {
  return kv.block(desc.kv_layer, block) +
         (head * kv.block_tokens + token) * desc.head_dim * dtype_bytes(kv.dtype);
}
inline std::byte* value_at(const KvView& kv, const AttentionDesc& desc, int64_t block, int64_t head,
                           int64_t token) {
  return kv.block(desc.kv_layer, block) + kv.v_offset +
         (head * kv.block_tokens + token) * value_dim(desc) * dtype_bytes(kv.dtype);
}

/// k[T,Hkv*D] and v[T,Hkv*Dv] seen as a cache of one token a block.
inline KvView rows_as_cache(const TensorView& k, const TensorView& v) {
  KvView view;
  view.base = static_cast<std::byte*>(k.data);
  view.dtype = k.dtype;
  view.num_layers = view.block_tokens = 1;
  view.num_blocks = k.shape[0];
  view.block_stride = k.shape[1] * dtype_bytes(k.dtype);
  view.v_offset = static_cast<std::byte*>(v.data) - view.base;
  return view;
}

}  // namespace ramjet::kernels

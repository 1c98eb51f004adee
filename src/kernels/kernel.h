// What a kernel sees: operands, descriptor, workspace, KV pools, threads.
//
// Ownership: everything is borrowed for the duration of the call. A CPU kernel may use the pool
// from the calling thread only; it allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "op/descriptors.h"
#include "op/dim.h"
#include "op/op_kind.h"
#include "tensor/tensor_view.h"

namespace ramjet {

class ThreadPool;  // base/thread_pool.h

namespace kernels {

/// One group of layers that share a block table. Memory: [layer][block][k|v][head][token][dim],
/// k of head_dim and v of v_head_dim elements. So block b of layer l starts at
/// base + l * layer_stride + b * block_stride, its values at + v_offset.
struct KvView {
  std::byte* base = nullptr;
  DType dtype = DType::kBf16;
  int64_t num_layers = 0;
  int64_t num_blocks = 0;
  int64_t block_tokens = 0;
  int64_t layer_stride = 0;  // bytes
  int64_t block_stride = 0;  // bytes
  int64_t v_offset = 0;      // bytes, within a block

  std::byte* block(int64_t layer, int64_t index) const {
    return base + layer * layer_stride + index * block_stride;
  }
};

/// The static side of a kernel call, known while the engine is built.
struct OpDesc {
  OpKind op = OpKind::kPointwise;
  const OpAttrs* attrs = nullptr;
  std::span<const TensorType> inputs;
  std::span<const TensorType> outputs;
  std::span<const Symbol> symbols;
};

/// The dynamic side. Views of zero rows are allowed: the kernel returns at once.
struct KernelCall {
  const OpAttrs* attrs = nullptr;
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  std::span<std::byte> workspace;
  std::span<const KvView> kv;           // by group
  ThreadPool* pool = nullptr;           // never null
  const MatmulDesc* product = nullptr;  // in place of attrs: a matmul that is part of a larger op
};

using CpuKernel = void (*)(const KernelCall&);

}  // namespace kernels
}  // namespace ramjet

// The tactics of GPU targets and the weight layouts they read. Immutable tables.
//
// Every kernel follows one convention, so that records need no knowledge of ops:
// - pointers and scalars by value in the order of DeviceLaunch::args; tensor maps as
//   `const __grid_constant__ TensorMap`;
// - sizes that change from step to step are read through `const int*` (LaunchArg::symbol); views
//   of zero rows are allowed;
// - a programmatic kernel executes griddepcontrol.wait before it reads what another kernel wrote
//   or writes what another may still read; symbols, query_start, kv_len, block_table and the other
//   program inputs are written before the first kernel of a step and may be read earlier, weights
//   always; so may the cache's cells of a sequence with one query, but for that query's own: a
//   block is shared only once an earlier step has written it;
// - nothing is written beyond the rows of the step; whatever lies there (NaN too) changes nothing.
#pragma once

#include <span>

#include "kernels/registry.h"

namespace ramjet::kernels::cuda {

std::span<const std::span<const Tactic>> tactic_tables();
std::span<const WeightLayout> layouts();

// One table a family of kernels.
std::span<const Tactic> gemm_tactics();       // matmul
std::span<const Tactic> attention_tactics();  // paged_attention
std::span<const Tactic> row_tactics();        // norms, embedding, rope, KV append, quantize
std::span<const Tactic> sampling_tactics();   // sample, resolve_tokens
std::span<const Tactic> moe_tactics();        // moe_route, moe
std::span<const Tactic> general_tactics();    // pointwise, reduce, shapes, any matmul

}  // namespace ramjet::kernels::cuda

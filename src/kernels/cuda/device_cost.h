// The cost model: what tactics of a GPU are expected to take, in microseconds. It orders
// candidates where nothing is timed and says which are not worth timing. Pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/registry.h"

namespace ramjet::kernels::cuda {

/// gemm_sm90.cuh: `tactic.variant` says tile, slim and cluster. The largest of device memory, L2
/// (each tile reads its operands from there) and tensor cores (shared memory feeds them), plus what
/// joining the parts of tiles costs.
double gemm_sm90_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                      std::span<const int64_t> symbols);

/// moe on gemm_sm90.cuh: both products over tiles of the groups of evenly chosen experts.
double moe_sm90_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     std::span<const int64_t> symbols);

/// Attention whose sequences of many queries run on tensor cores, and attention where the kernel
/// of any shape does that part, or everything.
double attention_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                      std::span<const int64_t> symbols);
double attention_fixed_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                            std::span<const int64_t> symbols);
double attention_split_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                            std::span<const int64_t> symbols);
double attention_any_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                          std::span<const int64_t> symbols);

/// Kernels made for their op's shape that read and write each element once.
/// Tactic::variant of kernels over rows that give a row few threads.
inline constexpr int kManyRows = 1;
double row_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                std::span<const int64_t> symbols);
/// Kernels of any shape: what they take is not modelled; they never outdo one made for the shape.
double general_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                    std::span<const int64_t> symbols);
/// A product without tensor cores.
double matmul_fma_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                       std::span<const int64_t> symbols);

}  // namespace ramjet::kernels::cuda

// What every fast matmul works out first: extents, operands by role, and who takes which block.
// Borrows the call.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/cpu/broadcast.h"
#include "kernels/kernel.h"

namespace ramjet::kernels::cpu {

/// Most instructions of a prologue or epilogue, most operands of one: what scratch has room for.
inline constexpr int kMaxFusedInstrs = 128;
inline constexpr int kMaxFusedOperands = 16;

struct MatmulPlan {
  const MatmulDesc* desc = nullptr;
  std::span<const TensorView> outputs;
  const TensorView* a = nullptr;
  const TensorView* b = nullptr;
  const float* scales = nullptr;        // one a row of b, or null
  const float* token_scales = nullptr;  // one a row of a, or null
  int64_t rows = 0;                     // of a and of the result, batches together
  int64_t columns = 0;                  // of the result
  int64_t depth = 0;
  int64_t b_rows = 0;  // columns * accumulators
  int64_t panels = 0;  // of 32 rows of b
  std::array<RowOperand, kMaxFusedOperands> prologue, epilogue;
  size_t num_prologue = 0, num_epilogue = 0;

  explicit MatmulPlan(const KernelCall& call);
  /// Columns of the result that a panel of 32 rows of b makes.
  int64_t panel_columns() const { return 32 / desc->accumulators; }
};

/// Whether the packed-weight tactics of an FMA path take it: b rank 2 in [N, K] order, programs
/// of bounded size, whole tiles where two accumulators share b. `bf16` asks for bf16 weights.
bool packed_matmul_ok(const OpDesc& desc, bool bf16);
/// AMX: bf16 rows of a, bf16 or int8 weights; or both e4m3.
bool amx_matmul_ok(const OpDesc& desc, bool bf16);
/// Bytes of a as packed tiles, at the largest number of rows.
int64_t amx_workspace(const OpDesc& desc);
/// packed_matmul_ok with b as it is, [N, K] or [K, N], possibly batched: for a b that is no weight.
bool row_major_matmul_ok(const OpDesc& desc);

}  // namespace ramjet::kernels::cpu

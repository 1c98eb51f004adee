// The Hopper GEMM from the host: its configurations, source and launch geometry.
//
// Plain values; free functions. See device/gemm_sm90.cuh for the algorithm.
#pragma once

#include <cstdint>
#include <string>

#include "device/cuda/nvrtc.h"

namespace ramjet::kernels::cuda {

struct GemmSm90Config {
  int64_t n = 0;  // features: rows of W, a multiple of 128
  int64_t k = 0;  // a multiple of 64 (bf16) or 128 (fp8)
  bool fp8 = false;
  int block_t = 64;    // tokens of a tile: 8, 16, 32, 64, 128 or 256
  int stages = 0;      // 0: what shared memory holds
  int group_t = 8;     // token tiles that share weights in L2
  bool gated = false;  // rows r and r + 8 of every 16 are gate and up
  bool bias = false;
  bool residual = false;
};

/// Stages that fit beside the store buffer in 227 KiB, at most 12.
int gemm_sm90_stages(const GemmSm90Config& config);
unsigned gemm_sm90_shared_bytes(const GemmSm90Config& config);
/// Workspace for a grid of `blocks`: partial sums, then flags, which must be zero at first use.
uint64_t gemm_sm90_workspace_bytes(const GemmSm90Config& config, int blocks);
uint64_t gemm_sm90_flags_offset(const GemmSm90Config& config, int blocks);
/// Blocks of the grid for `tokens`: all multiprocessors, or fewer when there is little to do.
int gemm_sm90_grid(const GemmSm90Config& config, int64_t tokens, int multiprocessors);
device::cuda::NvrtcSource gemm_sm90_source(const GemmSm90Config& config);

/// Arguments as the device declares them.
struct GemmSm90Arguments {
  uint64_t weights, output, weight_scales, token_scales, bias, residual, partials, flags;
  int tokens;
};

/// Byte offset of element (row, column byte) in the tiled, swizzled weight layout of `k_bytes`
/// bytes a row: tiles of 64 rows x 128 bytes; within one, 16-byte unit u of row r lies at unit
/// u ^ (r % 8).
int64_t gemm_sm90_weight_offset(int64_t row, int64_t column_byte, int64_t k_bytes);

}  // namespace ramjet::kernels::cuda

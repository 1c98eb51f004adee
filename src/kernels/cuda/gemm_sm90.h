// The Hopper GEMM from the host: its configurations, source, launch geometry and weight layout.
//
// Plain values; free functions. See device/gemm_sm90.cuh for the algorithm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ramjet/dtype.h>

#include "op/pointwise_program.h"

namespace ramjet::kernels::cuda {

/// Parts of Tactic::variant.
inline constexpr int kGemmTileMask = 0xffff, kGemmSlimBit = 1 << 16, kGemmClusterBit = 1 << 17,
                     kGemmFixedBit = 1 << 18, kGemmRowsBit = 1 << 19;
inline constexpr int kGemmPartsShift = 20, kGemmPartsMask = 15;  // GemmSm90Config::parts
inline constexpr int kGemmTurnsBit = 1 << 24, kGemmStoreBit = 1 << 25;

/// An operand of the epilogue: [T, N], [N], [T, 1] or one element.
struct GemmOperand {
  DType dtype = DType::kBf16;  // or f32
  bool by_token = false;
  bool by_feature = false;
};

struct GemmSm90Config {
  int64_t n = 0;  // rows of W; of both weights together where there are two accumulators
  int64_t k = 0;  // a multiple of 8 (bf16) or 16 (fp8)
  bool fp8 = false;
  int block_t = 64;           // tokens of a tile: 8, 16, 32, 64, 128 or 256
  int stages = 0;             // 0: what shared memory holds
  int group_t = 8;            // token tiles that share weights in L2
  int cluster = 1;            // 2: pairs of blocks share tokens
  int parts = 0;              // 0: stream-K; 1: whole tiles; 2, 4 or 8: each cut into so many
  int rows = 0;               // of a block, over all of K: device/gemm_rows.cuh; tiles of 8 or 16
  bool pingpong = false;      // whole tiles of 64 rows by one warpgroup each, in turn
  bool store_map = false;     // results leave by tensor map, where chunks are whole
  bool fragments = true;      // the epilogue in the sums' own layout, where it fits
  bool slim = false;          // leaves room for other kernels' blocks; tiles of at most 64 tokens
  int segments = 0;           // that K is cut into at fixed places; 0: cut anywhere
  int accumulators = 1;       // 2: gate and up of a feature
  int64_t fixed_tokens = -1;  // -1: read from memory
  bool grouped = false;       // a W for each group of rows; operands are [groups, N] then
  PointwiseProgram epilogue;  // registers 0 .. accumulators-1 are the sums; empty: the sum
  std::vector<GemmOperand> operands;
  std::vector<DType> outputs = {DType::kBf16};
};

/// Whether the epilogue is done in the sums' own layout (device/gemm_fragments.cuh): one bf16
/// result of rows in 16-byte units, at most one [T, N] operand, of bf16.
bool gemm_sm90_fragments(const GemmSm90Config& config);
/// Whether the epilogue runs on the accumulators as they lie: its operands are a feature's, and of
/// at most 16 tokens one [T, N] of bf16. Pairs of many tokens are slower so.
bool gemm_sm90_direct(const GemmSm90Config& config);
/// Whether results leave by a tensor map of the output: boxes of gemm_sm90_store_box().
bool gemm_sm90_store_map(const GemmSm90Config& config);
struct GemmStoreBox {
  int features = 64, tokens = 64;
  int swizzle_bytes = 128;
};
GemmStoreBox gemm_sm90_store_box(const GemmSm90Config& config);
/// Rows of W in a block's tile.
int gemm_sm90_block_w(const GemmSm90Config& config);
/// GemmSm90Config::rows for so many rows of W on 132 multiprocessors; 0 if equal shares fill them
/// badly.
int gemm_sm90_rows(int64_t n);
/// Whether a block that is not slim has a stage for each k block of its rows.
bool gemm_rows_hold_all(const GemmSm90Config& config);
/// Segments for a product of this shape on any GPU: what fills 132 multiprocessors at few tokens.
/// Tiles of 256 tokens, and slim ones of 32 or 64, take one alone for want of registers.
int gemm_sm90_segments(int64_t n, int64_t k, bool fp8);

/// Stages that fit beside the store buffer, at most 12.
int gemm_sm90_stages(const GemmSm90Config& config);
std::string_view gemm_sm90_entry(const GemmSm90Config& config);
unsigned gemm_sm90_threads(const GemmSm90Config& config);
unsigned gemm_sm90_shared_bytes(const GemmSm90Config& config);
/// Bytes of partial sums for a grid of `blocks`; each has two flag words beside.
int64_t gemm_sm90_workspace_bytes(const GemmSm90Config& config, int blocks);
/// Pieces of work in one token tile: a grid has at most one block for each. A multiple of the
/// cluster.
int64_t gemm_sm90_blocks_of_tile(const GemmSm90Config& config);
/// The most blocks of a grid: those that run at a time, unless each has one piece and no more.
int64_t gemm_sm90_most_blocks(const GemmSm90Config& config, int multiprocessors);
/// Blocks that are launched together.
uint32_t gemm_sm90_cluster(const GemmSm90Config& config);
/// The translation unit. Parameters: the tensor map of X, weights, [partial sums,
/// flags: unless there are parts], [const int* tokens, or const int4* groups], [f32 weight scales,
/// f32 token scales], operands, outputs.
std::string gemm_sm90_source(const GemmSm90Config& config);
std::vector<std::string> gemm_sm90_defines(const GemmSm90Config& config);

/// The layout "sm90.tile64x128.v1": tiles of 64 rows x 128 bytes, the k blocks of 64 rows in a run;
/// within one, 16-byte unit u of row r lies at unit u ^ (r % 8). Rows are padded with zeros to 128,
/// columns to 128 bytes.
int64_t gemm_sm90_weight_offset(int64_t row, int64_t column_byte, int64_t k_blocks);
int64_t gemm_sm90_packed_bytes(int64_t rows, int64_t cols, DType dtype);
/// Row of the tiled matrix where a row of the engine's interleaved pair (tiles of 16 rows of each
/// weight in turn) lies in "sm90.tile64x128_pair.v1": rows r and r + 8 of 16 are of one feature.
int64_t gemm_sm90_pair_row(int64_t row);

}  // namespace ramjet::kernels::cuda

// Eight-bit floats in checkpoints: which tensors they are, and what scales their elements.
//
// Beside "X.weight" in e4m3 or e5m2 lies "X.weight_scale" (compressed-tensors, ModelOpt, FBGEMM,
// AutoFP8) or "X.weight_scale_inv" (DeepSeek, Qwen). Either is what elements are multiplied with,
// whatever its name: one number, one a row, or one a block of rows by columns.
// Pure functions; views live as long as the checkpoint.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace ramjet::checkpoint {

/// One scale for each block of `rows` by `cols` elements; `values` has a row a row of blocks.
struct ScaleBlocks {
  TensorView values;
  int64_t rows = 1;
  int64_t cols = 1;
};

/// The scales of the matrix `name`; none for a tensor of other dtypes, or without any. Errors:
/// kInvalidArgument for scales whose extents fit neither form.
Result<std::optional<ScaleBlocks>> fp8_scales(const Checkpoint& checkpoint, std::string_view name);

/// What a checkpoint has of eight-bit floats, counted by the form of their scales.
struct Fp8Content {
  std::vector<std::string> floats;  // matrices beside them that are not in eight bits
  int per_tensor = 0;               // or without a scale
  int per_row = 0;
  int per_block = 0;
  int64_t block_rows = 0, block_cols = 0;  // of the last per_block
  int e5m2 = 0;                            // of all of these
  bool static_activations = false;         // it also has scales for activations
  int weights() const { return per_tensor + per_row + per_block; }
};
Result<Fp8Content> find_fp8(const Checkpoint& checkpoint);

/// Whether the configuration promises fp8 weights: what is left to go by without weights.
bool promises_fp8(const Checkpoint& checkpoint);

}  // namespace ramjet::checkpoint

// What an op must at least move and compute, for a plausible batch: floors, the cost model and
// benchmarks share it. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/device_plan.h"
#include "kernels/kernel.h"

namespace ramjet::kernels {

/// A batch that a number of tokens stands for: decoding at a middling context while every sequence
/// can have a token of its own, else prompts from their first token.
struct BatchShape {
  int64_t sequences = 1;
  int64_t queries = 1;  // of each; the last sequence may have fewer
  int64_t keys = 1;     // of each, the queries included
};

/// Index of the i32[sequences] operand of ops over a KV cache (and of rope_table); else -1.
int sequences_operand(OpKind op);
/// Of an op with such an operand, at this many tokens.
BatchShape batch_shape(const OpDesc& desc, std::span<const int64_t> symbols);
/// The symbols' values with the sequences as batch_shape() has them.
std::vector<int64_t> batch_symbols(const OpDesc& desc, std::span<const int64_t> symbols);
/// The attention that an op over a KV cache is about; null for others.
const AttentionDesc* attention_desc_of(const OpDesc& desc);

struct OpWork {
  double bytes = 0;  // operands, results and cache, each once
  double flops = 0;
  bool fp8 = false;  // what they are in
};
OpWork op_work(const OpDesc& desc, std::span<const int64_t> symbols);
/// The least time on such a GPU.
double floor_us(const OpWork& work, const DeviceFacts& facts);

}  // namespace ramjet::kernels

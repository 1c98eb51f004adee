// Stored blocks of GGUF tensors to f32. Stateless, thread-safe.
//
// Each result is what ggml's reference gives: products and differences are rounded one by one.
// Source: the dequantize_row functions of ggml-quants.c.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/gguf/gguf.h"

namespace ramjet::checkpoint {

bool is_dequantizable(gguf::Encoding encoding);

/// Whole blocks that hold `elements`; `encoding` must be dequantizable.
void dequantize(gguf::Encoding encoding, const std::byte* blocks, int64_t elements, float* out);

}  // namespace ramjet::checkpoint

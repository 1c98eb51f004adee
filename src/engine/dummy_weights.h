// Dummy weights: values that depend on a seed and an element's index alone, for benchmarks and
// tests without a checkpoint. Pure functions.
//
// A weight of an engine has one seed, that of its name. Stored dummy weights are generated
// row-major and then packed. Seed-only weights are generated at load straight into their packed
// bytes: the values are independent of each other and of order, so only their distribution is kept,
// and the padding of a layout holds values too (of columns and rows that nobody reads).
#pragma once

#include <ramjet/dtype.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ramjet::engine {

enum class DummyKind : uint8_t {
  kMatrix,  // mean 0, deviation 0.02; i8 and f8e4m3: deviation 42
  kNorm,    // mean 1, deviation 0.02
  kScale,   // 0.02 / 42: scales of quantized matrices
};

/// By name and rank: "*.scales" are scales, other rank-1 tensors norms unless they are a "*bias*".
DummyKind dummy_kind(std::string_view name, int rank);
/// Never 0, which means "stored".
uint64_t dummy_seed(std::string_view name);
/// Element `index` of the tensor with that seed.
float dummy_value(uint64_t seed, uint64_t index, DummyKind kind);
/// Fills elements first .. first + out.size()/dtype_bytes - 1. f32, f16, bf16, i8 and f8e4m3; other
/// dtypes become zeros. Thread-safe, so ranges may be filled in parallel.
void fill_dummy(std::span<std::byte> out, DType dtype, uint64_t seed, DummyKind kind,
                uint64_t first = 0);

}  // namespace ramjet::engine

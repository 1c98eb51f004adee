// From a weight's recipe to the bytes that the engine stores: fetch, convert, transpose, combine,
// quantize, pack. Pure; thread-safe as far as the source is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "compiler/compiler.h"
#include "ir/graph.h"

namespace ramjet::compiler {

/// Bytes that are either owned or borrowed from the weight source (a mapped file).
struct WeightBytes {
  std::unique_ptr<std::byte[]> owned;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> holder;  // of borrowed bytes that the source gives back with it
};

/// Rows and columns of a weight as its layout sees them: all but the last extent are rows; a
/// vector is a single row.
struct MatrixExtents {
  int64_t rows = 1;
  int64_t cols = 1;
};
MatrixExtents matrix_extents(const TensorType& type);

/// Bytes of the weight in its layout. Errors: kUnsupported for a layout this build lacks.
Result<uint64_t> packed_bytes(const ir::Value& weight);

/// `source` null: dummy values from the weight's name. Errors name the weight and the tensor whose
/// extents or dtype do not fit.
Result<WeightBytes> materialise(const ir::Value& weight, const WeightSource* source);

}  // namespace ramjet::compiler

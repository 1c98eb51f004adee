// Symbolic extents: a Dim is factor * symbol + offset, or a plain number. Values.
//
// Symbols are per program ("tokens", "sequences", "logit_rows", or the user's own) and range over
// an optimization profile {min, opt, max}.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ramjet/dtype.h>

#include "base/result.h"
#include "tensor/shape.h"

namespace ramjet {

struct Dim {
  int64_t factor = 0;   // of the symbol
  int16_t symbol = -1;  // index into the program's symbols; -1: none
  int64_t offset = 0;   // the number itself when there is no symbol

  Dim() = default;
  Dim(int64_t number) : offset(number) {}
  static Dim of(int symbol, int64_t factor = 1, int64_t offset = 0) {
    Dim dim;
    dim.factor = factor;
    dim.symbol = static_cast<int16_t>(symbol);
    dim.offset = offset;
    return dim;
  }
  bool fixed() const { return symbol < 0; }
  int64_t evaluate(std::span<const int64_t> symbols) const {
    return fixed() ? offset : factor * symbols[static_cast<size_t>(symbol)] + offset;
  }
  bool operator==(const Dim&) const = default;
};

struct Symbol {
  std::string name;
  int64_t min = 1;
  int64_t opt = 1;
  int64_t max = 1;
  bool operator==(const Symbol&) const = default;
};

struct TensorType {
  DType dtype = DType::kF32;
  std::vector<Dim> dims;
  bool operator==(const TensorType&) const = default;
  int rank() const { return static_cast<int>(dims.size()); }
  Shape shape(std::span<const int64_t> symbols) const;
};

/// "tokens*8+1", "4096"; the inverse reports unknown symbols.
std::string dim_text(const Dim& dim, std::span<const Symbol> symbols);
Result<Dim> parse_dim(std::string_view text, std::span<const Symbol> symbols);
/// "bf16[tokens, 4096]" and back.
std::string type_text(const TensorType& type, std::span<const Symbol> symbols);
Result<TensorType> parse_type(std::string_view text, std::span<const Symbol> symbols);

}  // namespace ramjet

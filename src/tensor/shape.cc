#include "tensor/shape.h"

#include <fmt/core.h>

namespace ramjet {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += fmt::format("{}{}", i == 0 ? "" : ", ", (*this)[i]);
  return out + "]";
}

}  // namespace ramjet

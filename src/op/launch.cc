#include "op/launch.h"

#include <algorithm>
#include <bit>

namespace ramjet {

int64_t LaunchExtent::evaluate(std::span<const int64_t> symbols) const {
  const int64_t whole = (dim.evaluate(symbols) + divide - 1) / divide;
  return std::clamp<int64_t>(whole * multiply, 1, std::max<int64_t>(most, 1));
}

LaunchArg LaunchArg::float32(float value) {
  return {LaunchArgKind::kFloat32, 0, std::bit_cast<int32_t>(value)};
}

}  // namespace ramjet

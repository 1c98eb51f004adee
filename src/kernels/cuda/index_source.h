// Extents and indices as text of generated kernels: expressions of type index_t over `symbols`, the
// step's values on the device. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device_plan.h"
#include "kernels/kernel.h"
#include "op/launch.h"

namespace ramjet::kernels::cuda {

/// A product of extents. What is known of it without the symbols: whether it is a number, what
/// divides it, and its largest value (the number itself).
struct Extent {
  std::string text = "1";
  int64_t divisor = 1;
  int64_t most = 1;
  bool fixed = true;
};
Extent extent_of(std::span<const Dim> dims, std::span<const Symbol> symbols);
Extent times(const Extent& a, const Extent& b);
Extent plus(const Extent& a, const Extent& b);
/// `by` divides the extent's divisor.
Extent divided(const Extent& a, int64_t by);

/// How operands broadcast against a result, neighbouring axes that all operands treat alike taken
/// as one. `split_last` keeps the last axis by itself.
struct Broadcast {
  std::vector<Extent> groups;              // outermost first; never empty
  std::vector<std::vector<bool>> present;  // [operand][group]
};
Broadcast broadcast_of(std::span<const Dim> result, std::span<const TensorType> operands,
                       std::span<const Symbol> symbols, bool split_last);

/// "const index_t e0 = .., e1 = ..;": extents by group, which what follows refers to.
std::string extents_source(std::span<const Extent> groups);
/// Coordinates c0 .. of groups [0, count) from the flat index `flat`.
std::string coordinates_source(size_t count, std::string_view flat);
/// Element of the operand at the coordinates.
std::string offset_source(const std::vector<bool>& present);

/// "using index_t = ..;": 32 bits if `most` elements allow it.
std::string index_type_source(int64_t most);
/// The argument `const int* symbols`; never read if there are none.
LaunchArg symbols_arg(const OpDesc& desc);
/// Blocks for the elements of `dims`, `per_block` each, at most `most`: kernels loop over the rest.
LaunchExtent blocks_for(std::span<const Dim> dims, std::span<const Symbol> symbols,
                        int64_t per_block, int64_t most);

}  // namespace ramjet::kernels::cuda

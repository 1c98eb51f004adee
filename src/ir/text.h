// What the printer and the parser of graphs share.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace ramjet::ir {

inline constexpr std::array<const char*, 3> combine_names = {"none", "stack", "interleave"};
inline constexpr std::array<const char*, 3> quant_names = {"none", "int8_channel", "fp8_channel"};
inline constexpr std::array<const char*, 2> part_names = {"values", "scales"};

/// In double quotes, with backslashes before quotes and backslashes; newlines become spaces.
std::string in_quotes(std::string_view text);

}  // namespace ramjet::ir

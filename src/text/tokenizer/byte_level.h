// The byte-level alphabet of GPT-2: each byte is spelled by one printable character, so that a
// vocabulary of strings can hold any bytes ("Ġ" is the space).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ramjet::text {

/// The UTF-8 spelling of a byte, one or two bytes long.
struct ByteSpelling {
  char bytes[2];
  uint8_t size;
};
const std::array<ByteSpelling, 256>& byte_spellings();

/// Appends the spelling of every byte of `text`.
void append_byte_level(std::string& out, std::string_view text);

/// The byte a character spells, if it spells one.
std::optional<uint8_t> byte_of_character(uint32_t code_point);

/// The bytes `spelled` stands for; the text itself if any of its characters spells no byte, as
/// with an added token that contains a space.
std::string from_byte_level(std::string_view spelled);

/// GPT-2's pattern, for ByteLevel's use_regex.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace ramjet::text

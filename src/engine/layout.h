// Bytes of the header and of a section table entry; docs/formats/engine.md is the specification.
//
// Plain data shared by writer and reader. The format is little-endian, and so must the machine be.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ramjet::engine {

static_assert(std::endian::native == std::endian::little,
              "the engine file is mapped as it is: a big-endian port needs a byte-swapping reader");

inline constexpr uint32_t kByteOrder = 0x0A0B0C0D;
inline constexpr uint64_t kSectionAlignment = 64;
inline constexpr uint64_t kWeightsAlignment = uint64_t{2} << 20;
inline constexpr uint64_t kWeightAlignment = 64;
inline constexpr uint32_t kMaxSections = 4096;

struct FileHeader {
  std::array<char, 8> magic;
  uint32_t byte_order;
  uint32_t version;
  uint64_t file_bytes;
  uint64_t table_offset;
  uint32_t num_sections;
  uint32_t entry_bytes;
  uint64_t checksum;  // of this header with 0 here, then the table
  std::array<uint64_t, 2> reserved;
};
static_assert(sizeof(FileHeader) == 64);

struct TableEntry {
  std::array<char, 64> name;
  uint64_t offset;
  uint64_t bytes;
  uint64_t checksum;
  uint64_t reserved;
};
static_assert(sizeof(TableEntry) == 96);

/// The checksum that belongs into the header.
uint64_t header_checksum(FileHeader header, std::span<const std::byte> table);
/// 1 to 63 characters of a-z 0-9 _ - . /
bool valid_section_name(std::string_view name);

}  // namespace ramjet::engine

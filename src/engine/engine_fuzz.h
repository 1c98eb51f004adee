// What the engine fuzzer does with its bytes; tests replay the committed corpus through the same
// function. The first byte chooses: 0 a manifest, 1 a file, 2 a file whose checksums are repaired
// (so that the fuzzer gets behind them).
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/hash.h"
#include "engine/engine_file.h"
#include "engine/layout.h"

namespace ramjet::engine {

inline void repair_checksums(std::string& file) {
  FileHeader header;
  if (file.size() < sizeof(header)) return;
  std::memcpy(&header, file.data(), sizeof(header));
  header.file_bytes = file.size();
  const uint64_t table_bytes = uint64_t{header.num_sections % 64} * sizeof(TableEntry);
  if (header.table_offset > file.size() || file.size() - header.table_offset < table_bytes) return;
  for (uint64_t at = header.table_offset; at < header.table_offset + table_bytes;
       at += sizeof(TableEntry)) {
    TableEntry entry;
    std::memcpy(&entry, file.data() + at, sizeof(entry));
    if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset) continue;
    entry.checksum = hash64(std::string_view(file).substr(entry.offset, entry.bytes));
    std::memcpy(file.data() + at, &entry, sizeof(entry));
  }
  const std::string_view table = std::string_view(file).substr(header.table_offset);
  header.checksum = header_checksum(header, std::as_bytes(std::span(table.data(), table.size())));
  std::memcpy(file.data(), &header, sizeof(header));
}

inline void check_manifest(const Manifest& manifest) {
  CHECK(verify_manifest(manifest).ok());
  const std::string bytes = encode_manifest(manifest);
  const Result<Manifest> again = decode_manifest(bytes);
  CHECK(again.ok() && encode_manifest(*again) == bytes);
}

inline void fuzz_engine(std::string_view input) {
  if (input.empty()) return;
  const int mode = input[0] % 3;
  std::string bytes(input.substr(1));
  if (mode == 0) {
    if (const auto manifest = decode_manifest(bytes); manifest.ok()) check_manifest(*manifest);
    return;
  }
  if (mode == 2) repair_checksums(bytes);
  const int fd = ::memfd_create("engine", MFD_CLOEXEC);
  CHECK(fd >= 0 && ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  const auto file =
      EngineFile::open("/proc/self/fd/" + std::to_string(fd), EngineFile::Verify::kChecksums);
  if (file.ok()) {
    check_manifest(file->manifest());
    uint64_t sum = 0;
    for (size_t i = 0; i < file->manifest().weights.size(); ++i) sum += hash64(file->weight(i));
    for (const SectionInfo& section : file->sections()) sum += file->section(section.name).size();
    CHECK(sum != 1);
  }
  ::close(fd);
}

}  // namespace ramjet::engine

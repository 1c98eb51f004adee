// The engine file: header, section table with checksums, sections. docs/formats/engine.md is the
// specification.
//
// A writer produces the file whole or not at all. A reader maps it; spans live as long as it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "engine/manifest.h"

namespace ramjet::engine {

inline constexpr std::string_view kMagic = "RAMJET\x1a\n";
inline constexpr uint32_t kFormatVersion = 1;

struct SectionInfo {
  std::string name;  // "manifest", "kernels", "weights", "asset/tokenizer", ...
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t checksum = 0;  // XXH3-64
};

/// Sections in any order, then finish(). Weights are streamed.
class EngineWriter {
 public:
  static Result<EngineWriter> create(const std::string& path);
  EngineWriter(EngineWriter&&) noexcept;
  ~EngineWriter();
  Status add_section(std::string_view name, std::string_view bytes);
  /// Starts the 2 MiB-aligned weights section; then append_weight in order of offset.
  Status begin_weights();
  /// Pads to 64 bytes, appends, returns the offset within the section.
  Result<uint64_t> append_weight(std::span<const std::byte> bytes);
  Status end_weights();
  /// Writes manifest, section table and header, and renames the file into place.
  Result<uint64_t> finish(const Manifest& manifest);

 private:
  struct Impl;
  explicit EngineWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class EngineFile {
 public:
  enum class Verify { kStructure, kChecksums };  // kChecksums reads every byte
  static Result<EngineFile> open(const std::string& path, Verify verify = Verify::kStructure);
  EngineFile(EngineFile&&) noexcept;
  EngineFile& operator=(EngineFile&&) noexcept;
  ~EngineFile();

  const Manifest& manifest() const;
  std::span<const SectionInfo> sections() const;
  std::string_view section(std::string_view name) const;  // empty if absent
  std::string_view asset(std::string_view name) const;    // section "asset/NAME"
  /// Packed bytes of a stored weight; empty for one with a seed.
  std::span<const std::byte> weight(size_t index) const;
  /// Machine code of a module.
  std::string_view kernel(size_t index) const;
  const std::string& path() const;

  /// True if the first bytes are an engine's; cheap.
  static bool is_engine(const std::string& path);

 private:
  struct Impl;
  explicit EngineFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::engine

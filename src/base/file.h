// Files: read-only mappings and writes that appear whole or not at all.
//
// A MappedFile owns its mapping; spans it hands out die with it. Movable, not copyable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet {

class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::string& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

/// Reads a whole file. Errors: kNotFound; kInvalidArgument above `max_bytes`.
Result<std::string> read_file(const std::string& path, size_t max_bytes = size_t{1} << 30);

/// A file written under a temporary name beside `path` and renamed over it by commit(); an
/// uncommitted one is deleted. So no reader ever sees half a file, not even after a full disk.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  /// Zero-fills up to the next multiple of `alignment`.
  Status pad_to(size_t alignment);
  /// Writes at an absolute offset that has already been passed (a header).
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t offset() const { return offset_; }
  /// Flushes to disk and renames. The object is spent afterwards.
  Status commit();

 private:
  AtomicFile() = default;
  int fd_ = -1;
  uint64_t offset_ = 0;
  std::string path_;
  std::string temporary_;
};

Status write_file_atomically(const std::string& path, std::string_view text);
/// mkdir -p.
Status make_directories(const std::string& path);
bool path_exists(const std::string& path);
bool is_directory(const std::string& path);

}  // namespace ramjet

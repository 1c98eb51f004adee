// Reader of GGUF containers: typed metadata, then the tensors' names and extents, then their bytes.
//
// It knows bytes only: no model, no arithmetic. The file is foreign: every count, size and offset
// is checked when it is opened, so what the header says can be trusted. Versions 2 and 3, little
// endian. A File owns its mapping, and all views (keys, values, tensor bytes) live as long as it.
// Immutable, thread-safe. Source: docs/gguf.md of ggml-org/ggml.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace ramjet::gguf {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

/// A metadata value: one of a type, or an array of `count` of it. Readers of another type than the
/// value's answer nothing.
struct Value {
  ValueType type = ValueType::kU8;  // of the elements, for an array
  bool is_array = false;
  uint64_t count = 1;
  std::string_view bytes;  // as in the file

  std::optional<std::string_view> text() const;
  std::optional<int64_t> integer() const;  // of any integer type that holds it
  std::optional<double> number() const;    // of any integer or float type
  std::optional<bool> flag() const;
  std::optional<std::vector<std::string_view>> texts() const;  // of an array
  std::optional<std::vector<double>> numbers() const;          // of an array of numbers
  /// "u32", "array of string".
  std::string type_name() const;
};

/// How a tensor's elements are stored; ids are those of the format.
enum class Encoding : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIq4Nl = 20,
  kIq4Xs = 23,
  kBf16 = 30,
  kMxfp4 = 39,
};

/// A stored type: blocks of so many elements in so many bytes.
struct TensorType {
  Encoding encoding;
  std::string_view name;  // "Q4_K"
  int64_t block_elements;
  int64_t block_bytes;
};
/// Every type the format has a layout for, read by us or not; null for others.
const TensorType* find_tensor_type(uint32_t id);

struct TensorInfo {
  const TensorType* type = nullptr;
  std::vector<int64_t> shape;  // the outermost extent first; the file has it last
  uint64_t offset = 0;         // in the file
  uint64_t bytes = 0;
};

struct Header {
  uint32_t version = 0;
  uint64_t alignment = 32;
  uint64_t data_begin = 0;  // where tensor bytes may begin; all before is the header
  std::map<std::string_view, Value> metadata;
  std::map<std::string_view, TensorInfo> tensors;

  const Value* find(std::string_view key) const;
  // Typed lookups: a missing key gives the fallback, or kInvalidArgument without one; a key of
  // another type is kInvalidArgument that says which.
  Result<std::string> text(std::string_view key, std::optional<std::string> fallback = {}) const;
  Result<int64_t> integer(std::string_view key, std::optional<int64_t> fallback = {}) const;
  Result<double> number(std::string_view key, std::optional<double> fallback = {}) const;
  Result<bool> flag(std::string_view key, std::optional<bool> fallback = {}) const;
};

/// Parses and checks the whole file's bytes; the header's views are into them. Errors: kCorrupt
/// that names the key or tensor, what it wants and what is there; kUnsupported for version 1 and
/// for types that the format did not have when this was written.
Result<Header> parse(std::string_view file);

class File {
 public:
  static Result<File> open(const std::string& path);
  const std::string& path() const { return mapped_.path(); }
  const Header& header() const { return header_; }
  std::string_view header_bytes() const { return mapped_.text().substr(0, header_.data_begin); }
  const std::byte* data(const TensorInfo& tensor) const {
    return mapped_.bytes().data() + tensor.offset;
  }

 private:
  MappedFile mapped_;
  Header header_;
};

/// Whether the path is a file that begins as a GGUF does.
bool is_gguf(const std::string& path);

/// The files of a model split in parts ("NAME-00001-of-00003.gguf"), the first one first, given any
/// of them; the path itself where its name is no part's. Errors: kNotFound naming a missing part.
Result<std::vector<std::string>> part_paths(const std::string& path);
/// The file's name without folder, part and extension.
std::string model_name(const std::string& path);

}  // namespace ramjet::gguf

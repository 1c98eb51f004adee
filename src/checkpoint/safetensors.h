// Reader of safetensors files: a JSON header of named tensors, then their bytes.
//
// The file is mapped; views live as long as the Safetensors. Immutable, thread-safe. The header is
// foreign: every offset and size is checked when the file is opened, so a view can be trusted.
// Source: the format's README in huggingface/safetensors.
#pragma once

#include <ramjet/dtype.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor_view.h"

namespace ramjet::checkpoint {

/// One entry of the header.
struct StoredTensor {
  std::string dtype_name;      // as stored: "BF16"
  std::optional<DType> dtype;  // none: this build has no such type
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::map<std::string, StoredTensor, std::less<>> tensors;
  uint64_t bytes = 0;  // of the header with its length: where data begins
};

/// Parses and checks the header of a whole file's bytes. Errors: kCorrupt with the tensor's name,
/// what it wants and what is there.
Result<SafetensorsHeader> parse_safetensors(std::string_view file);

class Safetensors {
 public:
  static Result<Safetensors> open(const std::string& path);
  Safetensors(Safetensors&&) noexcept;
  Safetensors& operator=(Safetensors&&) noexcept;
  ~Safetensors();

  const std::string& path() const;
  const SafetensorsHeader& header() const;
  std::string_view header_text() const;  // the bytes before the data
  /// Errors: kNotFound; kUnsupported for a dtype or rank that this build lacks.
  /// Data that a file keeps misaligned for its dtype is copied once, on first use.
  Result<TensorView> tensor(std::string_view name) const;

 private:
  struct Impl;
  explicit Safetensors(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::checkpoint

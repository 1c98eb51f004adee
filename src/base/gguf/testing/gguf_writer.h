// Writes GGUF files for tests, well-formed unless told otherwise. Not thread-safe.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/gguf/gguf.h"

namespace ramjet::gguf {

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  GgufWriter& text(std::string_view key, std::string_view value) {
    return raw(key, ValueType::kString, string(value));
  }
  GgufWriter& u32(std::string_view key, uint32_t value) {
    return raw(key, ValueType::kU32, bytes_of(value));
  }
  GgufWriter& f32(std::string_view key, float value) {
    return raw(key, ValueType::kF32, bytes_of(value));
  }
  GgufWriter& flag(std::string_view key, bool value) {
    return raw(key, ValueType::kBool, std::string(1, value ? '\1' : '\0'));
  }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = bytes_of(ValueType::kString) + bytes_of(uint64_t{values.size()});
    for (const std::string& value : values) bytes += string(value);
    return raw(key, ValueType::kArray, bytes);
  }
  GgufWriter& i32s(std::string_view key, const std::vector<int32_t>& values) {
    return numbers(key, ValueType::kI32, values);
  }
  GgufWriter& f32s(std::string_view key, const std::vector<float>& values) {
    return numbers(key, ValueType::kF32, values);
  }
  GgufWriter& raw(std::string_view key, ValueType type, std::string_view bytes) {
    metadata_ += string(key) + bytes_of(type) + std::string(bytes);
    ++keys_;
    return *this;
  }

  /// `shape` has the outermost extent first.
  GgufWriter& tensor(std::string name, Encoding encoding, std::vector<int64_t> shape,
                     std::string bytes) {
    tensors_.push_back({std::move(name), encoding, std::move(shape), std::move(bytes)});
    return *this;
  }
  GgufWriter& floats(std::string name, std::vector<int64_t> shape,
                     const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return tensor(std::move(name), Encoding::kF32, std::move(shape), std::move(bytes));
  }
  void set_alignment(uint64_t alignment) { alignment_ = alignment; }
  /// Added to the offset that is written for a tensor.
  void shift_tensor(size_t index, int64_t by) { tensors_[index].shift = by; }

  std::string bytes() const {
    std::string out = "GGUF" + bytes_of(version_) + bytes_of(uint64_t{tensors_.size()}) +
                      bytes_of(uint64_t{keys_}) + metadata_;
    std::string data;
    for (const Tensor& tensor : tensors_) {
      pad(data);
      out += string(tensor.name) + bytes_of(static_cast<uint32_t>(tensor.shape.size()));
      for (size_t i = tensor.shape.size(); i > 0; --i) out += bytes_of(tensor.shape[i - 1]);
      out += bytes_of(tensor.encoding);
      out += bytes_of(data.size() + static_cast<uint64_t>(tensor.shift));
      data += tensor.bytes;
    }
    pad(out);
    return out + data;
  }

 private:
  struct Tensor {
    std::string name;
    Encoding encoding;
    std::vector<int64_t> shape;
    std::string bytes;
    int64_t shift = 0;
  };
  template <class T>
  static std::string bytes_of(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static std::string string(std::string_view text) {
    return bytes_of(uint64_t{text.size()}) + std::string(text);
  }
  template <class T>
  GgufWriter& numbers(std::string_view key, ValueType type, const std::vector<T>& values) {
    std::string bytes = bytes_of(type) + bytes_of(uint64_t{values.size()});
    for (const T value : values) bytes += bytes_of(value);
    return raw(key, ValueType::kArray, bytes);
  }
  void pad(std::string& out) const {
    out.resize((out.size() + alignment_ - 1) / alignment_ * alignment_);
  }

  uint32_t version_;
  uint64_t alignment_ = 32;
  uint64_t keys_ = 0;
  std::string metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace ramjet::gguf

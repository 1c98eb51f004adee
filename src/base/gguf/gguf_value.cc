#include <cmath>
#include <cstring>
#include <limits>

#include "base/gguf/gguf.h"

namespace ramjet::gguf {
namespace {

template <class T>
T read(std::string_view bytes, uint64_t index) {
  T out;
  std::memcpy(&out, bytes.data() + index * sizeof(T), sizeof(T));
  return out;
}

std::optional<int64_t> integer_at(const Value& value, uint64_t i) {
  switch (value.type) {
    case ValueType::kU8: return read<uint8_t>(value.bytes, i);
    case ValueType::kI8: return read<int8_t>(value.bytes, i);
    case ValueType::kU16: return read<uint16_t>(value.bytes, i);
    case ValueType::kI16: return read<int16_t>(value.bytes, i);
    case ValueType::kU32: return read<uint32_t>(value.bytes, i);
    case ValueType::kI32: return read<int32_t>(value.bytes, i);
    case ValueType::kI64: return read<int64_t>(value.bytes, i);
    case ValueType::kU64: {
      const auto out = read<uint64_t>(value.bytes, i);
      if (out > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
      return static_cast<int64_t>(out);
    }
    default: return {};
  }
}

std::optional<double> number_at(const Value& value, uint64_t i) {
  if (value.type == ValueType::kF32) return read<float>(value.bytes, i);
  if (value.type == ValueType::kF64) return read<double>(value.bytes, i);
  const auto whole = integer_at(value, i);
  if (!whole) return {};
  return static_cast<double>(*whole);
}

const char* name_of(ValueType type) {
  constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                    "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(type)];
}

/// The value of a key by one of Value's readers.
template <class T, class Read>
Result<T> lookup(const Header& header, std::string_view key, std::optional<T> fallback,
                 std::string_view wanted, Read read_value) {
  const Value* value = header.find(key);
  if (value == nullptr && fallback) return *std::move(fallback);
  if (value == nullptr) return invalid_argument("metadata '{}' is missing", key);
  const auto out = read_value(*value);
  if (!out) {
    return invalid_argument("metadata '{}' is {}, it must be {}", key, value->type_name(), wanted);
  }
  return T(*out);
}

}  // namespace

std::optional<std::string_view> Value::text() const {
  if (is_array || type != ValueType::kString) return {};
  return bytes.substr(sizeof(uint64_t));
}
std::optional<int64_t> Value::integer() const {
  if (is_array) return {};
  return integer_at(*this, 0);
}
std::optional<double> Value::number() const {
  if (is_array) return {};
  return number_at(*this, 0);
}
std::optional<bool> Value::flag() const {
  if (is_array || type != ValueType::kBool) return {};
  return bytes[0] != 0;
}

std::optional<std::vector<std::string_view>> Value::texts() const {
  if (!is_array || type != ValueType::kString) return {};
  std::vector<std::string_view> out;
  out.reserve(count);
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto size = read<uint64_t>(rest, 0);
    out.push_back(rest.substr(sizeof(size), size));
    rest.remove_prefix(sizeof(size) + size);
  }
  return out;
}

std::optional<std::vector<double>> Value::numbers() const {
  if (!is_array || type == ValueType::kString || type == ValueType::kBool) return {};
  std::vector<double> out;
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const auto number = number_at(*this, i);
    if (!number) return {};
    out.push_back(*number);
  }
  return out;
}

std::string Value::type_name() const {
  return is_array ? std::string("array of ") + name_of(type) : name_of(type);
}

const Value* Header::find(std::string_view key) const {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : &it->second;
}
Result<std::string> Header::text(std::string_view key, std::optional<std::string> fallback) const {
  return lookup<std::string>(*this, key, std::move(fallback), "a string",
                             [](const Value& v) { return v.text(); });
}
Result<int64_t> Header::integer(std::string_view key, std::optional<int64_t> fallback) const {
  return lookup<int64_t>(*this, key, fallback, "a whole number",
                         [](const Value& v) { return v.integer(); });
}
Result<double> Header::number(std::string_view key, std::optional<double> fallback) const {
  return lookup<double>(*this, key, fallback, "a number", [](const Value& v) {
    const auto out = v.number();
    return out && std::isfinite(*out) ? out : std::nullopt;
  });
}
Result<bool> Header::flag(std::string_view key, std::optional<bool> fallback) const {
  return lookup<bool>(*this, key, fallback, "a bool", [](const Value& v) { return v.flag(); });
}

}  // namespace ramjet::gguf

// The byte form of messages between a server and its executor's process: frames over a socket.
//
// A frame is magic and version (4 bytes), type, length of the payload (each u32), payload. Numbers
// are little-endian as in memory, lists and strings have their length in front (u32), an optional
// has a byte. Both ends are the same program, so a payload has no version of its own; yet nothing
// that a decoder reads is trusted: lengths are checked against what is there before memory is
// taken, enums and flags against their values. Not thread-safe.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ramjet::server {

static_assert(std::endian::native == std::endian::little);

inline constexpr uint32_t kFrameMagic = 0x01584A52;  // "RJX" and version 1
inline constexpr size_t kFrameHeaderBytes = 12;
inline constexpr size_t kMaxFrameBytes = size_t{256} << 20;  // of a payload

/// The largest value of an enum that is sent; specialised beside the messages.
template <class E>
inline constexpr auto kLastOf = E{};

/// A type as field lists see it: constant when it is written.
template <class Archive, class T>
using Of = std::conditional_t<Archive::kWrites, const T, T>;

template <class T>
concept Number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

/// Appends values to a string. What is no number, list or text goes through its field list, a
/// function `fields(archive, value)` beside the messages.
class Encoder {
 public:
  static constexpr bool kWrites = true;
  explicit Encoder(std::string& out) : out_(out) {}

  template <class... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }

 private:
  void raw(const void* data, size_t bytes) {
    if (bytes > 0) out_.append(static_cast<const char*>(data), bytes);
  }
  template <class T>
  void put(const T& value) {
    if constexpr (Number<T>) {
      raw(&value, sizeof(value));
    } else if constexpr (std::is_same_v<T, bool> || std::is_enum_v<T>) {
      put(static_cast<uint8_t>(value));
    } else {
      fields(*this, value);
    }
  }
  void put(const std::string& text) {
    put(static_cast<uint32_t>(text.size()));
    raw(text.data(), text.size());
  }
  template <class T>
  void put(const std::vector<T>& list) {
    put(static_cast<uint32_t>(list.size()));
    if constexpr (Number<T>) {
      raw(list.data(), list.size() * sizeof(T));
    } else {
      for (const T& item : list) put(item);
    }
  }
  template <class T, size_t N>
  void put(const std::array<T, N>& list) {
    for (const T& item : list) put(item);
  }
  template <class T>
  void put(const std::optional<T>& value) {
    put(value.has_value());
    if (value) put(*value);
  }
  template <class A, class B>
  void put(const std::pair<A, B>& value) {
    put(value.first), put(value.second);
  }

  std::string& out_;
};

/// Reads what an Encoder wrote. After the first thing that does not fit, ok() is false and values
/// are left as they were.
class Decoder {
 public:
  static constexpr bool kWrites = false;
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}

  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  bool ok() const { return ok_; }
  bool done() const { return rest_.empty(); }

 private:
  bool raw(void* data, size_t bytes) {
    ok_ = ok_ && bytes <= rest_.size();
    if (!ok_) return false;
    if (bytes > 0) std::memcpy(data, rest_.data(), bytes);
    rest_.remove_prefix(bytes);
    return true;
  }
  /// A list's length; each of its items takes at least `item_bytes`.
  size_t length(size_t item_bytes) {
    uint32_t count = 0;
    raw(&count, sizeof(count));
    ok_ = ok_ && count <= rest_.size() / item_bytes;
    return ok_ ? count : 0;
  }
  template <class T>
  void get(T& value) {
    if constexpr (Number<T>) {
      raw(&value, sizeof(value));
    } else if constexpr (std::is_same_v<T, bool> || std::is_enum_v<T>) {
      uint8_t byte = 0;
      constexpr auto last = std::is_same_v<T, bool> ? 1 : static_cast<int>(kLastOf<T>);
      ok_ = raw(&byte, 1) && byte <= last;
      if (ok_) value = static_cast<T>(byte);
    } else {
      fields(*this, value);
    }
  }
  void get(std::string& text) {
    text.resize(length(1));
    raw(text.data(), text.size());
  }
  template <class T>
  void get(std::vector<T>& list) {
    list.clear();
    if constexpr (Number<T>) {
      list.resize(length(sizeof(T)));
      raw(list.data(), list.size() * sizeof(T));
    } else {
      for (size_t left = length(1); ok_ && left > 0; --left) get(list.emplace_back());
    }
  }
  template <class T, size_t N>
  void get(std::array<T, N>& list) {
    for (T& item : list) get(item);
  }
  template <class T>
  void get(std::optional<T>& value) {
    bool there = false;
    get(there);
    value.reset();
    if (ok_ && there) get(value.emplace());
  }
  template <class A, class B>
  void get(std::pair<A, B>& value) {
    get(value.first), get(value.second);
  }

  std::string_view rest_;
  bool ok_ = true;
};

/// Appends a frame's header to `out`; its payload is what follows until end_frame() with the same
/// `at`, which is where the header begins.
size_t begin_frame(std::string& out, uint32_t type);
void end_frame(std::string& out, size_t at);

struct Frame {
  uint32_t type = 0;
  std::string_view payload;  // valid until the buffer is written to
};

/// Bytes as they come from a socket, cut into frames. It grows with what has come, not with what a
/// header announces.
class FrameBuffer {
 public:
  /// Where to read to, at least 256 KiB; then filled() with how many came.
  std::span<char> space();
  void filled(size_t bytes) { end_ += bytes; }
  /// The next frame, or none if it is not whole yet. kCorrupt if these are no frames; for good.
  Result<std::optional<Frame>> next();

 private:
  std::vector<char> bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace ramjet::server

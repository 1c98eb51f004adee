#include "server/supervise/wire.h"

#include <algorithm>

namespace ramjet::server {
namespace {

constexpr size_t kLeastRoom = 256 << 10;  // more than sockets usually hold
constexpr size_t kKept = 4 << 20;         // memory for larger frames is given back

void put_u32(std::string& out, size_t at, uint32_t value) {
  std::memcpy(out.data() + at, &value, sizeof(value));
}

uint32_t get_u32(const char* at) {
  uint32_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

}  // namespace

size_t begin_frame(std::string& out, uint32_t type) {
  const size_t at = out.size();
  out.resize(at + kFrameHeaderBytes);
  put_u32(out, at, kFrameMagic);
  put_u32(out, at + 4, type);
  return at;
}

void end_frame(std::string& out, size_t at) {
  put_u32(out, at + 8, static_cast<uint32_t>(out.size() - at - kFrameHeaderBytes));
}

std::span<char> FrameBuffer::space() {
  if (begin_ == end_ && bytes_.size() > kKept) bytes_ = {};
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ > 0) {
    std::copy(bytes_.begin() + static_cast<ptrdiff_t>(begin_),
              bytes_.begin() + static_cast<ptrdiff_t>(end_), bytes_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  if (bytes_.size() - end_ < kLeastRoom) bytes_.resize(std::max(2 * end_, end_ + kLeastRoom));
  return std::span(bytes_).subspan(end_);
}

Result<std::optional<Frame>> FrameBuffer::next() {
  const char* at = bytes_.data() + begin_;
  if (end_ - begin_ < kFrameHeaderBytes) return std::optional<Frame>();
  if (get_u32(at) != kFrameMagic) {
    return corrupt("a frame begins with {:#010x} instead of {:#010x}", get_u32(at), kFrameMagic);
  }
  const size_t length = get_u32(at + 8);
  if (length > kMaxFrameBytes) {
    return corrupt("a frame of {} bytes; the limit is {}", length, kMaxFrameBytes);
  }
  if (end_ - begin_ < kFrameHeaderBytes + length) return std::optional<Frame>();
  begin_ += kFrameHeaderBytes + length;
  return std::optional<Frame>(Frame{get_u32(at + 4), {at + kFrameHeaderBytes, length}});
}

}  // namespace ramjet::server

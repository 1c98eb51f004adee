#include "text/grammar/machine.h"

namespace ramjet::text {
namespace {

bool is_high(uint32_t c) { return c >= 0xd800 && c < 0xdc00; }
bool is_low(uint32_t c) { return c >= 0xdc00 && c < 0xe000; }

int hex_value(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  const uint8_t lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

uint32_t simple_escape(uint8_t c) {
  switch (c) {
    case '"':
    case '\\':
    case '/': return c;
    case 'b': return 8;
    case 'f': return 12;
    case 'n': return 10;
    case 'r': return 13;
    case 't': return 9;
    default: return kCodePoints;
  }
}

constexpr CharReader::Read kBad{false, false, 0, {0, 0}};
constexpr CharReader::Read kMore{true, false, 0, {0, 0}};

}  // namespace

CharReader::Read CharReader::continue_utf8(uint8_t byte) {
  if (mode == Mode::kPlain) {
    left = byte < 0xc2 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : byte < 0xf5 ? 3 : 0;
    if (left == 0) return kBad;
    mode = Mode::kUtf8;
    value = byte & (0x3fu >> left);
    return kMore;
  }
  if ((byte & 0xc0) != 0x80) return kBad;
  const uint32_t next = value << 6 | (byte & 0x3f);
  if (left == 2 && next < 0x20) return kBad;                    // overlong
  if (left == 2 && next >= 0x360 && next < 0x380) return kBad;  // surrogates
  if (left == 3 && (next < 0x10 || next > 0x10f)) return kBad;
  value = next;
  --left;
  if (left > 0) return kMore;
  mode = Mode::kPlain;
  return {true, false, 1, {std::exchange(value, 0), 0}};
}

CharReader::Read CharReader::utf8(uint8_t byte) {
  if (mode == Mode::kPlain && byte < 0x80) return {true, false, 1, {byte, 0}};
  return continue_utf8(byte);
}

void CharReader::put(Read& read, uint32_t point, bool lone) {
  if (is_high(point) && lone) {
    mode = Mode::kHigh;
    high = point;
    return;
  }
  if (!lone && (is_high(point) || is_low(point))) read.ok = false;
  read.points[read.count++] = point;
}

CharReader::Read CharReader::json(uint8_t byte, bool lone) {
  Read read;
  switch (mode) {
    case Mode::kUtf8: return continue_utf8(byte);
    case Mode::kHigh:
      if (byte == '\\') {
        mode = Mode::kHighEscape;
        return kMore;
      }
      read.points[read.count++] = std::exchange(high, 0);
      mode = Mode::kPlain;
      [[fallthrough]];
    case Mode::kPlain: {
      if (byte == '"') {
        read.end = true;
        return read;
      }
      if (byte < 0x20) return kBad;
      if (byte == '\\') {
        mode = Mode::kEscape;
        return read;
      }
      if (byte < 0x80) {
        read.points[read.count++] = byte;
        return read;
      }
      if (!continue_utf8(byte).ok) return kBad;
      return read;
    }
    case Mode::kHighEscape:
      if (byte == 'u') {
        mode = Mode::kHighHex, left = 4, value = 0;
        return kMore;
      }
      read.points[read.count++] = std::exchange(high, 0);
      [[fallthrough]];
    case Mode::kEscape: {
      mode = Mode::kPlain;
      if (byte == 'u') {
        mode = Mode::kHex, left = 4, value = 0;
        return read;
      }
      const uint32_t point = simple_escape(byte);
      if (point == kCodePoints) return kBad;
      read.points[read.count++] = point;
      return read;
    }
    case Mode::kHex:
    case Mode::kHighHex: {
      const int digit = hex_value(byte);
      if (digit < 0) return kBad;
      value = value * 16 + static_cast<uint32_t>(digit);
      if (--left > 0) return kMore;
      const uint32_t point = std::exchange(value, 0);
      const bool after = std::exchange(mode, Mode::kPlain) == Mode::kHighHex;
      if (after && is_low(point)) {
        const uint32_t first = std::exchange(high, 0);
        read.points[read.count++] = 0x10000 + ((first - 0xd800) << 10) + (point - 0xdc00);
        return read;
      }
      if (after) read.points[read.count++] = std::exchange(high, 0);
      put(read, point, lone);
      return read;
    }
  }
  return kBad;
}

CodePointRange CharReader::possible() const {
  switch (mode) {
    case Mode::kUtf8: {
      const int bits = 6 * left;
      uint32_t low = value << bits;
      uint32_t top = low | ((1u << bits) - 1);
      if (left == 2 && value == 0) low = 0x800;
      if (left == 3 && value == 0) low = 0x10000;
      if (left == 2 && value == 0xd) top = 0xd7ff;
      return {low, top < kCodePoints ? top : kCodePoints - 1};
    }
    case Mode::kHex: {
      const int bits = 4 * left;
      const uint32_t low = value << bits;
      return {low, low | ((1u << bits) - 1)};
    }
    case Mode::kEscape: return {0, 0xffff};
    default: return {0, kCodePoints - 1};
  }
}

bool live_characters(const Dfa& dfa, int32_t state, CodePointRange range) {
  const auto [low, high] = range;
  if (high < 0xd800 || low > 0xdfff) return dfa.live_within(state, low, high);
  return (low < 0xd800 && dfa.live_within(state, low, 0xd7ff)) ||
         (high > 0xdfff && dfa.live_within(state, 0xe000, high));
}

}  // namespace ramjet::text

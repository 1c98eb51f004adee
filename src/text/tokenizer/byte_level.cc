#include "text/tokenizer/byte_level.h"

#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<ByteSpelling, 256> spelling{};
  std::array<int16_t, 0x200> byte_of{};

  Alphabet() {
    byte_of.fill(-1);
    uint32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const uint32_t c = is_printable(byte) ? static_cast<uint32_t>(byte) : next++;
      std::string utf8;
      append_code_point(utf8, c);
      spelling[byte].size = static_cast<uint8_t>(utf8.size());
      utf8.copy(spelling[byte].bytes, 2);
      byte_of[c] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet a;
  return a;
}

}  // namespace

const std::array<ByteSpelling, 256>& byte_spellings() { return alphabet().spelling; }

void append_byte_level(std::string& out, std::string_view text) {
  const auto& spelling = alphabet().spelling;
  const size_t start = out.size();
  out.resize(start + 2 * text.size());
  char* at = out.data() + start;
  for (const char c : text) {
    const ByteSpelling& s = spelling[static_cast<unsigned char>(c)];
    at[0] = s.bytes[0];
    if (s.size == 2) at[1] = s.bytes[1];
    at += s.size;
  }
  out.resize(static_cast<size_t>(at - out.data()));
}

std::optional<uint8_t> byte_of_character(uint32_t c) {
  if (c >= 0x200 || alphabet().byte_of[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(alphabet().byte_of[c]);
}

std::string from_byte_level(std::string_view spelled) {
  std::string out;
  out.reserve(spelled.size());
  for (size_t pos = 0; pos < spelled.size();) {
    const std::optional<uint8_t> byte = byte_of_character(next_code_point(spelled, pos));
    if (!byte) return std::string(spelled);
    out.push_back(static_cast<char>(*byte));
  }
  return out;
}

}  // namespace ramjet::text

#include "text/tokenizer/charsmap.h"

#include <cstring>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxGraphemeBytes = 5;  // longer ones are never looked up whole

// The units of a darts-clone trie.
uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t unit_label(uint32_t unit) { return unit & (1u << 31 | 0xff); }
bool unit_has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t unit_value(uint32_t unit) { return unit & 0x7fffffff; }

}  // namespace

Result<Charsmap> Charsmap::create(std::string_view bytes) {
  Charsmap out;
  if (bytes.empty()) return out;
  uint32_t size = 0;
  if (bytes.size() >= 4) std::memcpy(&size, bytes.data(), 4);
  if (bytes.size() < 4 || size % 4 != 0 || size > bytes.size() - 4) {
    return invalid_argument(
        "precompiled_charsmap: a trie of {} bytes in {} bytes; truncated file, fetch it again",
        size, bytes.size());
  }
  out.units_.resize(size / 4);
  std::memcpy(out.units_.data(), bytes.data() + 4, size);
  out.replacements_ = std::string(bytes.substr(4 + size));
  if (!is_valid_utf8(out.replacements_)) {
    return invalid_argument("precompiled_charsmap: its replacements are not UTF-8");
  }
  const uint32_t root = out.units_.empty() ? 0 : unit_offset(out.units_[0]);
  for (uint32_t byte = 1; byte < 256 && !out.units_.empty(); ++byte) {
    const uint32_t at = root ^ byte;
    out.begins_[byte] = at < out.units_.size() && unit_label(out.units_[at]) == byte;
  }
  return out;
}

std::optional<std::string_view> Charsmap::replacement(uint32_t offset) const {
  if (offset > replacements_.size()) return std::nullopt;
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  if (!rest.empty() && (rest[0] & 0xc0) == 0x80) return std::nullopt;
  return rest.substr(0, std::min(rest.find('\0'), rest.size()));
}

std::optional<Charsmap::Rule> Charsmap::find(std::string_view text, bool longest) const {
  if (units_.empty() || text.empty() || !begins_[static_cast<unsigned char>(text[0])]) {
    return std::nullopt;
  }
  std::optional<Rule> best;
  uint32_t at = unit_offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) break;
    at ^= byte;
    if (at >= units_.size() || unit_label(units_[at]) != byte) break;
    const bool leaf = unit_has_leaf(units_[at]);
    at ^= unit_offset(units_[at]);
    if (!leaf) continue;
    if (at >= units_.size()) break;
    const auto found = replacement(unit_value(units_[at]));
    if (!found) break;
    best = Rule{i + 1, *found};
    if (!longest) break;
  }
  return best;
}

std::string apply_precompiled(const Charsmap& map, std::string_view text, size_t& first) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  first = 0;
  const auto replace_or_keep = [&](std::string_view part) {
    const auto rule = map.shortest(part);
    out += rule ? rule->replacement : part;
  };
  for (size_t pos = 0; pos < text.size();) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    size_t end = pos + 1;
    // ASCII before ASCII is a cluster of its own, but for CR LF.
    if (byte(pos) >= 0x80 || byte(pos) == '\r' || (end < text.size() && byte(end) >= 0x80)) {
      end = grapheme_end(text, pos);
    }
    const std::string_view cluster = text.substr(pos, end - pos);
    const auto whole = cluster.size() <= kMaxGraphemeBytes ? map.shortest(cluster) : std::nullopt;
    if (whole) {
      out += whole->replacement;
      if (pos == 0) first = out.size();
    } else {
      for (size_t at = pos; at < end;) {
        const size_t begin = at;
        next_code_point(text, at);
        replace_or_keep(text.substr(begin, at - begin));
        if (begin == 0) first = out.size();
      }
    }
    pos = end;
  }
  return out;
}

bool decode_base64(std::string_view text, std::string& out) {
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    int value;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else {
      return false;
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    if ((count += 6) >= 8) out.push_back(static_cast<char>(bits >> (count -= 8) & 0xff));
  }
  return true;
}

std::string encode_base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out.push_back(i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63]);
    }
  }
  return out;
}

}  // namespace ramjet::text

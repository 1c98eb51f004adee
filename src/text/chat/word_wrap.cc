#include "text/chat/word_wrap.h"

#include <algorithm>

#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

bool is_wrap_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_letter_at(std::string_view s, size_t p) {
  if (p >= s.size()) return false;
  const uint32_t c = next_char(s, p);
  return is_word(c) && !is_decimal(c);
}

bool is_letter_before(std::string_view s, size_t p) {
  return p > 0 && is_letter_at(s, previous_char(s, p));
}

/// Where a word may break behind a hyphen at `p`: letters on both sides (two before, or one and a
/// hyphen), so that "-1" and "a-b" stay whole.
bool can_break_behind(std::string_view word, size_t p) {
  if (!is_letter_at(word, p + 1)) return false;
  if (!is_letter_before(word, p)) return false;
  const size_t first = previous_char(word, p);
  if (!is_letter_before(word, first)) {
    return first > 0 && word[first - 1] == '-' && is_letter_before(word, first - 1);
  }
  size_t second = p + 1;
  next_char(word, second);
  return is_letter_at(word, second) ||
         (second < word.size() && word[second] == '-' && is_letter_at(word, second + 1));
}

/// Runs of whitespace, words, and where hyphens may break the parts of words; dashes stand alone.
std::vector<std::string_view> chunks_of(Runtime& rt, std::string_view line, bool on_hyphens) {
  std::vector<std::string_view> chunks;
  size_t begin = 0;
  const auto cut = [&](size_t end) {
    if (end > begin) chunks.push_back(line.substr(begin, end - begin));
    begin = end;
    rt.charge();
  };
  size_t p = 0;
  while (p < line.size()) {
    const bool is_space = is_wrap_space(line[p]);
    size_t end = p;
    while (end < line.size() && is_wrap_space(line[end]) == is_space) ++end;
    if (!is_space && on_hyphens) {
      for (size_t i = p; i < end; ++i) {
        if (line[i] != '-') continue;
        size_t run = i;
        while (run < end && line[run] == '-') ++run;
        const bool is_dash =
            run - i >= 2 && i > p && run < end && is_word(static_cast<unsigned char>(line[run]));
        if (is_dash) {
          cut(i);
          cut(run);
        } else if (run - i == 1 && can_break_behind(line.substr(p, end - p), i - p)) {
          cut(run);
        }
        i = run - 1;
      }
    }
    cut(end);
    p = end;
  }
  return chunks;
}

int64_t width_of(std::string_view s) { return static_cast<int64_t>(count_chars(s)); }

bool is_blank(std::string_view s) { return std::all_of(s.begin(), s.end(), is_wrap_space); }

}  // namespace

std::string wrap_line(Runtime& rt, std::string_view line, std::string_view separator,
                      const WrapStyle& style) {
  if (style.width <= 0) fail("invalid width {} (must be > 0)", style.width);
  rt.charge_bytes(line.size() * 4);
  std::vector<std::string_view> chunks = chunks_of(rt, line, style.breaks_on_hyphens);
  std::reverse(chunks.begin(), chunks.end());
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    rt.charge();
    std::vector<std::string_view> current;
    int64_t used = 0;
    if (is_blank(chunks.back()) && !lines.empty()) chunks.pop_back();
    while (!chunks.empty() && used + width_of(chunks.back()) <= style.width) {
      used += width_of(chunks.back());
      current.push_back(chunks.back());
      chunks.pop_back();
    }
    if (!chunks.empty() && width_of(chunks.back()) > style.width) {
      std::string_view& word = chunks.back();
      rt.charge_bytes(word.size() * 4);
      if (style.breaks_long_words) {
        size_t end = char_offset(word, static_cast<size_t>(style.width - used));
        if (style.breaks_on_hyphens && width_of(word) > style.width - used) {
          const size_t hyphen = end == 0 ? std::string_view::npos : word.rfind('-', end - 1);
          const bool has_text =
              hyphen != std::string_view::npos && hyphen > 0 &&
              word.substr(0, hyphen).find_first_not_of('-') != std::string_view::npos;
          if (has_text) end = hyphen + 1;
        }
        current.push_back(word.substr(0, end));
        word.remove_prefix(end);
      } else if (current.empty()) {
        current.push_back(word);
        chunks.pop_back();
      }
    }
    if (!current.empty() && is_blank(current.back())) current.pop_back();
    if (current.empty()) continue;
    std::string& out = lines.emplace_back();
    for (const std::string_view part : current) out += part;
  }
  std::string joined;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) joined += separator;
    joined += lines[i];
    rt.check_size(static_cast<Int>(joined.size()));
  }
  return joined;
}

}  // namespace ramjet::text::chat

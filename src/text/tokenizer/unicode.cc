#include "text/tokenizer/unicode.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

using Range = CodePointRange;
struct CategoryRange {
  uint32_t first;
  uint32_t last;
  int category;
};
struct ScriptRange {
  uint32_t first;
  uint32_t last;
  int script;
};
struct LowerPair {
  uint32_t from;
  uint32_t to;
};
#include "text/tokenizer/unicode_tables.inc"

constexpr Range kSpaces[] = {{0x9, 0xd},       {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
                             {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                             {0x205f, 0x205f}, {0x3000, 0x3000}};
constexpr uint32_t kPoints = 0x110000;
constexpr const char* kCategoryNames[] = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};

uint16_t flags_of_category(int category) {
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return kCharLetter | kCharWord | kCharRegexWord;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return kCharMark | kCharWord | kCharRegexWord;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL: return kCharNumber | kCharNumeric | kCharWord | kCharRegexWord;
    case UTF8PROC_CATEGORY_NO: return kCharNumber | kCharNumeric;
    case UTF8PROC_CATEGORY_PC: return kCharWord | kCharRegexWord;
    default: return 0;
  }
}

/// Two stages: a page number for each 256 code points, and the distinct pages.
struct FlagTable {
  std::array<uint16_t, kPoints / 256> page_of{};
  std::vector<std::array<uint16_t, 256>> pages;

  FlagTable() {
    std::vector<uint16_t> flags(kPoints, 0);
    for (uint32_t c = 0; c < kPoints; ++c) {
      // Planes 4 to 13 are unassigned, 15 and 16 private.
      if (c == 0x40000) c = 0xe0000;
      if (c == 0xf0000) break;
      flags[c] = flags_of_category(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
    }
    // Unicode 12's normalization knows none of them, whatever this utf8proc knows.
    for (const CategoryRange& r : kNewerCategories) {
      for (uint32_t c = r.first; c <= r.last; ++c) {
        flags[c] = flags_of_category(r.category) | kCharInert;
      }
    }
    const auto add = [&](std::span<const Range> ranges, uint16_t flag) {
      for (const Range& r : ranges) {
        for (uint32_t c = r.first; c <= r.last; ++c) flags[c] |= flag;
      }
    };
    add(kSpaces, kCharSpace);
    add(kWordExtra, kCharWord);
    add(kRegexWordExtra, kCharRegexWord);
    add(kNewerNumeric, kCharNumeric);
    add(kPunctuation, kCharPunctuation);
    add(kCombining, kCharCombining);
    add(kInert, kCharInert);
    std::map<std::array<uint16_t, 256>, uint16_t> known;
    for (uint32_t page = 0; page < page_of.size(); ++page) {
      std::array<uint16_t, 256> content;
      std::copy_n(flags.begin() + page * 256, 256, content.begin());
      const auto [it, fresh] = known.try_emplace(content, static_cast<uint16_t>(pages.size()));
      if (fresh) pages.push_back(content);
      page_of[page] = it->second;
    }
  }
};

bool contains(std::span<const Range> ranges, uint32_t c) {
  const auto it = std::upper_bound(ranges.begin(), ranges.end(), c,
                                   [](uint32_t x, const Range& r) { return x < r.first; });
  return it != ranges.begin() && c <= std::prev(it)->last;
}

std::string format_ranges(std::span<const Range> ranges) {
  std::string out;
  for (const Range& r : ranges) out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", r.first, r.last);
  return out;
}

void append_normalized(std::string& out, std::string_view text, int options) {
  if (text.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result,
                                             static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(result, &std::free);
  // Valid UTF-8 only fails for lack of memory; the text then stays as it was.
  if (size < 0) {
    out += text;
  } else {
    out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
  }
}

}  // namespace

uint16_t char_flags(uint32_t c) {
  static const FlagTable table;
  return c < kPoints ? table.pages[table.page_of[c >> 8]][c & 0xff] : 0;
}

std::string newer_ranges(std::string_view property) {
  constexpr std::pair<std::string_view, std::span<const Range>> kScripts[] = {
      {"Han", kNewerHan},
      {"Hiragana", kNewerHiragana},
      {"Katakana", kNewerKatakana},
      {"Latin", kNewerLatin},
      {"Cyrillic", kNewerCyrillic},
      {"Arabic", kNewerArabic},
      {"Devanagari", kNewerDevanagari}};
  for (const auto& [name, ranges] : kScripts) {
    if (property == name) return format_ranges(ranges);
  }
  std::vector<Range> found;
  for (const CategoryRange& r : kNewerCategories) {
    if (std::string_view(kCategoryNames[r.category]).starts_with(property)) {
      found.push_back({r.first, r.last});
    }
  }
  return format_ranges(found);
}

std::span<const CodePointRange> space_ranges() { return kSpaces; }
std::span<const CodePointRange> regex_word_extra() { return kRegexWordExtra; }

void append_lower(std::string& out, uint32_t c) {
  if (c < 0x80) return out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  if (c == 0x130) {  // the only character whose lower case is two
    out += "i\xcc\x87";
    return;
  }
  uint32_t lower = static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c)));
  if (lower == c && c >= std::begin(kNewerLower)->from) {
    for (const LowerPair& p : kNewerLower) {
      if (p.from == c) lower = p.to;
    }
  }
  append_code_point(out, lower);
}

std::string normalize_form(std::string_view text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) options |= UTF8PROC_COMPOSE;
  if (form == NormalForm::kNfd || form == NormalForm::kNfkd) options |= UTF8PROC_DECOMPOSE;
  if (form == NormalForm::kNfkc || form == NormalForm::kNfkd) options |= UTF8PROC_COMPAT;
  std::string out;
  out.reserve(text.size());
  size_t start = 0;
  bool ascii = true;
  // An inert character neither composes nor reorders, so the text falls apart around it.
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const uint32_t c = next_code_point(text, pos);
    ascii = ascii && c < 0x80;
    if (c < 0x80 || !(char_flags(c) & kCharInert)) continue;
    append_normalized(out, text.substr(start, at - start), options);
    out += text.substr(at, pos - at);
    start = pos;
  }
  if (ascii) return std::string(text);
  append_normalized(out, text.substr(start), options);
  return out;
}

int script_class(uint32_t c) {
  const auto it = std::upper_bound(std::begin(kScriptClasses), std::end(kScriptClasses), c,
                                   [](uint32_t x, const ScriptRange& r) { return x < r.first; });
  return it != std::begin(kScriptClasses) && c <= std::prev(it)->last ? std::prev(it)->script : -1;
}

size_t grapheme_end(std::string_view text, size_t pos) {
  // What this utf8proc may not know breaks like a mark that it does know.
  const auto next = [&] {
    const uint32_t c = next_code_point(text, pos);
    if (c < 0x300) return static_cast<utf8proc_int32_t>(c);
    const bool newer = (char_flags(c) & (kCharInert | kCharMark)) == (kCharInert | kCharMark);
    return static_cast<utf8proc_int32_t>(newer ? 0x300 : c);
  };
  utf8proc_int32_t state = 0;
  utf8proc_int32_t previous = next();
  while (pos < text.size()) {
    const size_t end = pos;
    const utf8proc_int32_t c = next();
    if (utf8proc_grapheme_break_stateful(previous, c, &state)) return end;
    previous = c;
  }
  return pos;
}

bool is_bert_control(uint32_t c) { return contains(kBertControl, c); }
bool is_bert_nonspacing(uint32_t c) { return contains(kBertNonspacing, c); }

}  // namespace ramjet::text

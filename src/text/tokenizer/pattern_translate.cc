// Oniguruma's Ruby syntax and PCRE2's are near relatives; this file knows the differences:
// classes follow other Unicode versions and definitions, classes nest and intersect, `(?m)` means
// dot-all, `\h` is a hex digit, an interval takes no possessive `+`, and ^ $ always know lines.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "text/tokenizer/pattern.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxOutputBytes = size_t{1} << 20;

std::string class_item(uint32_t c) { return fmt::format("\\x{{{:x}}}", c); }

std::string range_items(std::span<const CodePointRange> ranges) {
  std::string out;
  for (const CodePointRange& r : ranges) out += class_item(r.first) + "-" + class_item(r.last);
  return out;
}

std::string complement_items(std::span<const CodePointRange> ranges) {
  std::string out;
  uint32_t next = 0;
  for (const CodePointRange& r : ranges) {
    if (r.first > next) out += class_item(next) + "-" + class_item(r.first - 1);
    next = r.last + 1;
  }
  return out + class_item(next) + "-\\x{10ffff}";
}

std::string word_items() {
  std::string out = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}";
  for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) out += newer_ranges(name);
  return out + range_items(regex_word_extra());
}

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  Result<std::string> run() {
    while (pos_ < in_.size()) {
      RETURN_IF_ERROR(atom());
      if (out_.size() > kMaxOutputBytes) return fail("grows too large");
    }
    return std::move(out_);
  }

 private:
  /// The items of one class operand, to stand between brackets, and lookaheads that must hold too.
  struct Class {
    std::string items;    // union of items
    std::string guards;   // lookaheads for intersections
    std::string options;  // alternatives that cannot be items (negated nested classes)
  };

  Error fail(std::string_view what) const { return invalid_argument("regex '{}' {}", in_, what); }
  Error refuse(std::string_view what) const {
    return unsupported("regex '{}': {} is not supported", in_, what);
  }
  bool more() const { return pos_ < in_.size(); }
  bool take(std::string_view text) {
    if (!in_.substr(pos_).starts_with(text)) return false;
    pos_ += text.size();
    return true;
  }

  Status atom() {
    const char c = in_[pos_];
    if (c == '\\') return escape();
    if (c == '[') {
      ++pos_;
      ASSIGN_OR_RETURN(std::string set, char_class(0));
      out_ += set;
      return ok_status();
    }
    if (c == '(' && in_.substr(pos_).starts_with("(?")) return group();
    if (c == '{') return interval();
    const size_t start = pos_;
    pos_ += static_cast<size_t>(utf8_length(c));
    out_ += in_.substr(start, pos_ - start);
    return ok_status();
  }

  /// `{n,m}` as it is, but a `+` behind it repeats again instead of making it possessive.
  Status interval() {
    const size_t close = in_.find('}', pos_);
    const std::string_view body =
        close == std::string_view::npos ? "" : in_.substr(pos_ + 1, close - pos_ - 1);
    const bool digits = !body.empty() && body != "," &&
                        body.find_first_not_of("0123456789,") == std::string_view::npos &&
                        std::count(body.begin(), body.end(), ',') <= 1;
    if (!digits) return out_ += "\\{", ++pos_, ok_status();
    if (close + 1 < in_.size() && in_[close + 1] == '+') return refuse("'+' behind an interval");
    if (close + 1 < in_.size() && in_[close + 1] == '?' && body.find(',') == body.npos) {
      return refuse("'?' behind a fixed interval");
    }
    out_ += body.front() == ',' ? fmt::format("{{0{}}}", body) : fmt::format("{{{}}}", body);
    pos_ = close + 1;
    return ok_status();
  }

  Status group() {
    for (const char* same : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (take(same)) return out_ += same, ok_status();
    }
    if (take("(?#")) {
      const size_t close = in_.find(')', pos_);
      if (close == std::string_view::npos) return fail("has an open comment");
      return pos_ = close + 1, ok_status();
    }
    const size_t end = in_.find_first_of(":)", pos_);
    const std::string_view flags =
        end == std::string_view::npos ? "?" : in_.substr(pos_ + 2, end - pos_ - 2);
    if (flags.find_first_not_of("imx-") != std::string_view::npos) {
      return refuse(fmt::format("the group '{}'", in_.substr(pos_, 8)));
    }
    out_ += "(?";
    for (const char f : flags) out_ += f == 'm' ? 's' : f;
    out_ += in_[end];
    pos_ = end + 1;
    return ok_status();
  }

  Status escape() {
    if (pos_ + 1 >= in_.size()) return fail("ends in a backslash");
    const char c = in_[pos_ + 1];
    if (c == 'b' || c == 'B') {
      pos_ += 2;
      const std::string w = "[" + word_items() + "]";
      out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", w)
                       : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", w);
      return ok_status();
    }
    if (c == 'A' || c == 'z' || c == 'Z' || c == 'G' || c == 'R' || c == 'X') {
      return out_ += in_.substr(pos_, 2), pos_ += 2, ok_status();
    }
    if (c >= '1' && c <= '9') return refuse("a back reference");
    if (c == 'k' || c == 'g' || c == 'K') return refuse(fmt::format("\\{}", c));
    Class set;
    RETURN_IF_ERROR(class_escape(set));
    out_ += finish(set, false);
    return ok_status();
  }

  /// An escape that stands for a set or a single character, inside or outside brackets.
  Status class_escape(Class& set) {
    const char c = in_[pos_ + 1];
    pos_ += 2;
    switch (c) {
      case 's': return set.items += range_items(space_ranges()), ok_status();
      case 'S': return set.items += complement_items(space_ranges()), ok_status();
      case 'w': return set.items += word_items(), ok_status();
      case 'W': return negate_into(set, word_items());
      case 'd': return set.items += "\\p{Nd}" + newer_ranges("Nd"), ok_status();
      case 'D': return negate_into(set, "\\p{Nd}" + newer_ranges("Nd"));
      case 'h': return set.items += "0-9a-fA-F", ok_status();
      case 'H': return negate_into(set, "0-9a-fA-F");
      case 'p':
      case 'P': return property(set, c == 'P');
      default: break;
    }
    pos_ -= 2;
    ASSIGN_OR_RETURN(const uint32_t code_point, escaped_character());
    set.items += class_item(code_point);
    return ok_status();
  }

  static Status negate_into(Class& set, const std::string& items) {
    set.options += "|[^" + items + "]";
    return ok_status();
  }

  Status property(Class& set, bool negated) {
    const size_t close = in_.find('}', pos_);
    if (!more() || in_[pos_] != '{' || close == std::string_view::npos) {
      return fail("has a property without braces");
    }
    std::string_view name = in_.substr(pos_ + 1, close - pos_ - 1);
    pos_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    static constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
        {"Letter", "L"},
        {"Mark", "M"},
        {"Number", "N"},
        {"Punctuation", "P"},
        {"Symbol", "S"},
        {"Separator", "Z"},
        {"Other", "C"},
        {"Uppercase_Letter", "Lu"},
        {"Lowercase_Letter", "Ll"},
        {"Decimal_Number", "Nd"}};
    for (const auto& [longer, shorter] : kLongNames) {
      if (name == longer) name = shorter;
    }
    static constexpr std::string_view kMajor = "LMNPSZC";
    std::string items;
    if (name == "Alnum" || name == "Alpha" || name == "Space" || name == "Punct") {
      return refuse(fmt::format("\\p{{{}}}", name));
    }
    if (!name.empty() && name.size() <= 2 && kMajor.find(name[0]) != std::string_view::npos) {
      // "Other" shrinks when code points are assigned.
      if (name == "C" || name == "Cn") return refuse(fmt::format("\\p{{{}}}", name));
      items = fmt::format("\\p{{{}}}", name) + newer_ranges(name);
    } else {
      items = fmt::format("\\p{{sc:{}}}", name) + newer_ranges(name);
    }
    if (negated) return negate_into(set, items);
    set.items += items;
    return ok_status();
  }

  /// The character an escape names: \n, \x41, \x{41}, \u0041, \/ ...
  Result<uint32_t> escaped_character() {
    const char c = in_[pos_ + 1];
    static constexpr std::pair<char, uint32_t> kNamed[] = {
        {'n', 10}, {'t', 9}, {'r', 13}, {'f', 12}, {'v', 11}, {'a', 7}, {'e', 27}};
    for (const auto& [letter, value] : kNamed) {
      if (c == letter) return pos_ += 2, value;
    }
    if (c == 'x' || c == 'u') {
      pos_ += 2;
      const bool braces = c == 'x' && take("{");
      const size_t limit = braces ? 8 : c == 'x' ? 2 : 4;
      uint32_t value = 0;
      size_t digits = 0;
      for (; more() && digits < limit && std::isxdigit(static_cast<unsigned char>(in_[pos_]));
           ++digits, ++pos_) {
        const char h = in_[pos_];
        value = value * 16 + static_cast<uint32_t>(h <= '9' ? h - '0' : (h | 32) - 'a' + 10);
      }
      if ((braces && !take("}")) || digits == 0 || value > 0x10ffff) {
        return fail("has a malformed code point");
      }
      // A single byte beyond ASCII would be a raw byte there.
      if (!braces && c == 'x' && value > 0x7f) return refuse("a raw byte");
      return value;
    }
    if (std::isalnum(static_cast<unsigned char>(c))) return refuse(fmt::format("\\{}", c));
    ++pos_;
    return next_code_point(in_, pos_);
  }

  /// Behind "[": everything through the matching "]".
  Result<std::string> char_class(int depth) {
    if (depth > kMaxDepth) return fail("nests classes too deeply");
    const bool negated = take("^");
    Class set;
    std::string guards;
    bool first = true;
    while (true) {
      if (!more()) return fail("has an open class");
      if (in_[pos_] == ']' && !first) break;
      first = false;
      if (take("&&")) {
        guards += "(?=" + finish(set, false) + ")";
        set = Class{};
        continue;
      }
      RETURN_IF_ERROR(class_member(set, depth));
    }
    ++pos_;
    const std::string last = finish(set, negated && guards.empty());
    if (guards.empty()) return last;
    return negated ? "(?:(?!" + guards + last + ")(?s:.))" : "(?:" + guards + last + ")";
  }

  Status class_member(Class& set, int depth) {
    if (take("[:")) return refuse("a POSIX bracket");
    if (take("[")) {
      ASSIGN_OR_RETURN(std::string nested, char_class(depth + 1));
      set.options += "|" + nested;
      return ok_status();
    }
    if (in_[pos_] == '\\') {
      if (pos_ + 1 >= in_.size()) return fail("ends in a backslash");
      if (std::string_view("sSwWdDhHpP").find(in_[pos_ + 1]) != std::string_view::npos) {
        return class_escape(set);
      }
    }
    ASSIGN_OR_RETURN(const uint32_t low, class_character());
    uint32_t high = low;
    const std::string_view rest = in_.substr(pos_);
    if (rest.size() >= 2 && rest[0] == '-' && rest[1] != ']' && rest[1] != '[') {
      ++pos_;
      ASSIGN_OR_RETURN(high, class_character());
      if (high < low) return fail("has an empty range");
    }
    set.items += class_item(low);
    if (high != low) set.items += "-" + class_item(high);
    return ok_status();
  }

  Result<uint32_t> class_character() {
    if (in_[pos_] == '\\') {
      if (pos_ + 1 >= in_.size()) return fail("ends in a backslash");
      if (in_[pos_ + 1] == 'b') return pos_ += 2, uint32_t{8};
      return escaped_character();
    }
    return next_code_point(in_, pos_);
  }

  static std::string finish(const Class& set, bool negated) {
    if (set.options.empty()) {
      if (set.items.empty()) return negated ? "(?s:.)" : "(?!)";
      return (negated ? "[^" : "[") + set.items + "]";
    }
    const std::string all =
        set.items.empty() ? set.options.substr(1) : "[" + set.items + "]" + set.options;
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  std::string_view in_;
  size_t pos_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view onig_pattern) {
  if (!is_valid_utf8(onig_pattern)) return invalid_argument("a regex that is not UTF-8");
  return Translator(onig_pattern).run();
}

}  // namespace ramjet::text

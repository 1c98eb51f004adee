// The syntax of regular expressions.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "text/grammar/regex.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 200;
constexpr int kMaxCount = 100'000;

RegexPtr make_set(CodePointSet set) {
  auto node = std::make_shared<RegexNode>();
  node->kind = RegexNode::Kind::kSet;
  node->set = normalized(std::move(set));
  return node;
}

RegexPtr make_node(RegexNode::Kind kind, std::vector<RegexPtr> parts = {}) {
  auto node = std::make_shared<RegexNode>();
  node->kind = kind;
  node->parts = std::move(parts);
  return node;
}

const CodePointSet kDigits{{'0', '9'}};
const CodePointSet kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePointSet kSpace{{9, 13},          {32, 32},         {160, 160},       {0x1680, 0x1680},
                          {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                          {0x3000, 0x3000}, {0xfeff, 0xfeff}};
const CodePointSet kNewlines{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

int hex_value(char32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(to_code_points(pattern)) {}

  Result<RegexPtr> parse() {
    ASSIGN_OR_RETURN(RegexPtr node, alternatives());
    if (!done()) return bad("unmatched ')'");
    return node;
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  char32_t peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0;
  }
  bool take(char32_t c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view s) {
    if (std::u32string_view(text_).substr(at_, s.size()) != s) return false;
    at_ += s.size();
    return true;
  }
  Error bad(std::string_view what) const {
    return invalid_argument("the regular expression is wrong at character {}: {}", at_, what);
  }
  static Error cannot(std::string_view what) {
    return unsupported("the regular expression uses {}, which cannot be enforced", what);
  }

  Result<RegexPtr> alternatives() {
    if (++depth_ > kMaxDepth) return bad("groups are nested too deeply");
    std::vector<RegexPtr> parts;
    do {
      ASSIGN_OR_RETURN(RegexPtr part, sequence());
      parts.push_back(std::move(part));
    } while (take('|'));
    --depth_;
    if (parts.size() == 1) return parts[0];
    return make_node(RegexNode::Kind::kAlt, std::move(parts));
  }

  Result<RegexPtr> sequence() {
    std::vector<RegexPtr> parts;
    while (!done() && peek() != '|' && peek() != ')') {
      ASSIGN_OR_RETURN(RegexPtr part, atom());
      ASSIGN_OR_RETURN(part, quantified(std::move(part)));
      parts.push_back(std::move(part));
    }
    if (parts.size() == 1) return parts[0];
    return make_node(RegexNode::Kind::kCat, std::move(parts));
  }

  /// {n}, {n,}, {n,m}; nothing is taken if this is none of them.
  bool counts(int& min, int& max) {
    const size_t begin = at_;
    const auto number = [this](int& value) {
      const size_t first = at_;
      int64_t n = 0;
      while (peek() >= '0' && peek() <= '9') {
        n = std::min<int64_t>(kMaxCount + 1, n * 10 + (text_[at_++] - '0'));
      }
      value = static_cast<int>(n);
      return at_ > first;
    };
    bool ok = take('{') && number(min);
    max = min;
    if (ok && take(',')) {
      max = -1;
      if (peek() != '}') ok = number(max);
    }
    ok = ok && take('}');
    if (!ok) at_ = begin;
    return ok;
  }

  Result<RegexPtr> quantified(RegexPtr part) {
    int min = 0;
    int max = -1;
    if (take('*')) {
    } else if (take('+')) {
      min = 1;
    } else if (take('?')) {
      max = 1;
    } else if (peek() != '{' || !counts(min, max)) {
      return part;
    }
    take('?');  // lazy or greedy: the language is the same
    if (min > kMaxCount || max > kMaxCount) return bad("a repetition count is too large");
    if (max >= 0 && max < min) return bad("a repetition's maximum is below its minimum");
    if (peek() == '*' || peek() == '+' || peek() == '?') return bad("nothing to repeat");
    auto node = std::make_shared<RegexNode>();
    node->kind = RegexNode::Kind::kRepeat;
    node->parts = {std::move(part)};
    node->min = min, node->max = max;
    return RegexPtr(std::move(node));
  }

  Result<RegexPtr> atom() {
    const char32_t c = text_[at_];
    switch (c) {
      case '(': return group();
      case '[': return char_class();
      case '^': return ++at_, make_node(RegexNode::Kind::kStart);
      case '$': return ++at_, make_node(RegexNode::Kind::kEnd);
      case '.': return ++at_, make_set(complement_of(kNewlines));
      case '*':
      case '+':
      case '?': return bad("nothing to repeat");
      case '\\': {
        ++at_;
        if (peek() == 'b' || peek() == 'B') return cannot("a word boundary");
        if (peek() >= '1' && peek() <= '9') return cannot("a back reference");
        if (peek() == 'k') return cannot("a back reference");
        ASSIGN_OR_RETURN(CodePointSet set, escape());
        return make_set(std::move(set));
      }
      default: break;
    }
    ++at_;
    return make_set({{c, c}});
  }

  Result<RegexPtr> group() {
    ++at_;
    if (take(U"?")) {
      if (peek() == '=' || peek() == '!') return cannot("look-ahead");
      if (peek() == '<' && (peek(1) == '=' || peek(1) == '!')) return cannot("look-behind");
      const bool python = take('P');
      if (take('<')) {
        while (!done() && peek() != '>') ++at_;
        if (!take('>')) return bad("a group's name does not end");
      } else if (python || !take(':')) {
        return bad("unknown kind of group");
      }
    }
    ASSIGN_OR_RETURN(RegexPtr inner, alternatives());
    if (!take(')')) return bad("a group does not end");
    return inner;
  }

  Result<uint32_t> hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int v = done() ? -1 : hex_value(text_[at_]);
      if (v < 0) return bad("a hexadecimal escape is incomplete");
      value = value * 16 + static_cast<uint32_t>(v);
      ++at_;
    }
    return value;
  }

  Result<uint32_t> unicode_escape() {
    if (take('{')) {
      uint32_t value = 0;
      size_t digits = 0;
      for (; !done() && hex_value(text_[at_]) >= 0 && value < kCodePoints; ++at_, ++digits) {
        value = value * 16 + static_cast<uint32_t>(hex_value(text_[at_]));
      }
      if (digits == 0 || value >= kCodePoints || !take('}')) return bad("\\u{...} is wrong");
      return value;
    }
    ASSIGN_OR_RETURN(uint32_t value, hex(4));
    if (value >= 0xd800 && value < 0xdc00 && peek() == '\\' && peek(1) == 'u') {
      const size_t back = at_;
      at_ += 2;
      const Result<uint32_t> low = hex(4);
      if (low.ok() && *low >= 0xdc00 && *low < 0xe000) {
        return 0x10000 + ((value - 0xd800) << 10) + (*low - 0xdc00);
      }
      at_ = back;
    }
    return value;
  }

  Result<CodePointSet> property(bool negated) {
    std::string name;
    if (!take('{')) return bad("\\p needs a name in braces");
    while (!done() && peek() != '}') put_utf8(name, text_[at_++]);
    if (!take('}')) return bad("\\p needs a name in braces");
    ASSIGN_OR_RETURN(CodePointSet set, unicode_property(name));
    return negated ? complement_of(set) : set;
  }

  /// After the backslash; what it stands for, in a class or outside.
  Result<CodePointSet> escape() {
    if (done()) return bad("a backslash at the end");
    const char32_t c = text_[at_++];
    const auto one = [](uint32_t v) { return CodePointSet{{v, v}}; };
    switch (c) {
      case 'd': return kDigits;
      case 'D': return complement_of(kDigits);
      case 'w': return kWord;
      case 'W': return complement_of(kWord);
      case 's': return kSpace;
      case 'S': return complement_of(kSpace);
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 'v': return one('\v');
      case 'f': return one('\f');
      case '0': return one(0);
      case 'c': {
        const char32_t letter = peek();
        const char32_t lower = letter | 0x20;
        if (lower < 'a' || lower > 'z') return bad("\\c needs a letter");
        ++at_;
        return one(letter & 31);
      }
      case 'x': {
        ASSIGN_OR_RETURN(const uint32_t value, hex(2));
        return one(value);
      }
      case 'u': {
        ASSIGN_OR_RETURN(const uint32_t value, unicode_escape());
        return one(value);
      }
      case 'p': return property(false);
      case 'P': return property(true);
      default: break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) return bad("an escape that stands for nothing");
    return one(c);
  }

  Result<CodePointSet> class_atom() {
    if (done()) return bad("a character class does not end");
    const char32_t c = text_[at_];
    ++at_;
    if (c != '\\') return CodePointSet{{c, c}};
    if (take('b')) return CodePointSet{{8, 8}};
    return escape();
  }

  Result<RegexPtr> char_class() {
    ++at_;
    const bool negated = take('^');
    CodePointSet set;
    while (!take(']')) {
      ASSIGN_OR_RETURN(CodePointSet low, class_atom());
      const bool single = low.size() == 1 && low[0].first == low[0].second;
      if (peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size()) {
        ++at_;
        ASSIGN_OR_RETURN(const CodePointSet high, class_atom());
        if (!single || high.size() != 1 || high[0].first != high[0].second) {
          return bad("a range between classes");
        }
        if (high[0].first < low[0].first) return bad("a range out of order");
        set.emplace_back(low[0].first, high[0].first);
      } else {
        set.insert(set.end(), low.begin(), low.end());
      }
    }
    set = normalized(std::move(set));
    return make_set(negated ? complement_of(set) : std::move(set));
  }

  std::u32string text_;
  size_t at_ = 0;
  int depth_ = 0;
};

struct Category {
  std::string_view name, long_name;
};
constexpr std::array<Category, 30> kCategories{{
    {"Cn", "Unassigned"},
    {"Lu", "Uppercase_Letter"},
    {"Ll", "Lowercase_Letter"},
    {"Lt", "Titlecase_Letter"},
    {"Lm", "Modifier_Letter"},
    {"Lo", "Other_Letter"},
    {"Mn", "Nonspacing_Mark"},
    {"Mc", "Spacing_Mark"},
    {"Me", "Enclosing_Mark"},
    {"Nd", "Decimal_Number"},
    {"Nl", "Letter_Number"},
    {"No", "Other_Number"},
    {"Pc", "Connector_Punctuation"},
    {"Pd", "Dash_Punctuation"},
    {"Ps", "Open_Punctuation"},
    {"Pe", "Close_Punctuation"},
    {"Pi", "Initial_Punctuation"},
    {"Pf", "Final_Punctuation"},
    {"Po", "Other_Punctuation"},
    {"Sm", "Math_Symbol"},
    {"Sc", "Currency_Symbol"},
    {"Sk", "Modifier_Symbol"},
    {"So", "Other_Symbol"},
    {"Zs", "Space_Separator"},
    {"Zl", "Line_Separator"},
    {"Zp", "Paragraph_Separator"},
    {"Cc", "Control"},
    {"Cf", "Format"},
    {"Cs", "Surrogate"},
    {"Co", "Private_Use"},
}};
constexpr std::array<Category, 9> kGroups{{
    {"L", "Letter"},
    {"M", "Mark"},
    {"N", "Number"},
    {"P", "Punctuation"},
    {"S", "Symbol"},
    {"Z", "Separator"},
    {"C", "Other"},
    {"Nd", "digit"},
    {"P", "punct"},
}};

/// "Lu" or "L" for what the name says; empty if it is none.
std::string category_of(std::string_view name) {
  for (const std::string_view prefix : {"General_Category=", "gc="}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  for (const auto& c : kCategories) {
    if (name == c.name || name == c.long_name) return std::string(c.name);
  }
  for (const auto& c : kGroups) {
    if (name == c.name || name == c.long_name) return std::string(c.name);
  }
  return {};
}

}  // namespace

Result<CodePointSet> unicode_property(std::string_view name) {
  if (name == "Any") return CodePointSet{{0, kCodePoints - 1}};
  if (name == "ASCII") return CodePointSet{{0, 127}};
  const std::string category = category_of(name);
  if (category.empty()) {
    return unsupported("the regular expression uses \\p{{{}}}; general categories are known", name);
  }
  static std::mutex mutex;
  static std::map<std::string, CodePointSet> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(category);
  if (found != known.end()) return found->second;
  CodePointSet set;
  for (uint32_t c = 0; c < kCodePoints; ++c) {
    const auto index = static_cast<size_t>(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
    if (!kCategories[index].name.starts_with(category)) continue;
    if (!set.empty() && set.back().second + 1 == c) {
      set.back().second = c;
    } else {
      set.emplace_back(c, c);
    }
  }
  return known.emplace(category, std::move(set)).first->second;
}

Result<RegexPtr> parse_regex(std::string_view pattern) { return Parser(pattern).parse(); }

}  // namespace ramjet::text

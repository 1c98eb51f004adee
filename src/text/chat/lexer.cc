#include "text/chat/lexer.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "text/chat/string_literal.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

constexpr std::array<std::string_view, 27> kOperators = {
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]",
    "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", ""};

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(Program& program) : program_(program), text_(program.normalized) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) root();
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(std::string_view message) const { fail("{} (line {})", message, line_); }

  void add(TokenKind kind, std::string_view text, Value value = {}) {
    tokens_.push_back({kind, line_, text, value});
  }

  bool looking_at(std::string_view s, size_t at) const {
    return text_.size() >= at && text_.substr(at).starts_with(s);
  }

  void advance(size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                         text_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
    is_line_start_ = at_ > 0 && text_[at_ - 1] == '\n';
  }

  size_t skip_space(size_t at) const { return text_.size() - strip_left(text_.substr(at)).size(); }

  /// Text up to the next tag, then the tag.
  void root() {
    size_t tag = at_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
        add(TokenKind::kData, text_.substr(at_));
        return advance(text_.size());
      }
      const char c = text_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
      ++tag;
    }
    const char kind = text_[tag + 1];
    size_t after = tag + 2;
    char sign = 0;
    if (after < text_.size() && (text_[after] == '-' || text_[after] == '+')) sign = text_[after++];
    const size_t raw_end = kind == '%' ? match_raw(after) : 0;
    add_data(text_.substr(at_, tag - at_), sign, kind != '{');
    if (raw_end != 0) {
      advance(raw_end);
      return raw();
    }
    advance(after);
    if (kind == '#') return comment();
    add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, {});
    expression(kind == '{');
  }

  /// Adds text before a tag, less the whitespace that the tag's sign or lstrip_blocks takes.
  void add_data(std::string_view data, char sign, bool is_block) {
    if (sign == '-') {
      data = strip_right(data);
    } else if (sign != '+' && is_block) {
      const size_t newline = data.rfind('\n');
      const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      const bool is_line = begin > 0 || is_line_start_;
      if (is_line && begin < data.size() && strip_left(data.substr(begin)).empty()) {
        data = data.substr(0, begin);
      }
    }
    if (!data.empty()) add(TokenKind::kData, data);
  }

  /// Behind `{% raw %}`'s end if the tag whose name may begin at `at` is one, else 0.
  size_t match_raw(size_t at) const {
    at = skip_space(at);
    if (!looking_at("raw", at)) return 0;
    at = skip_space(at + 3);
    if (looking_at("%}", at)) return at + 2;
    return looking_at("-%}", at) ? skip_space(at + 3) : 0;
  }

  /// Behind the end `close` of a tag at `at`, with its sign and the newline that trimming takes.
  size_t match_close(std::string_view close, size_t at) const {
    if (looking_at(close, at)) {
      at += close.size();
      return looking_at("\n", at) ? at + 1 : at;
    }
    if (!looking_at(close, at + 1)) return 0;
    if (text_[at] == '+') return at + 1 + close.size();
    return text_[at] == '-' ? skip_space(at + 1 + close.size()) : 0;
  }

  void comment() {
    size_t end = text_.find("#}", at_);
    if (end == std::string_view::npos) error("Missing end of comment tag");
    if (end > at_ && (text_[end - 1] == '+' || text_[end - 1] == '-')) --end;
    advance(match_close("#}", end));
  }

  void raw() {
    for (size_t tag = at_; (tag = text_.find("{%", tag)) != std::string_view::npos; ++tag) {
      size_t after = tag + 2;
      char sign = 0;
      if (looking_at("-", after) || looking_at("+", after)) sign = text_[after++];
      after = skip_space(after);
      if (!looking_at("endraw", after)) continue;
      const size_t end = match_close("%}", skip_space(after + 6));
      if (end == 0) continue;
      add_data(text_.substr(at_, tag - at_), sign, true);
      return advance(end);
    }
    error("Missing end of raw directive");
  }

  /// The tokens of one tag, up to its end.
  void expression(bool is_variable) {
    const std::string_view close = is_variable ? "}}" : "%}";
    std::string open;
    while (true) {
      if (at_ >= text_.size()) error("unexpected end of template, expected end of tag");
      if (open.empty()) {
        if (const size_t end = match_tag_end(is_variable, close); end != 0) {
          add(is_variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, {});
          return advance(end);
        }
      }
      token(open);
    }
  }

  size_t match_tag_end(bool is_variable, std::string_view close) const {
    if (!is_variable) return match_close(close, at_);
    if (looking_at(close, at_)) return at_ + 2;
    return looking_at("-}}", at_) ? skip_space(at_ + 3) : 0;
  }

  void token(std::string& open) {
    const size_t space = skip_space(at_);
    if (space != at_) return advance(space);
    const char c = text_[at_];
    if (is_ascii_digit(c)) return number();
    size_t end = at_;
    while (end < text_.size()) {
      size_t p = end;
      if (!is_identifier_part(next_char(text_, p))) break;
      end = p;
    }
    if (end != at_) {
      size_t p = at_;
      if (!is_identifier_start(next_char(text_, p))) error("Invalid character in identifier");
      add(TokenKind::kName, text_.substr(at_, end - at_));
      return advance(end);
    }
    if (c == '\'' || c == '"') return string(c);
    for (const std::string_view op : kOperators) {
      if (op.empty() || !looking_at(op, at_)) continue;
      balance(op[0], open);
      add(TokenKind::kOperator, text_.substr(at_, op.size()));
      return advance(at_ + op.size());
    }
    error(fmt::format("unexpected char '{}'", c));
  }

  void balance(char c, std::string& open) const {
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open.empty()) error(fmt::format("unexpected '{}'", c));
    if (open.back() != c) error(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
    open.pop_back();
  }

  void string(char quote) {
    size_t end = at_ + 1;
    bool has_escape = false;
    while (end < text_.size() && text_[end] != quote) {
      if (text_[end] == '\\') {
        has_escape = true;
        ++end;
      }
      ++end;
    }
    if (end >= text_.size()) error(fmt::format("unexpected char '{}': string without end", quote));
    std::string_view body = text_.substr(at_ + 1, end - at_ - 1);
    if (has_escape) {
      std::string problem;
      auto& unescaped = program_.strings.emplace_back();
      if (!unescape_literal(body, unescaped, problem)) error(problem);
      body = unescaped;
    }
    add(TokenKind::kString, {}, Value::of_text(body));
    advance(end + 1);
  }

  /// Digits with single underscores between them; the end of the run.
  template <class IsDigit>
  size_t digits(size_t at, IsDigit is_digit_char) const {
    while (at < text_.size()) {
      if (is_digit_char(text_[at])) {
        ++at;
      } else if (text_[at] == '_' && at + 1 < text_.size() && is_digit_char(text_[at + 1])) {
        at += 2;
      } else {
        break;
      }
    }
    return at;
  }

  size_t float_end() const {
    if (at_ > 0 && text_[at_ - 1] == '.') return 0;
    const size_t whole = digits(at_, is_ascii_digit);
    size_t end = whole;
    if (end + 1 < text_.size() && text_[end] == '.' && is_ascii_digit(text_[end + 1])) {
      end = digits(end + 1, is_ascii_digit);
    }
    size_t exponent = end;
    if (exponent < text_.size() && (text_[exponent] | 0x20) == 'e') {
      ++exponent;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_ascii_digit(text_[exponent])) {
        return digits(exponent, is_ascii_digit);
      }
    }
    return end == whole ? 0 : end;
  }

  std::string without_underscores(size_t end) const {
    std::string s(text_.substr(at_, end - at_));
    std::erase(s, '_');
    return s;
  }

  void number() {
    if (const size_t end = float_end(); end != 0) {
      const std::string s = without_underscores(end);
      add(TokenKind::kNumber, "float", Value::of_float(std::strtod(s.c_str(), nullptr)));
      return advance(end);
    }
    int base = 10;
    size_t end = at_;
    if (text_[at_] == '0') {
      const char mark = at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : '\0';
      const int marked = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
      const auto fits = [marked](char c) { return digit_value(c) < marked; };
      if (marked != 0) end = digits(at_ + 2, fits);
      if (end > at_ + 2) {
        base = marked;
      } else {
        end = digits(at_, [](char c) { return c == '0'; });
      }
    } else {
      end = digits(at_, is_ascii_digit);
    }
    add(TokenKind::kNumber, "integer", integer(without_underscores(end), base));
    advance(end);
  }

  Value integer(std::string_view s, int base) {
    if (base != 10) s.remove_prefix(2);
    Int n = 0;
    for (const char c : s) {
      if (__builtin_mul_overflow(n, Int{base}, &n) ||
          __builtin_add_overflow(n, Int{digit_value(c)}, &n)) {
        error("integer literal needs more than 128 bits");
      }
    }
    if (n <= INT64_MAX) return Value::of_int(static_cast<int64_t>(n));
    return Value::of_object(Kind::kBigInt, &program_.big_integers.emplace_back(n));
  }

  Program& program_;
  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::vector<Token> tokenize(Program& program) { return Lexer(program).run(); }

}  // namespace ramjet::text::chat

#include "text/chat/percent_format.h"

#include <cmath>

#include "text/chat/number_format.h"
#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

struct Directive {
  NumberFormat number;
  int64_t width = 0;
  bool is_left = false;
  bool is_zero = false;
};

class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const Value& format, const Value& arguments)
      : rt_(rt), format_(format.text()), arguments_(arguments), is_markup_(format.is_markup()) {
    if (arguments.is(Kind::kTuple)) {
      items_ = arguments.seq->items;
      count_ = arguments.seq->size;
    } else {
      items_ = &arguments_;
      count_ = 1;
    }
  }

  Value run() {
    rt_.charge_bytes(format_.size());
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_ += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) directive();
      rt_.charge();
      rt_.check_size(static_cast<Int>(out_.size()));
    }
    if (next_ < count_ && !has_mapping_ && !can_ignore_rest()) {
      fail("not all arguments converted during string formatting");
    }
    return rt_.text(out_, is_markup_ ? Value::kMarkup : 0);
  }

 private:
  /// A lone mapping may stay unused.
  bool can_ignore_rest() const {
    return !arguments_.is(Kind::kTuple) &&
           (arguments_.is(Kind::kDict) || arguments_.is(Kind::kList) ||
            arguments_.is(Kind::kUndefined) || arguments_.is(Kind::kRange));
  }

  Value take() {
    if (next_ >= count_) fail("not enough arguments for format string");
    return items_[next_++];
  }

  char peek() const {
    if (at_ >= format_.size()) fail("incomplete format");
    return format_[at_];
  }

  int64_t number() {
    if (peek() == '*') {
      ++at_;
      return index_of(take());
    }
    int64_t n = 0;
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      n = n * 10 + (format_[at_++] - '0');
      if (n > INT32_MAX) fail("width too big");
    }
    return n;
  }

  Value mapping_value() {
    if (!arguments_.is(Kind::kDict)) fail("format requires a mapping");
    int depth = 1;
    const size_t begin = ++at_;
    while (depth > 0) {
      const char c = peek();
      depth += c == '(' ? 1 : c == ')' ? -1 : 0;
      ++at_;
    }
    const std::string_view key = format_.substr(begin, at_ - 1 - begin);
    const Value* found = dict_find(*arguments_.dict, key);
    if (found == nullptr) fail("'{}'", key);
    has_mapping_ = true;
    return *found;
  }

  void directive() {
    ++at_;
    Directive d;
    Value mapped;
    if (peek() == '(') mapped = mapping_value();
    for (bool is_flag = true; is_flag;) {
      switch (peek()) {
        case '-': d.is_left = true; break;
        case '+': d.number.sign = '+'; break;
        case ' ': d.number.sign = d.number.sign == '+' ? '+' : ' '; break;
        case '#': d.number.is_alternate = true; break;
        case '0': d.is_zero = true; break;
        default: is_flag = false;
      }
      if (is_flag) ++at_;
    }
    d.width = number();
    if (d.width < 0) {
      d.is_left = true;
      d.width = -d.width;
    }
    if (peek() == '.') {
      ++at_;
      d.number.precision = std::max<int64_t>(number(), 0);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    d.number.type = format_[at_++];
    if (d.number.type == '%') {
      out_ += '%';
      return;
    }
    convert(d, mapped.is(Kind::kMissing) ? take() : mapped);
  }

  void convert(Directive& d, const Value& v) {
    switch (d.number.type) {
      case 's':
      case 'r':
      case 'a': emit_text(d, text_of(d.number.type, v)); return;
      case 'c': emit_text(d, char_of(v)); return;
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X': emit_number(d, format_integer(int_of(d.number.type, v), d.number)); return;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        require_defined(v);
        if (!v.is_number()) fail("must be real number, not {}", type_name(v));
        emit_number(d, format_float(real(v), d.number));
        return;
      default: fail("unsupported format character '{}'", d.number.type);
    }
  }

  std::string text_of(char type, const Value& v) {
    std::string text = type == 's' ? std::string(to_str(rt_, v).text()) : repr(rt_, v);
    if (type == 'a') text = ascii_only(text);
    if (!is_markup_) return text;
    return std::string(escape_html(rt_, v.is_markup() ? v : Value::of_text(text)).text());
  }

  static std::string ascii_only(std::string_view text) {
    std::string out;
    for (size_t p = 0; p < text.size();) {
      const uint32_t c = next_char(text, p);
      out += c < 0x80      ? std::string(1, static_cast<char>(c))
             : c < 0x100   ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    }
    return out;
  }

  static std::string char_of(const Value& v) {
    if (v.is_string() && count_chars(v.text()) == 1) return std::string(v.text());
    if (!v.is_integral()) fail("%c requires int or char");
    const Int c = integral(v);
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("%c arg not in range(0x110000)");
    std::string out;
    append_char(out, static_cast<uint32_t>(c));
    return out;
  }

  static Int int_of(char type, const Value& v) {
    require_defined(v);
    if (v.is_integral()) return integral(v);
    const bool is_decimal = type == 'd' || type == 'i' || type == 'u';
    if (v.is(Kind::kFloat) && is_decimal) return truncate_float(v.real);
    fail("%{} format: {} is required, not {}", type, is_decimal ? "a real number" : "an integer",
         type_name(v));
  }

  void emit_text(const Directive& d, std::string text) {
    if (d.number.precision >= 0) {
      text.resize(char_offset(text, static_cast<size_t>(d.number.precision)));
    }
    out_ += align_text(rt_, {{}, std::move(text)}, d.is_left ? '<' : '>', d.width, " ");
  }

  void emit_number(const Directive& d, const NumberText& text) {
    const bool is_zero = d.is_zero && !d.is_left;
    out_ += align_text(rt_, text,
                       d.is_left ? '<'
                       : is_zero ? '='
                                 : '>',
                       d.width, is_zero ? "0" : " ");
  }

  Runtime& rt_;
  std::string_view format_;
  Value arguments_;
  bool is_markup_;
  const Value* items_;
  size_t count_;
  size_t next_ = 0;
  size_t at_ = 0;
  bool has_mapping_ = false;
  std::string out_;
};

}  // namespace

Value percent_format(Runtime& rt, const Value& format, const Value& arguments) {
  return PercentFormatter(rt, format, arguments).run();
}

}  // namespace ramjet::text::chat

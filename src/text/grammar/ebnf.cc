// EBNF as users of llama.cpp (GBNF) and XGrammar write it:
//
//   rule ::= a b | "text\n" | [a-z_] | [^"] | . | ( ... ) | x* x+ x? x{2} x{2,} x{2,5}   # comment
//
// A rule ends where the next one's name and '::=' stand. Classes are of code points.
#include <algorithm>
#include <map>

#include "text/grammar/grammar_impl.h"
#include "text/grammar/regex.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 100;
constexpr int kMaxCount = 10'000;

struct Node {
  enum class Kind { kText, kSet, kRule, kCat, kAlt, kRepeat };
  Kind kind = Kind::kText;
  std::string text;  // or a rule's name
  CodePointSet set;
  std::vector<Node> parts;
  int min = 0, max = -1;
};

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::map<std::string, Node> read() {
    std::map<std::string, Node> rules;
    skip();
    while (at_ < text_.size()) {
      const std::string rule = name();
      if (rule.empty() || !take("::=")) bad("a rule must begin with a name and '::='");
      if (!rules.emplace(rule, alternatives(0)).second) bad("rule '" + rule + "' is there twice");
      if (at_ < text_.size() && !begins_rule()) bad("something that belongs to no rule");
    }
    return rules;
  }

 private:
  [[noreturn]] void bad(const std::string& what) const {
    const auto line =
        1 + std::count(text_.begin(),
                       text_.begin() + static_cast<ptrdiff_t>(std::min(at_, text_.size())), '\n');
    throw Refusal{invalid_argument("the grammar is wrong in line {}: {}", line, what), "ebnf"};
  }
  void skip() {
    while (at_ < text_.size()) {
      if (text_[at_] == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else {
        break;
      }
    }
  }
  bool take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    skip();
    return true;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  std::string name() {
    const size_t begin = at_;
    while (is_name(peek())) ++at_;
    std::string out(text_.substr(begin, at_ - begin));
    skip();
    return out;
  }
  bool begins_rule() {
    const size_t back = at_;
    const bool yes = !name().empty() && text_.substr(at_).starts_with("::=");
    at_ = back;
    return yes;
  }

  Node alternatives(int depth) {
    if (depth > kMaxDepth) bad("groups are nested too deeply");
    Node alt;
    alt.kind = Node::Kind::kAlt;
    do {
      Node cat;
      cat.kind = Node::Kind::kCat;
      while (at_ < text_.size() && peek() != '|' && peek() != ')' && !begins_rule()) {
        cat.parts.push_back(repeated(atom(depth)));
      }
      alt.parts.push_back(std::move(cat));
    } while (take("|"));
    return alt;
  }

  Node atom(int depth) {
    Node node;
    if (peek() == '"') {
      node.text = in_quotes();
    } else if (peek() == '[') {
      node.kind = Node::Kind::kSet;
      node.set = char_class();
    } else if (take(".")) {
      node.kind = Node::Kind::kSet;
      node.set = {{0, kCodePoints - 1}};
    } else if (take("(")) {
      node = alternatives(depth + 1);
      if (!take(")")) bad("a group does not end");
    } else {
      node.kind = Node::Kind::kRule;
      node.text = name();
      if (node.text.empty()) bad(std::string("unexpected '") + peek() + "'");
    }
    return node;
  }

  int number() {
    int64_t n = 0;
    if (peek() < '0' || peek() > '9') bad("a number is missing");
    while (peek() >= '0' && peek() <= '9') {
      n = std::min<int64_t>(kMaxCount + 1, n * 10 + (text_[at_++] - '0'));
    }
    skip();
    if (n > kMaxCount) bad("a repetition count is above 10000");
    return static_cast<int>(n);
  }

  Node repeated(Node part) {
    while (true) {
      int min = 0;
      int max = -1;
      if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (take("{")) {
        min = max = number();
        if (take(",")) max = peek() == '}' ? -1 : number();
        if (!take("}")) bad("a repetition does not end");
        if (max >= 0 && max < min) bad("a repetition's maximum is below its minimum");
      } else if (!take("*")) {
        return part;
      }
      Node node;
      node.kind = Node::Kind::kRepeat;
      node.parts.push_back(std::move(part));
      node.min = min, node.max = max;
      part = std::move(node);
    }
  }

  uint32_t character() {
    if (at_ >= text_.size()) bad("a text or class does not end");
    if (text_[at_] != '\\') {
      // One character of UTF-8.
      size_t length = 1;
      while (at_ + length < text_.size() && (text_[at_ + length] & 0xc0) == 0x80) ++length;
      const std::u32string c = to_code_points(text_.substr(at_, length));
      at_ += length;
      return c[0];
    }
    ++at_;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'f': return '\f';
      case 'v': return '\v';
      case 'b': return '\b';
      case '0': return 0;
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      default: break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9');
    if (letter || at_ > text_.size()) bad("an escape that stands for nothing");
    return static_cast<uint8_t>(c);
  }
  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek();
      const int v = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
      if (v < 0) bad("a hexadecimal escape is incomplete");
      value = value * 16 + static_cast<uint32_t>(v);
      ++at_;
    }
    if (value >= kCodePoints) bad("an escape beyond U+10FFFF");
    return value;
  }

  std::string in_quotes() {
    std::string out;
    ++at_;
    while (peek() != '"' || at_ >= text_.size()) put_utf8(out, character());
    ++at_;
    skip();
    return out;
  }

  CodePointSet char_class() {
    ++at_;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    CodePointSet set;
    while (peek() != ']') {
      if (text_.substr(at_).starts_with("\\d")) {
        set.emplace_back('0', '9');
        at_ += 2;
        continue;
      }
      const uint32_t low = character();
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = character();
      }
      if (high < low) bad("a range out of order");
      set.emplace_back(low, high);
    }
    ++at_;
    skip();
    set = normalized(std::move(set));
    return negated ? complement_of(set) : set;
  }

  std::string_view text_;
  size_t at_ = 0;
};

class Builder {
 public:
  Builder(Net& net, std::map<std::string, Node> rules) : net_(net), rules_(std::move(rules)) {}

  int32_t run(int32_t next) {
    for (const auto& [name, body] : rules_) {
      NetNode entry;
      entry.kind = NetNode::Kind::kSplit;
      entries_[name] = net_.add(std::move(entry));
    }
    if (!entries_.contains("root")) {
      throw Refusal{invalid_argument("the grammar has no rule 'root'"), "ebnf"};
    }
    for (const auto& [name, body] : rules_) {
      const int32_t inner = build(body, kReturnNode);
      net_.at(entries_[name]).targets = {inner};
    }
    return net_.call(entries_["root"], next);
  }

 private:
  int32_t build(const Node& node, int32_t next) {
    switch (node.kind) {
      case Node::Kind::kText: return net_.bytes(node.text, next);
      case Node::Kind::kSet: return net_.characters(node.set, next);
      case Node::Kind::kRule: {
        const auto found = entries_.find(node.text);
        if (found == entries_.end()) {
          throw Refusal{invalid_argument("the grammar has no rule '{}'", node.text), "ebnf"};
        }
        return net_.call(found->second, next);
      }
      case Node::Kind::kCat:
        for (size_t i = node.parts.size(); i > 0; --i) next = build(node.parts[i - 1], next);
        return next;
      case Node::Kind::kAlt: {
        std::vector<int32_t> targets;
        for (const Node& part : node.parts) targets.push_back(build(part, next));
        return net_.split(std::move(targets));
      }
      case Node::Kind::kRepeat: break;
    }
    int32_t entry = next;
    if (node.max < 0) {
      NetNode loop;
      loop.kind = NetNode::Kind::kSplit;
      entry = net_.add(std::move(loop));
      const int32_t again = build(node.parts[0], entry);
      net_.at(entry).targets = {again, next};
    } else {
      for (int i = node.min; i < node.max; ++i) {
        entry = net_.split({build(node.parts[0], entry), next});
      }
    }
    for (int i = 0; i < node.min; ++i) entry = build(node.parts[0], entry);
    return entry;
  }

  Net& net_;
  std::map<std::string, Node> rules_;
  std::map<std::string, int32_t> entries_;
};

}  // namespace

int32_t build_ebnf(Net& net, std::string_view grammar, int32_t next) {
  return Builder(net, Reader(grammar).read()).run(next);
}

}  // namespace ramjet::text

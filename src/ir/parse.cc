// A recursive-descent parser without recursion: a graph is a flat list of statements.
#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include "ir/graph.h"
#include "ir/text.h"
#include "op/fields.h"

namespace ramjet::ir {
namespace {

constexpr size_t kMaxTextBytes = size_t{64} << 20;

bool word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
}

class GraphParser {
 public:
  explicit GraphParser(std::string_view text) : text_(text) {}

  Result<Graph> run() {
    if (text_.size() > kMaxTextBytes) return invalid_argument("graph text above 64 MiB");
    if (!take("graph")) return fail("wants 'graph \"name\" {'");
    ASSIGN_OR_RETURN(graph_.name, string());
    if (!take("{")) return fail("wants '{'");
    while (!take("}")) {
      if (at_end()) return fail("wants '}'");
      RETURN_IF_ERROR(statement());
    }
    if (!at_end()) return fail("has text after '}'");
    if (Status status = verify(graph_); !status.ok()) return std::move(status).error();
    return std::move(graph_);
  }

 private:
  Error fail(std::string_view what) const {
    const auto line = std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    return invalid_argument("graph text line {}: {}", line + 1, what);
  }
  Error fail(const Error& error) const { return fail(error.message); }

  void skip() {
    while (at_ < text_.size()) {
      if (text_[at_] == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (std::isspace(static_cast<unsigned char>(text_[at_]))) {
        ++at_;
      } else {
        return;
      }
    }
  }
  bool at_end() { return skip(), at_ == text_.size(); }
  bool take(std::string_view token) {
    skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    const size_t end = at_ + token.size();
    if (std::isalpha(static_cast<unsigned char>(token.back())) && end < text_.size() &&
        word_char(text_[end]))
      return false;
    at_ = end;
    return true;
  }
  bool next_is(char c) { return skip(), at_ < text_.size() && text_[at_] == c; }
  Result<std::string> word() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && word_char(text_[at_])) ++at_;
    if (at_ == start) return fail("wants a name");
    return std::string(text_.substr(start, at_ - start));
  }
  Result<std::string> string() {
    if (!take("\"")) return fail("wants a quoted string");
    std::string out;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\n') break;
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      out += text_[at_];
    }
    if (!take("\"")) return fail("unterminated string");
    return out;
  }
  Result<std::vector<std::string>> strings() {
    if (!take("[")) return fail("wants '['");
    std::vector<std::string> out;
    while (!take("]")) {
      if (!out.empty() && !take(",")) return fail("wants ',' or ']'");
      ASSIGN_OR_RETURN(std::string item, string());
      out.push_back(std::move(item));
    }
    return out;
  }
  /// "min..opt..max"
  Result<int64_t> number() {
    skip();
    int64_t value = 0;
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) return fail("wants a number");
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  Result<TensorType> type() {
    skip();
    const size_t close = text_.find(']', at_);
    if (close == std::string_view::npos) return fail("wants a type such as f32[4, 8]");
    auto parsed = parse_type(text_.substr(at_, close + 1 - at_), graph_.symbols);
    if (!parsed.ok()) return fail(parsed.error());
    at_ = close + 1;
    return parsed;
  }
  /// Everything up to the closing brace, quoted strings aside.
  Result<std::string_view> attributes() {
    if (!take("{")) return std::string_view{};
    const size_t start = at_;
    bool inside = false;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') inside = !inside;
      if (text_[at_] == '}' && !inside) return text_.substr(start, at_++ - start);
    }
    return fail("wants '}' after attributes");
  }

  Status statement() {
    if (take("symbol")) return symbol();
    if (take("output")) return output();
    std::vector<std::string> results;
    if (next_is('%')) {
      do {
        if (!take("%")) return fail("wants '%'");
        ASSIGN_OR_RETURN(std::string name, word());
        if (ids_.contains(name)) return fail("value %" + name + " is defined twice");
        results.push_back(std::move(name));
        if (results.size() > 64) return fail("more than 64 results");
      } while (take(","));
      if (!take("=")) return fail("wants '='");
      if (take("input")) return input(results);
      if (take("weight")) return weight(results);
    }
    return operation(results);
  }

  Status symbol() {
    Symbol symbol;
    ASSIGN_OR_RETURN(symbol.name, word());
    if (symbol.name.find_first_of(".-") != std::string::npos ||
        std::isdigit(static_cast<unsigned char>(symbol.name[0]))) {
      return fail("symbol '" + symbol.name + "' is no identifier");
    }
    if (graph_.find_symbol(symbol.name)) return fail("symbol '" + symbol.name + "' again");
    if (graph_.symbols.size() >= 64) return fail("more than 64 symbols");
    ASSIGN_OR_RETURN(symbol.min, number());
    if (!take("..")) return fail("wants min..opt..max");
    ASSIGN_OR_RETURN(symbol.opt, number());
    if (!take("..")) return fail("wants min..opt..max");
    ASSIGN_OR_RETURN(symbol.max, number());
    graph_.add_symbol(std::move(symbol));
    return ok_status();
  }

  Status output() {
    GraphOutput output;
    ASSIGN_OR_RETURN(output.name, string());
    if (!take("=")) return fail("wants '='");
    ASSIGN_OR_RETURN(output.value, reference());
    graph_.outputs.push_back(std::move(output));
    return ok_status();
  }

  Result<ValueId> reference() {
    if (!take("%")) return fail("wants '%'");
    ASSIGN_OR_RETURN(const std::string name, word());
    const auto it = ids_.find(name);
    if (it == ids_.end()) return fail("%" + name + " is not defined");
    return it->second;
  }

  Status input(const std::vector<std::string>& results) {
    if (results.size() != 1) return fail("an input is one value");
    if (!take(":")) return fail("wants ':' and a type");
    ASSIGN_OR_RETURN(TensorType parsed, type());
    define(results[0], graph_.add_input(results[0], std::move(parsed)));
    return ok_status();
  }

  Status weight(const std::vector<std::string>& results) {
    if (results.size() != 1) return fail("a weight is one value");
    WeightRecipe recipe;
    if (!take("(")) return fail("wants '('");
    bool first = true;
    while (!take(")")) {
      if (!first && !take(",")) return fail("wants ',' or ')'");
      first = false;
      RETURN_IF_ERROR(recipe_field(recipe));
    }
    if (!take(":")) return fail("wants ':' and a type");
    ASSIGN_OR_RETURN(TensorType parsed, type());
    define(results[0], graph_.add_weight(results[0], std::move(parsed), std::move(recipe)));
    return ok_status();
  }

  template <class Enum, size_t kCount>
  Status enumeration(const std::array<const char*, kCount>& names, Enum& value) {
    ASSIGN_OR_RETURN(const std::string name, word());
    for (size_t i = 0; i < kCount; ++i) {
      if (name != names[i]) continue;
      value = static_cast<Enum>(i);
      return ok_status();
    }
    return fail("unknown value '" + name + "'");
  }

  /// "first+count" or "first+count:run/stride"; nothing for all rows.
  static bool selection(std::string_view text, RowSelection& rows) {
    const auto number = [&](int64_t& value) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      text.remove_prefix(static_cast<size_t>(end - text.data()));
      return error == std::errc();
    };
    const auto sign = [&](char c) {
      if (!text.starts_with(c)) return false;
      text.remove_prefix(1);
      return true;
    };
    if (text.empty()) return true;
    if (!number(rows.first) || !sign('+') || !number(rows.count) || rows.count <= 0) return false;
    return text.empty() || (sign(':') && number(rows.run) && sign('/') && number(rows.stride) &&
                            text.empty() && rows.run > 0);
  }
  Status selections(std::vector<RowSelection>& rows) {
    ASSIGN_OR_RETURN(const auto texts, strings());
    for (const std::string& text : texts) {
      if (!selection(text, rows.emplace_back())) {
        return fail("rows are \"first+count\" or \"first+count:run/stride\", not '" + text + "'");
      }
    }
    return ok_status();
  }

  Status recipe_field(WeightRecipe& recipe) {
    ASSIGN_OR_RETURN(const std::string key, word());
    if (!take("=")) return fail("wants '='");
    if (key == "sources") {
      ASSIGN_OR_RETURN(recipe.sources, strings());
      return ok_status();
    }
    if (key == "layout") {
      ASSIGN_OR_RETURN(recipe.layout, string());
      return ok_status();
    }
    if (key == "rows") return selections(recipe.rows);
    if (key == "combine") return enumeration(combine_names, recipe.combine);
    if (key == "experts") {
      ASSIGN_OR_RETURN(recipe.experts, number());
      return ok_status();
    }
    if (key == "quant") return enumeration(quant_names, recipe.quant);
    if (key == "part") return enumeration(part_names, recipe.part);
    if (key != "transpose") return fail("a weight has no '" + key + "'");
    recipe.transpose = take("true");
    if (!recipe.transpose && !take("false")) return fail("wants true or false");
    return ok_status();
  }

  Status operation(const std::vector<std::string>& results) {
    ASSIGN_OR_RETURN(const std::string op, word());
    const auto kind = parse_op(op);
    if (!kind) return fail("unknown op '" + op + "'");
    Node node{.op = *kind};
    if (!take("(")) return fail("wants '('");
    while (!take(")")) {
      if (!node.inputs.empty() && !take(",")) return fail("wants ',' or ')'");
      ASSIGN_OR_RETURN(const ValueId operand, reference());
      node.inputs.push_back(operand);
    }
    ASSIGN_OR_RETURN(const std::string_view attributes_text, attributes());
    auto attrs = parse_attrs(*kind, attributes_text);
    if (!attrs.ok()) return fail(attrs.error());
    if (next_is('"')) {
      ASSIGN_OR_RETURN(node.name, string());
    }
    if (take("fused")) {
      if (!take("=")) return fail("wants '='");
      ASSIGN_OR_RETURN(node.fused, strings());
    }
    if (take("tactic")) {
      if (!take("=")) return fail("wants '='");
      ASSIGN_OR_RETURN(node.tactic, string());
    }
    std::vector<TensorType> types;
    for (size_t i = 0; i < results.size(); ++i) {
      if (!take(i == 0 ? ":" : ",")) return fail("wants a type for each result");
      ASSIGN_OR_RETURN(TensorType parsed, type());
      types.push_back(std::move(parsed));
    }
    for (size_t i = 0; i < results.size(); ++i) {
      for (size_t k = 0; k < i; ++k) {
        if (results[i] == results[k]) return fail("value %" + results[i] + " is defined twice");
      }
    }
    node.attrs = std::move(*attrs);
    const NodeId id = graph_.append_node(std::move(node), results, std::move(types));
    for (size_t i = 0; i < results.size(); ++i) {
      define(results[i], graph_.result(id, static_cast<int>(i)));
    }
    return ok_status();
  }

  void define(const std::string& name, ValueId id) { ids_.emplace(name, id); }

  std::string_view text_;
  size_t at_ = 0;
  Graph graph_;
  std::map<std::string, ValueId> ids_;
};

}  // namespace

Result<Graph> parse(std::string_view text) { return GraphParser(text).run(); }

}  // namespace ramjet::ir

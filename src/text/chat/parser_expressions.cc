// Expressions.
#include <algorithm>

#include "text/chat/parser.h"

namespace ramjet::text::chat {
namespace {

std::optional<CompareOp> compare_operator(const Token& t) {
  if (t.kind != TokenKind::kOperator) return std::nullopt;
  if (t.text == "==") return CompareOp::kEq;
  if (t.text == "!=") return CompareOp::kNe;
  if (t.text == "<") return CompareOp::kLt;
  if (t.text == "<=") return CompareOp::kLe;
  if (t.text == ">") return CompareOp::kGt;
  if (t.text == ">=") return CompareOp::kGe;
  return std::nullopt;
}

}  // namespace

Expr* Parser::operation(ExprKind kind, Expr* left, Expr* right, int line) {
  auto* e = make<OperatorExpr>(kind, left, right, line);
  under(e, left);
  under(e, right);
  return e;
}

Expr* Parser::parse_expression(bool with_condition) {
  const Nest nest(*this);
  const int line = current().line;
  Expr* e = parse_or();
  while (with_condition && skip_name("if")) {
    Expr* test = parse_or();
    Expr* otherwise = skip_name("else") ? parse_expression() : nullptr;
    auto* condition = make<ConditionExpr>(test, e, otherwise, line);
    under(condition, test);
    under(condition, e);
    under(condition, otherwise);
    e = condition;
  }
  return e;
}

bool Parser::is_tuple_end(std::string_view end_name) const {
  const Token& t = current();
  return t.kind == TokenKind::kVariableEnd || t.kind == TokenKind::kBlockEnd ||
         t.is_operator(")") || (!end_name.empty() && t.is_name(end_name));
}

Expr* Parser::parse_tuple(const TupleRules& rules) {
  const Nest nest(*this);
  const int line = current().line;
  Exprs items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect_operator(",");
    if (is_tuple_end(rules.end_name)) break;
    items.push_back(rules.is_simple ? parse_primary(rules.with_namespace)
                                    : parse_expression(rules.with_condition));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (!is_tuple && !rules.is_parenthesized) unexpected("an expression");
  auto* tuple = make<ListExpr>(ExprKind::kTuple, line);
  for (Expr* item : items) tuple->items.push_back(under(tuple, item));
  return tuple;
}

Expr* Parser::parse_or() {
  const int line = current().line;
  Expr* left = parse_and();
  while (skip_name("or")) left = operation(ExprKind::kOr, left, parse_and(), line);
  return left;
}

Expr* Parser::parse_and() {
  const int line = current().line;
  Expr* left = parse_not();
  while (skip_name("and")) left = operation(ExprKind::kAnd, left, parse_not(), line);
  return left;
}

Expr* Parser::parse_not() {
  const int line = current().line;
  if (!skip_name("not")) return parse_compare();
  const Nest nest(*this);
  return operation(ExprKind::kNot, parse_not(), nullptr, line);
}

Expr* Parser::parse_compare() {
  const int line = current().line;
  Expr* first = parse_sum();
  CompareExpr* compare = nullptr;
  while (true) {
    CompareOp op;
    if (const auto symbol = compare_operator(current())) {
      op = *symbol;
    } else if (current().is_name("in")) {
      op = CompareOp::kIn;
    } else if (current().is_name("not") && look().is_name("in")) {
      take();
      op = CompareOp::kNotIn;
    } else {
      return compare == nullptr ? first : compare;
    }
    take();
    if (compare == nullptr) {
      compare = make<CompareExpr>(first, line);
      under(compare, first);
    }
    compare->rest.push_back({op, under(compare, parse_sum())});
  }
}

Expr* Parser::parse_sum() {
  const int line = current().line;
  Expr* left = parse_concat();
  while (current().is_operator("+") || current().is_operator("-")) {
    const BinaryOp op = take().text == "+" ? BinaryOp::kAdd : BinaryOp::kSub;
    left = operation(ExprKind::kBinary, left, parse_concat(), line);
    static_cast<OperatorExpr*>(left)->op = op;
  }
  return left;
}

Expr* Parser::parse_concat() {
  const int line = current().line;
  Expr* first = parse_product();
  if (!current().is_operator("~")) return first;
  auto* concat = make<ListExpr>(ExprKind::kConcat, line);
  concat->items.push_back(under(concat, first));
  while (skip_operator("~")) concat->items.push_back(under(concat, parse_product()));
  return concat;
}

Expr* Parser::parse_product() {
  const int line = current().line;
  Expr* left = parse_power();
  while (true) {
    BinaryOp op;
    if (current().is_operator("*")) {
      op = BinaryOp::kMul;
    } else if (current().is_operator("/")) {
      op = BinaryOp::kDiv;
    } else if (current().is_operator("//")) {
      op = BinaryOp::kFloorDiv;
    } else if (current().is_operator("%")) {
      op = BinaryOp::kMod;
    } else {
      return left;
    }
    take();
    left = operation(ExprKind::kBinary, left, parse_power(), line);
    static_cast<OperatorExpr*>(left)->op = op;
  }
}

Expr* Parser::parse_power() {
  const int line = current().line;
  Expr* left = parse_unary();
  while (skip_operator("**")) {
    left = operation(ExprKind::kBinary, left, parse_unary(), line);
    static_cast<OperatorExpr*>(left)->op = BinaryOp::kPow;
  }
  return left;
}

Expr* Parser::parse_unary(bool with_filter) {
  const Nest nest(*this);
  const int line = current().line;
  Expr* e = nullptr;
  if (skip_operator("-")) {
    e = operation(ExprKind::kNegate, parse_unary(false), nullptr, line);
  } else if (skip_operator("+")) {
    e = operation(ExprKind::kPlus, parse_unary(false), nullptr, line);
  } else {
    e = parse_primary();
  }
  e = parse_postfix(e);
  return with_filter ? parse_filters(e) : e;
}

Expr* Parser::parse_primary(bool with_namespace) {
  const Token t = current();
  if (t.kind == TokenKind::kName) {
    take();
    if (t.text == "true" || t.text == "True") return make<ConstExpr>(Value::of_bool(true), t.line);
    if (t.text == "false" || t.text == "False") {
      return make<ConstExpr>(Value::of_bool(false), t.line);
    }
    if (t.text == "none" || t.text == "None") return make<ConstExpr>(Value::none(), t.line);
    if (with_namespace && skip_operator(".")) {
      return make<NamespaceRefExpr>(t.text, expect(TokenKind::kName).text, t.line);
    }
    return make<NameExpr>(t.text, t.line);
  }
  if (t.kind == TokenKind::kString) {
    take();
    if (current().kind != TokenKind::kString) return make<ConstExpr>(t.value, t.line);
    std::string& joined = program_.strings.emplace_back(t.value.text());
    while (current().kind == TokenKind::kString) joined += take().value.text();
    return make<ConstExpr>(Value::of_text(joined), t.line);
  }
  if (t.kind == TokenKind::kNumber) {
    take();
    return make<ConstExpr>(t.value, t.line);
  }
  if (skip_operator("(")) {
    Expr* e = parse_tuple({.is_parenthesized = true});
    expect_operator(")");
    return e;
  }
  if (t.is_operator("[")) return parse_list();
  if (t.is_operator("{")) return parse_dict();
  unexpected("an expression");
}

Expr* Parser::parse_list() {
  auto* list = make<ListExpr>(ExprKind::kList, take().line);
  while (!current().is_operator("]")) {
    if (!list->items.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    list->items.push_back(under(list, parse_expression()));
  }
  take();
  return list;
}

Expr* Parser::parse_dict() {
  auto* dict = make<ListExpr>(ExprKind::kDict, take().line);
  while (!current().is_operator("}")) {
    if (!dict->items.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    dict->items.push_back(under(dict, parse_expression()));
    expect_operator(":");
    dict->items.push_back(under(dict, parse_expression()));
  }
  take();
  return dict;
}

Expr* Parser::parse_postfix(Expr* e) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      e = parse_subscript(e);
    } else if (current().is_operator("(")) {
      e = parse_call(e);
    } else {
      return e;
    }
  }
}

Expr* Parser::parse_filters(Expr* e) {
  while (true) {
    if (skip_operator("|")) {
      e = parse_filter(e);
    } else if (current().is_name("is")) {
      e = parse_test(e);
    } else if (current().is_operator("(")) {
      e = parse_call(e);
    } else {
      return e;
    }
  }
}

Expr* Parser::parse_subscript(Expr* object) {
  const Token t = take();
  if (t.text == ".") {
    const Token name = take();
    if (name.kind == TokenKind::kName) {
      auto* e = make<AttributeExpr>(object, name.text, t.line);
      under(e, object);
      return e;
    }
    if (name.kind != TokenKind::kNumber || name.text != "integer") {
      error("expected name or number", name.line);
    }
    auto* e = make<ItemExpr>(object, make<ConstExpr>(name.value, name.line), t.line);
    under(e, object);
    return e;
  }
  Exprs keys;
  bool is_slice = false;
  Expr* slice = nullptr;
  while (!current().is_operator("]")) {
    if (!keys.empty()) expect_operator(",");
    Expr* key = parse_subscribed(object, is_slice);
    if (is_slice) slice = key;
    keys.push_back(key);
  }
  take();
  if (slice != nullptr) {
    if (keys.size() > 1) error("invalid syntax: a slice among several subscripts", t.line);
    return slice;
  }
  Expr* key = keys.size() == 1 ? keys[0] : nullptr;
  if (key == nullptr) {
    auto* tuple = make<ListExpr>(ExprKind::kTuple, t.line);
    for (Expr* k : keys) tuple->items.push_back(under(tuple, k));
    key = tuple;
  }
  auto* e = make<ItemExpr>(object, key, t.line);
  under(e, object);
  under(e, key);
  return e;
}

/// One subscript: an expression, or a slice of `object`.
Expr* Parser::parse_subscribed(Expr* object, bool& is_slice) {
  const int line = current().line;
  Expr* start = nullptr;
  if (!current().is_operator(":")) {
    start = parse_expression();
    if (!current().is_operator(":")) return start;
  }
  take();
  is_slice = true;
  auto* slice = make<SliceExpr>(line);
  slice->object = under(slice, object);
  slice->start = under(slice, start);
  const auto is_end = [&] { return current().is_operator("]") || current().is_operator(","); };
  if (!current().is_operator(":") && !is_end()) slice->stop = under(slice, parse_expression());
  if (skip_operator(":") && !is_end()) slice->step = under(slice, parse_expression());
  return slice;
}

Expr* Parser::parse_call(Expr* callee) {
  auto* call = make<CallExpr>(callee, current().line);
  under(call, callee);
  call->args = parse_arguments();
  adopt(call, call->args);
  return call;
}

Arguments Parser::parse_arguments() {
  const int line = current().line;
  expect_operator("(");
  Arguments args;
  const auto ensure = [&](bool is_valid) {
    if (!is_valid) error("invalid syntax for function call expression", line);
  };
  for (bool needs_comma = false; !current().is_operator(")"); needs_comma = true) {
    if (args.positional.size() + args.keywords.size() > kMaxArguments) {
      error("too many arguments", line);
    }
    if (needs_comma) {
      expect_operator(",");
      if (current().is_operator(")")) break;
    }
    if (skip_operator("*")) {
      ensure(args.star == nullptr && args.double_star == nullptr);
      args.star = parse_expression();
    } else if (skip_operator("**")) {
      ensure(args.double_star == nullptr);
      args.double_star = parse_expression();
    } else if (current().kind == TokenKind::kName && look().is_operator("=")) {
      ensure(args.double_star == nullptr);
      const std::string_view name = take().text;
      take();
      for (const auto& other : args.keywords) {
        if (other.name == name) error(fmt::format("keyword argument repeated: {}", name), line);
      }
      args.keywords.push_back({name, parse_expression()});
    } else {
      ensure(args.star == nullptr && args.double_star == nullptr && args.keywords.empty());
      args.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return args;
}

std::string Parser::parse_dotted_name() {
  std::string name(expect(TokenKind::kName).text);
  while (skip_operator(".")) {
    name += '.';
    name += expect(TokenKind::kName).text;
  }
  return name;
}

Expr* Parser::parse_filter(Expr* input) {
  const int line = current().line;
  auto* filter = make<FilterExpr>(input, parse_dotted_name(), line);
  filter->filter = find_filter(filter->name);
  under(filter, input);
  if (current().is_operator("(")) {
    filter->args = parse_arguments();
    adopt(filter, filter->args);
  }
  return filter;
}

Expr* Parser::parse_test(Expr* input) {
  const int line = take().line;
  const bool is_negated = skip_name("not");
  auto* test = make<TestExpr>(input, parse_dotted_name(), line);
  test->test = find_test(test->name);
  under(test, input);
  const Token& t = current();
  const bool is_argument =
      t.kind == TokenKind::kString || t.kind == TokenKind::kNumber || t.is_operator("[") ||
      t.is_operator("{") ||
      (t.kind == TokenKind::kName && t.text != "else" && t.text != "or" && t.text != "and");
  if (t.is_operator("(")) {
    test->args = parse_arguments();
  } else if (is_argument) {
    if (t.is_name("is")) error("You cannot chain multiple tests with is", t.line);
    test->args.positional.push_back(parse_postfix(parse_primary()));
  }
  adopt(test, test->args);
  return is_negated ? operation(ExprKind::kNot, test, nullptr, line) : test;
}

}  // namespace ramjet::text::chat

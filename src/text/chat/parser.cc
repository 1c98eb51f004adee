// Statements.
#include "text/chat/parser.h"

#include <algorithm>

#include "text/chat/globals.h"

namespace ramjet::text::chat {

void Parser::parse() {
  program_.body = parse_body({});
  if (current().kind != TokenKind::kEnd) unexpected("a statement");
}

void Parser::error(std::string_view message, int line) const {
  fail("{} (line {})", message, line);
}

void Parser::too_deep() const {
  error(fmt::format("template nests deeper than {} levels", kMaxNesting), current().line);
}

void Parser::unexpected(std::string_view expected) const {
  const Token& t = current();
  std::string got;
  switch (t.kind) {
    case TokenKind::kEnd: got = "end of template"; break;
    case TokenKind::kVariableEnd: got = "end of print statement"; break;
    case TokenKind::kBlockEnd: got = "end of statement block"; break;
    case TokenKind::kString: got = "a string"; break;
    case TokenKind::kNumber: got = "a number"; break;
    case TokenKind::kData: got = "template data"; break;
    default: got = fmt::format("'{}'", t.text);
  }
  std::string where;
  if (!open_tags_.empty()) where = fmt::format(" in tag '{}'", open_tags_.back());
  error(fmt::format("expected {}, got {}{}", expected, got, where), t.line);
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}
bool Parser::skip_operator(std::string_view op) {
  if (!current().is_operator(op)) return false;
  take();
  return true;
}
Token Parser::expect(TokenKind kind) {
  if (current().kind != kind) {
    unexpected(kind == TokenKind::kName          ? "a name"
               : kind == TokenKind::kVariableEnd ? "end of print statement"
                                                 : "end of statement block");
  }
  return take();
}
void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) unexpected(fmt::format("'{}'", op));
}
void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) unexpected(fmt::format("'{}'", name));
}

void Parser::set_depth(Node* node, int depth) {
  node->depth = depth;
  if (depth > kMaxDepth) {
    error(fmt::format("expression is deeper than {} levels", kMaxDepth), node->line);
  }
}

void Parser::adopt(Node* node, const Arguments& args) {
  for (Expr* e : args.positional) under(node, e);
  for (const auto& keyword : args.keywords) under(node, keyword.value);
  under(node, args.star);
  under(node, args.double_star);
}

/// Statements and text up to one of `end_tags`, whose name is then the current token.
Body Parser::parse_body(Names end_tags) {
  Body body;
  OutputStmt* output = nullptr;
  const auto add = [&](Expr* part) {
    if (output == nullptr) {
      output = make<OutputStmt>(part->line);
      body.push_back(output);
    }
    output->parts.push_back(under(output, part));
  };
  while (current().kind != TokenKind::kEnd) {
    const Token t = take();
    if (t.kind == TokenKind::kData) {
      add(make<ConstExpr>(Value::of_text(t.text), t.line));
    } else if (t.kind == TokenKind::kVariableBegin) {
      add(parse_tuple({}));
      expect(TokenKind::kVariableEnd);
    } else {
      output = nullptr;
      const auto is_current = [&](std::string_view tag) { return current().is_name(tag); };
      if (std::any_of(end_tags.begin(), end_tags.end(), is_current)) return body;
      body.push_back(parse_statement());
      expect(TokenKind::kBlockEnd);
    }
  }
  return body;
}

/// As parse_body, from the end of the opening tag; the end tag must come.
Body Parser::parse_block(Names end_tags) {
  skip_operator(":");
  expect(TokenKind::kBlockEnd);
  Body body = parse_body(end_tags);
  if (current().kind == TokenKind::kEnd) {
    std::string wanted;
    for (const auto tag : end_tags)
      wanted += (wanted.empty() ? "'" : " or '") + std::string(tag) + "'";
    error("Unexpected end of template. Jinja was looking for the following tags: " + wanted,
          current().line);
  }
  return body;
}

Stmt* Parser::parse_statement() {
  const Nest nest(*this);
  const Token tag = current();
  if (tag.kind != TokenKind::kName) error("tag name expected", tag.line);
  struct Handler {
    std::string_view tag;
    Stmt* (Parser::*parse)();
  };
  static constexpr Handler kHandlers[] = {{"for", &Parser::parse_for},
                                          {"if", &Parser::parse_if},
                                          {"set", &Parser::parse_set},
                                          {"macro", &Parser::parse_macro},
                                          {"call", &Parser::parse_call_block},
                                          {"filter", &Parser::parse_filter_block},
                                          {"with", &Parser::parse_with},
                                          {"autoescape", &Parser::parse_autoescape},
                                          {"generation", &Parser::parse_generation},
                                          {"block", &Parser::parse_named_block},
                                          {"include", &Parser::parse_loading},
                                          {"import", &Parser::parse_loading},
                                          {"from", &Parser::parse_loading},
                                          {"extends", &Parser::parse_loading},
                                          {"print", &Parser::parse_print}};
  open_tags_.push_back(tag.text);
  Stmt* stmt = nullptr;
  for (const Handler& handler : kHandlers) {
    if (handler.tag != tag.text) continue;
    take();
    stmt = (this->*handler.parse)();
  }
  if (stmt == nullptr && (tag.text == "break" || tag.text == "continue")) {
    take();
    stmt = make<Stmt>(tag.text == "break" ? StmtKind::kBreak : StmtKind::kContinue, tag.line);
  }
  open_tags_.pop_back();
  if (stmt != nullptr) return stmt;
  error(fmt::format("Encountered unknown tag '{}'.", tag.text), tag.line);
}

Stmt* Parser::parse_for() {
  auto* stmt = make<ForStmt>(current().line);
  const size_t target_at = at_;
  stmt->target = parse_target(false, "in");
  const size_t behind = at_;
  // The filter has a scope of its own, so it gets its own copy of the target.
  at_ = target_at;
  stmt->filter_target = parse_target(false, "in");
  at_ = behind;
  mark_target(stmt->target, NameUse::kStore);
  mark_target(stmt->filter_target, NameUse::kStore);
  expect_name("in");
  stmt->iterable = parse_tuple({.with_condition = false, .end_name = "recursive"});
  if (skip_name("if")) stmt->filter = parse_expression();
  stmt->is_recursive = skip_name("recursive");
  stmt->body = parse_block({"endfor", "else"});
  if (take().text == "else") {
    stmt->otherwise = parse_block({"endfor"});
    take();
  }
  return stmt;
}

Stmt* Parser::parse_if() {
  auto* stmt = make<IfStmt>(current().line);
  while (true) {
    Expr* test = parse_tuple({.with_condition = false});
    stmt->branches.push_back({test, parse_block({"elif", "else", "endif"})});
    const Token end = take();
    if (end.text == "elif") continue;
    if (end.text == "else") {
      stmt->branches.push_back({nullptr, parse_block({"endif"})});
      take();
    }
    return stmt;
  }
}

Stmt* Parser::parse_set() {
  const int line = current().line;
  Expr* target = parse_target(true);
  mark_target(target, NameUse::kStore);
  if (skip_operator("=")) {
    auto* stmt = make<SetStmt>(line);
    stmt->target = target;
    stmt->value = parse_tuple({});
    return stmt;
  }
  auto* stmt = make<BlockStmt>(StmtKind::kSetBlock, line);
  stmt->target = target;
  while (skip_operator("|")) stmt->filter = parse_filter(stmt->filter);
  stmt->body = parse_block({"endset"});
  take();
  return stmt;
}

void Parser::parse_signature(MacroNode& macro) {
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    NameExpr* parameter = parse_name_target(NameUse::kParameter);
    for (const NameExpr* other : macro.parameters) {
      if (other->name != parameter->name) continue;
      error(fmt::format("duplicate argument '{}'", parameter->name), parameter->line);
    }
    if (skip_operator("=")) {
      macro.defaults.push_back(parse_expression());
    } else if (!macro.defaults.empty()) {
      error("non-default argument follows default argument", parameter->line);
    }
    macro.parameters.push_back(parameter);
    if (macro.parameters.size() > kMaxArguments) error("too many arguments", parameter->line);
  }
  expect_operator(")");
}

Stmt* Parser::parse_macro() {
  auto* stmt = make<MacroStmt>(current().line);
  stmt->macro.name = parse_name_target(NameUse::kStore)->name;
  parse_signature(stmt->macro);
  stmt->macro.body = parse_block({"endmacro"});
  take();
  return stmt;
}

Stmt* Parser::parse_call_block() {
  auto* stmt = make<CallBlockStmt>(current().line);
  if (current().is_operator("(")) parse_signature(stmt->macro);
  Expr* call = parse_expression();
  if (call->kind != ExprKind::kCall) error("expected call", stmt->line);
  stmt->call = static_cast<CallExpr*>(call);
  stmt->macro.body = parse_block({"endcall"});
  take();
  return stmt;
}

Stmt* Parser::parse_generation() {
  auto* stmt = make<CallBlockStmt>(current().line);
  stmt->macro.body = parse_block({"endgeneration"});
  take();
  return stmt;
}

Stmt* Parser::parse_filter_block() {
  auto* stmt = make<BlockStmt>(StmtKind::kFilterBlock, current().line);
  stmt->filter = parse_filter(nullptr);
  while (skip_operator("|")) stmt->filter = parse_filter(stmt->filter);
  stmt->body = parse_block({"endfilter"});
  take();
  return stmt;
}

Stmt* Parser::parse_with() {
  auto* stmt = make<WithStmt>(current().line);
  while (current().kind != TokenKind::kBlockEnd) {
    if (!stmt->targets.empty()) expect_operator(",");
    Expr* target = parse_target(false);
    mark_target(target, NameUse::kParameter);
    stmt->targets.push_back(target);
    expect_operator("=");
    stmt->values.push_back(parse_expression());
  }
  stmt->body = parse_block({"endwith"});
  take();
  return stmt;
}

Stmt* Parser::parse_autoescape() {
  auto* stmt = make<BlockStmt>(StmtKind::kScope, current().line);
  const Expr* option = parse_expression();
  const bool is_off = option->kind == ExprKind::kConst &&
                      static_cast<const ConstExpr*>(option)->value.is(Kind::kBool) &&
                      !static_cast<const ConstExpr*>(option)->value.boolean;
  if (!is_off) {
    throw_error(
        ErrorCode::kUnsupported,
        fmt::format("autoescape is not supported: prompts are no HTML (line {})", stmt->line));
  }
  stmt->body = parse_block({"endautoescape"});
  take();
  return stmt;
}

/// A block that nothing overrides is a scope of its own.
Stmt* Parser::parse_named_block() {
  auto* stmt = make<BlockStmt>(StmtKind::kScope, current().line);
  const std::string_view name = expect(TokenKind::kName).text;
  if (std::find(block_names_.begin(), block_names_.end(), name) != block_names_.end()) {
    error(fmt::format("block '{}' defined twice", name), stmt->line);
  }
  block_names_.push_back(name);
  const bool is_scoped = skip_name("scoped");
  const auto hides = [](std::string_view tag) { return tag != "block" && tag != "if"; };
  if (!is_scoped && std::any_of(open_tags_.begin(), open_tags_.end(), hides)) {
    throw_error(ErrorCode::kUnsupported,
                fmt::format("block '{}' within another scope must be 'scoped' (line {})", name,
                            stmt->line));
  }
  stmt->body = parse_block({"endblock"});
  take();
  if (current().kind == TokenKind::kName) expect_name(name);
  return stmt;
}

/// include, import, from and extends are read in full and fail when they are reached, as in an
/// environment without a loader.
Stmt* Parser::parse_loading() {
  const std::string_view tag = open_tags_.back();
  const int line = current().line;
  parse_expression();
  const auto skip_context = [&] {
    if (skip_name("with") || skip_name("without")) expect_name("context");
  };
  if (tag == "include") {
    if (skip_name("ignore")) expect_name("missing");
  } else if (tag == "import") {
    expect_name("as");
    parse_name_target(NameUse::kStore);
  } else if (tag == "from") {
    expect_name("import");
    while (current().kind == TokenKind::kName && !current().is_name("with") &&
           !current().is_name("without")) {
      parse_name_target(NameUse::kStore);
      if (skip_name("as")) parse_name_target(NameUse::kStore);
      if (!skip_operator(",")) break;
    }
  }
  if (tag != "extends") skip_context();
  auto* call = make<CallExpr>(make<ConstExpr>(find_global("raise_exception"), line), line);
  call->args.positional.push_back(make<ConstExpr>(
      Value::of_text("no loader for this environment specified: a chat template stands alone"),
      line));
  auto* stmt = make<OutputStmt>(line);
  stmt->parts.push_back(under(stmt, call));
  return stmt;
}

Stmt* Parser::parse_print() {
  auto* stmt = make<OutputStmt>(current().line);
  while (current().kind != TokenKind::kBlockEnd) {
    if (!stmt->parts.empty()) expect_operator(",");
    stmt->parts.push_back(under(stmt, parse_expression()));
  }
  return stmt;
}

NameExpr* Parser::parse_name_target(NameUse use) {
  const Token t = expect(TokenKind::kName);
  for (const std::string_view name : {"true", "false", "none", "True", "False", "None"}) {
    if (name == t.text) error("can't assign to 'name'", t.line);
  }
  auto* name = make<NameExpr>(t.text, t.line);
  name->use = use;
  return name;
}

Expr* Parser::parse_target(bool with_namespace, std::string_view end_name) {
  return parse_tuple({.is_simple = true, .with_namespace = with_namespace, .end_name = end_name});
}

void Parser::mark_target(Expr* target, NameUse use) {
  switch (target->kind) {
    case ExprKind::kName: static_cast<NameExpr*>(target)->use = use; return;
    case ExprKind::kNamespaceRef: return;
    case ExprKind::kTuple:
      for (Expr* item : static_cast<ListExpr*>(target)->items) mark_target(item, use);
      return;
    default: error("can't assign to this expression", target->line);
  }
}

}  // namespace ramjet::text::chat

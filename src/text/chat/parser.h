// Parser: tokens to the syntax tree, by jinja2's grammar (with loopcontrols and generation).
//
// One per compilation. Throws RenderError naming the line. Depth of the tree is bounded.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat/ast.h"
#include "text/chat/lexer.h"

namespace ramjet::text::chat {

class Parser {
 public:
  static constexpr int kMaxNesting = 400;        // of brackets and blocks (a bracket counts thrice)
  static constexpr size_t kMaxArguments = 1000;  // of a call or a macro
  static constexpr int kMaxDepth = 1000;  // of the tree, which long chains of operators deepen

  explicit Parser(Program& program) : program_(program), tokens_(tokenize(program)) {}
  void parse();

 private:
  using Names = std::initializer_list<std::string_view>;

  // parser.cc: statements
  Body parse_body(Names end_tags);
  Body parse_block(Names end_tags);
  Stmt* parse_statement();
  Stmt* parse_for();
  Stmt* parse_if();
  Stmt* parse_set();
  Stmt* parse_macro();
  Stmt* parse_call_block();
  Stmt* parse_filter_block();
  Stmt* parse_with();
  Stmt* parse_autoescape();
  Stmt* parse_generation();
  Stmt* parse_named_block();
  Stmt* parse_loading();
  Stmt* parse_print();
  void parse_signature(MacroNode& macro);
  Expr* parse_target(bool with_namespace, std::string_view end_name = {});
  NameExpr* parse_name_target(NameUse use);
  void mark_target(Expr* target, NameUse use);

  // parser_expressions.cc
  Expr* parse_expression(bool with_condition = true);
  struct TupleRules {
    bool is_simple = false;  // names and literals only
    bool with_condition = true;
    bool with_namespace = false;
    bool is_parenthesized = false;
    std::string_view end_name = {};
  };
  Expr* parse_tuple(const TupleRules& rules);
  bool is_tuple_end(std::string_view end_name) const;
  Expr* parse_or();
  Expr* parse_and();
  Expr* parse_not();
  Expr* parse_compare();
  Expr* parse_sum();
  Expr* parse_concat();
  Expr* parse_product();
  Expr* parse_power();
  Expr* parse_unary(bool with_filter = true);
  Expr* parse_primary(bool with_namespace = false);
  Expr* parse_list();
  Expr* parse_dict();
  Expr* parse_postfix(Expr* e);
  Expr* parse_filters(Expr* e);
  Expr* parse_subscript(Expr* e);
  Expr* parse_subscribed(Expr* object, bool& is_slice);
  Expr* parse_call(Expr* callee);
  Arguments parse_arguments();
  Expr* parse_filter(Expr* input);
  Expr* parse_test(Expr* input);
  std::string parse_dotted_name();
  Expr* operation(ExprKind kind, Expr* left, Expr* right, int line);

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view op);
  Token expect(TokenKind kind);
  void expect_operator(std::string_view op);
  void expect_name(std::string_view name);
  [[noreturn]] void error(std::string_view message, int line) const;
  [[noreturn]] void unexpected(std::string_view expected) const;

  template <class T, class... Args>
  T* make(Args&&... args) {
    auto node = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = node.get();
    program_.nodes.push_back(std::move(node));
    return raw;
  }
  /// Records that `child` lies below `node`; throws when the tree gets too deep.
  template <class T>
  T* under(Node* node, T* child) {
    if (child != nullptr && child->depth >= node->depth) set_depth(node, child->depth + 1);
    return child;
  }
  void set_depth(Node* node, int depth);
  void adopt(Node* node, const Arguments& args);

  /// Counts nesting while it lives.
  class Nest {
   public:
    explicit Nest(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) parser_.too_deep();
    }
    ~Nest() { --parser_.nesting_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    Parser& parser_;
  };
  [[noreturn]] void too_deep() const;

  Program& program_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::vector<std::string_view> open_tags_;
  std::vector<std::string_view> block_names_;
};

}  // namespace ramjet::text::chat

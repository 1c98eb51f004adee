// Symbols: the names a frame knows, and the walk over its code that finds them.
//
// Used while a template is compiled, by one thread. Mirrors jinja2's idtracking.
#pragma once

#include <map>
#include <set>
#include <string_view>

#include "text/chat/ast.h"

namespace ramjet::text::chat {

/// What becomes one activation record: the template, a macro, a recursive loop.
struct FunctionScope {
  uint32_t depth = 0;  // functions around it
  uint32_t slot_count = 0;
  size_t* names_copied = nullptr;  // by the whole compilation, which it bounds

  static constexpr size_t kMaxNamesCopied = 500'000;
  void charge(size_t names);
};

class Symbols {
 public:
  Symbols(const Symbols* parent, FunctionScope* function) : parent_(parent), function_(function) {}

  void declare(std::string_view name);  // a parameter
  void store(std::string_view name);
  void load(std::string_view name);
  /// Joins what the branches of an if did, of which none may have run.
  void merge(const std::vector<Symbols>& branches);

  /// The variable of a name that was declared, stored or loaded here or in a frame around.
  VarRef find(std::string_view name) const;
  const Loads& loads() const { return loads_; }
  size_t size() const { return names_.size(); }
  FunctionScope* function() const { return function_; }

 private:
  struct Place {
    const FunctionScope* function;
    uint32_t slot;
  };
  const Place* place_of(std::string_view name) const;
  VarRef reference(const Place& place) const;
  void define(std::string_view name, Load load);
  Load& load_of(uint32_t slot);
  void add_load(const Load& load);

  const Symbols* parent_;
  FunctionScope* function_;
  std::map<std::string_view, Place> names_;
  std::set<std::string_view> stores_;
  Loads loads_;
  std::map<uint32_t, size_t> load_index_;  // slot to place in loads_
};

/// Tells a frame's Symbols what the frame's own code loads and stores. Does not look into inner
/// frames, only at what of them belongs to this one (a loop's iterable, a call block's call).
class SymbolVisitor {
 public:
  explicit SymbolVisitor(Symbols& symbols) : symbols_(&symbols) {}

  void body(const Body& stmts);
  void expression(const Expr* e);
  void parameters(const Expr* target);

 private:
  void statement(const Stmt* stmt);
  void branches(const IfStmt* stmt);
  void target(const Expr* e);

  Symbols* symbols_;
};

/// Which of caller, kwargs and varargs code reads before it assigns them, inner frames included.
class UndeclaredNames {
 public:
  explicit UndeclaredNames(const Body& body);
  bool contains(std::string_view name) const { return found_.count(name) != 0; }

 private:
  void visit(const Body& body);
  void visit(const Stmt* stmt);
  void visit(const Expr* e);
  void visit(const MacroNode& macro);
  void assign(std::string_view name) { open_.erase(name); }

  std::set<std::string_view> open_ = {"caller", "kwargs", "varargs"};
  std::set<std::string_view> found_;
};

/// Calls `visit` for each direct part of an expression.
template <class Visit>
void for_each_part(const Expr* e, Visit visit) {
  const auto maybe = [&](const Expr* part) {
    if (part != nullptr) visit(part);
  };
  const auto arguments = [&](const Arguments& args) {
    for (const Expr* part : args.positional) visit(part);
    for (const auto& keyword : args.keywords) visit(keyword.value);
    maybe(args.star);
    maybe(args.double_star);
  };
  switch (e->kind) {
    case ExprKind::kConst:
    case ExprKind::kName:
    case ExprKind::kNamespaceRef: return;
    case ExprKind::kTuple:
    case ExprKind::kList:
    case ExprKind::kDict:
    case ExprKind::kConcat:
      for (const Expr* part : static_cast<const ListExpr*>(e)->items) visit(part);
      return;
    case ExprKind::kAttribute: visit(static_cast<const AttributeExpr*>(e)->object); return;
    case ExprKind::kItem:
      visit(static_cast<const ItemExpr*>(e)->object);
      visit(static_cast<const ItemExpr*>(e)->key);
      return;
    case ExprKind::kSlice: {
      const auto* slice = static_cast<const SliceExpr*>(e);
      visit(slice->object);
      maybe(slice->start);
      maybe(slice->stop);
      maybe(slice->step);
      return;
    }
    case ExprKind::kCall:
      visit(static_cast<const CallExpr*>(e)->callee);
      arguments(static_cast<const CallExpr*>(e)->args);
      return;
    case ExprKind::kFilter:
      maybe(static_cast<const FilterExpr*>(e)->input);
      arguments(static_cast<const FilterExpr*>(e)->args);
      return;
    case ExprKind::kTest:
      visit(static_cast<const TestExpr*>(e)->input);
      arguments(static_cast<const TestExpr*>(e)->args);
      return;
    case ExprKind::kCompare:
      visit(static_cast<const CompareExpr*>(e)->first);
      for (const auto& operand : static_cast<const CompareExpr*>(e)->rest) visit(operand.value);
      return;
    case ExprKind::kCondition:
      visit(static_cast<const ConditionExpr*>(e)->test);
      visit(static_cast<const ConditionExpr*>(e)->then);
      maybe(static_cast<const ConditionExpr*>(e)->otherwise);
      return;
    default:
      visit(static_cast<const OperatorExpr*>(e)->left);
      maybe(static_cast<const OperatorExpr*>(e)->right);
  }
}

}  // namespace ramjet::text::chat

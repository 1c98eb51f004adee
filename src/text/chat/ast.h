// The syntax tree of a template, and Program: a compiled template that owns it.
//
// Immutable once compiled; shared by renderings on any thread. Nodes point at each other with raw
// pointers; the Program owns them all, so that destruction never recurses. Scopes are resolved when
// compiled: a variable is a slot of a function (the template, a macro, a recursive loop), found
// `hops` functions outwards, by the rules of jinja2's idtracking.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat/filters.h"
#include "text/chat/ops.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct VarRef {
  uint32_t hops = 0;
  uint32_t slot = 0;
};

struct Node {
  explicit Node(int l) : line(l) {}
  virtual ~Node() = default;
  int line;
  int depth = 1;  // of the tree below
};

enum class ExprKind : uint8_t {
  kConst,
  kName,
  kNamespaceRef,
  kTuple,
  kList,
  kDict,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kBinary,
  kNegate,
  kPlus,
  kNot,
  kAnd,
  kOr,
  kCompare,
  kConcat,
  kCondition,
};

struct Expr : Node {
  Expr(ExprKind k, int l) : Node(l), kind(k) {}
  ExprKind kind;
};
using Exprs = std::vector<Expr*>;

struct ConstExpr : Expr {
  ConstExpr(Value v, int l) : Expr(ExprKind::kConst, l), value(v) {}
  Value value;
};
enum class NameUse : uint8_t { kLoad, kStore, kParameter };
struct NameExpr : Expr {
  NameExpr(std::string_view n, int l) : Expr(ExprKind::kName, l), name(n) {}
  std::string_view name;
  NameUse use = NameUse::kLoad;
  VarRef ref;
};
/// `ns.attribute` as the target of an assignment.
struct NamespaceRefExpr : Expr {
  NamespaceRefExpr(std::string_view n, std::string_view a, int l)
      : Expr(ExprKind::kNamespaceRef, l), name(n), attribute(a) {}
  std::string_view name;
  std::string_view attribute;
  VarRef ref;
};
/// A tuple, a list, a concatenation; for a dict key, value, key, value.
struct ListExpr : Expr {
  using Expr::Expr;
  Exprs items;
};
struct AttributeExpr : Expr {
  AttributeExpr(Expr* o, std::string_view n, int l)
      : Expr(ExprKind::kAttribute, l), object(o), name(n) {}
  Expr* object;
  std::string_view name;
};
struct ItemExpr : Expr {
  ItemExpr(Expr* o, Expr* k, int l) : Expr(ExprKind::kItem, l), object(o), key(k) {}
  Expr* object;
  Expr* key;
};
struct SliceExpr : Expr {
  explicit SliceExpr(int l) : Expr(ExprKind::kSlice, l) {}
  Expr* object = nullptr;
  Expr* start = nullptr;
  Expr* stop = nullptr;
  Expr* step = nullptr;
};

struct Arguments {
  struct Named {
    std::string_view name;
    Expr* value;
  };
  Exprs positional;
  std::vector<Named> keywords;
  Expr* star = nullptr;
  Expr* double_star = nullptr;
};
struct CallExpr : Expr {
  CallExpr(Expr* c, int l) : Expr(ExprKind::kCall, l), callee(c) {}
  Expr* callee;
  Arguments args;
};
struct FilterExpr : Expr {
  FilterExpr(Expr* in, std::string n, int l)
      : Expr(ExprKind::kFilter, l), input(in), name(std::move(n)) {}
  Expr* input;  // null at the head of a filter block
  std::string name;
  FilterFn filter = nullptr;  // null: unknown, an error when it is reached
  Arguments args;
};
struct TestExpr : Expr {
  TestExpr(Expr* in, std::string n, int l)
      : Expr(ExprKind::kTest, l), input(in), name(std::move(n)) {}
  Expr* input;
  std::string name;
  TestFn test = nullptr;
  Arguments args;
};
/// kBinary, kAnd, kOr; for kNegate, kPlus and kNot only `left`.
struct OperatorExpr : Expr {
  OperatorExpr(ExprKind k, Expr* a, Expr* b, int l) : Expr(k, l), left(a), right(b) {}
  Expr* left;
  Expr* right;
  BinaryOp op = BinaryOp::kAdd;
};
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };
struct CompareExpr : Expr {
  struct Operand {
    CompareOp op;
    Expr* value;
  };
  CompareExpr(Expr* f, int l) : Expr(ExprKind::kCompare, l), first(f) {}
  Expr* first;
  std::vector<Operand> rest;
};
struct ConditionExpr : Expr {
  ConditionExpr(Expr* t, Expr* a, Expr* b, int l)
      : Expr(ExprKind::kCondition, l), test(t), then(a), otherwise(b) {}
  Expr* test;
  Expr* then;
  Expr* otherwise;  // null: undefined
};

/// What happens to the variables of a frame when it is entered.
struct Load {
  enum class Kind : uint8_t { kParameter, kResolve, kAlias, kUnset };
  uint32_t slot;
  Kind kind;
  uint32_t name = 0;  // of kResolve: index into Program::context_names
  VarRef outer;       // of kAlias
  std::string_view variable;
};
using Loads = std::vector<Load>;

enum class StmtKind : uint8_t {
  kOutput,
  kFor,
  kIf,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue,
};
struct Stmt : Node {
  Stmt(StmtKind k, int l) : Node(l), kind(k) {}
  StmtKind kind;
};
using Body = std::vector<Stmt*>;

struct OutputStmt : Stmt {
  explicit OutputStmt(int l) : Stmt(StmtKind::kOutput, l) {}
  Exprs parts;
};
struct ForStmt : Stmt {
  explicit ForStmt(int l) : Stmt(StmtKind::kFor, l) {}
  Expr* target = nullptr;
  Expr* filter_target = nullptr;  // the target again, in the scope of the filter
  Expr* iterable = nullptr;
  Expr* filter = nullptr;
  bool is_recursive = false;
  Body body;
  Body otherwise;
  Loads loads;
  Loads filter_loads;
  Loads otherwise_loads;
  VarRef loop;
  bool has_loop = false;    // `loop` is read in the body
  uint32_t slot_count = 0;  // of the function, if recursive
};
struct IfStmt : Stmt {
  struct Branch {
    Expr* test;  // null for else
    Body body;
  };
  explicit IfStmt(int l) : Stmt(StmtKind::kIf, l) {}
  std::vector<Branch> branches;
};
struct SetStmt : Stmt {
  explicit SetStmt(int l) : Stmt(StmtKind::kSet, l) {}
  Expr* target = nullptr;
  Expr* value = nullptr;
};
/// kSetBlock, kFilterBlock, kScope.
struct BlockStmt : Stmt {
  using Stmt::Stmt;
  Expr* target = nullptr;
  Expr* filter = nullptr;  // applied to what the body rendered; the innermost has a null input
  Body body;
  Loads loads;
};
struct MacroNode {
  std::string_view name;
  std::vector<NameExpr*> parameters;
  Exprs defaults;  // of the last parameters
  Body body;
  Loads loads;
  uint32_t slot_count = 0;
  bool takes_caller = false;  // the body mentions these names
  bool takes_keywords = false;
  bool takes_varargs = false;
  VarRef caller;
  VarRef keywords;
  VarRef varargs;
  bool has_explicit_caller = false;
};
struct MacroStmt : Stmt {
  explicit MacroStmt(int l) : Stmt(StmtKind::kMacro, l) {}
  MacroNode macro;
  VarRef ref;
};
struct CallBlockStmt : Stmt {
  explicit CallBlockStmt(int l) : Stmt(StmtKind::kCallBlock, l) {}
  MacroNode macro;
  CallExpr* call = nullptr;  // null for a generation block
};
struct WithStmt : Stmt {
  explicit WithStmt(int l) : Stmt(StmtKind::kWith, l) {}
  Exprs targets;
  Exprs values;
  Body body;
  Loads loads;
};

struct Program {
  std::string source;      // as given
  std::string normalized;  // with \n line ends, which the tokens point into
  std::deque<std::string> strings;
  std::deque<Int> big_integers;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::string_view> context_names;
  Body body;
  Loads loads;
  uint32_t slot_count = 0;
};

}  // namespace ramjet::text::chat

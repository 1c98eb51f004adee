#include "text/chat/scope.h"

#include "text/chat/symbols.h"

namespace ramjet::text::chat {
namespace {

/// Visits code in the order of jinja2's code generator, giving names their slots.
class Resolver {
 public:
  explicit Resolver(Program& program) : program_(program) {}

  void run() {
    FunctionScope root;
    root.names_copied = &names_copied_;
    Frame frame(nullptr, &root);
    SymbolVisitor(frame.symbols).body(program_.body);
    body(program_.body, frame);
    program_.loads = loads_of(frame);
    program_.slot_count = root.slot_count;
  }

 private:
  struct Frame {
    Frame(const Symbols* parent, FunctionScope* function) : symbols(parent, function) {}
    Symbols symbols;
    bool is_soft = false;  // in an if: unknown filters fail when reached
    int loop_depth = 0;    // loops of this function around the frame
    int assign_depth = 0;  // loops around, of any function
  };

  static Frame inner(const Frame& outer) {
    Frame frame(&outer.symbols, outer.symbols.function());
    frame.loop_depth = outer.loop_depth;
    frame.assign_depth = outer.assign_depth;
    return frame;
  }

  Loads loads_of(const Frame& frame) {
    Loads loads = frame.symbols.loads();
    for (Load& load : loads) {
      if (load.kind != Load::Kind::kResolve) continue;
      load.name = context_name(load.variable);
    }
    return loads;
  }

  uint32_t context_name(std::string_view name) {
    auto& names = program_.context_names;
    const auto [it, is_new] = name_index_.try_emplace(name, static_cast<uint32_t>(names.size()));
    if (is_new) names.push_back(name);
    return it->second;
  }

  void body(const Body& stmts, Frame& frame) {
    for (Stmt* stmt : stmts) statement(stmt, frame);
  }

  void statement(Stmt* stmt, Frame& frame) {
    switch (stmt->kind) {
      case StmtKind::kOutput: expressions(static_cast<OutputStmt*>(stmt)->parts, frame); return;
      case StmtKind::kFor: loop(static_cast<ForStmt*>(stmt), frame); return;
      case StmtKind::kIf: branches(static_cast<IfStmt*>(stmt), frame); return;
      case StmtKind::kSet:
        expression(static_cast<SetStmt*>(stmt)->target, frame);
        expression(static_cast<SetStmt*>(stmt)->value, frame);
        return;
      case StmtKind::kSetBlock:
      case StmtKind::kFilterBlock:
      case StmtKind::kScope: block(static_cast<BlockStmt*>(stmt), frame); return;
      case StmtKind::kMacro: {
        auto* macro = static_cast<MacroStmt*>(stmt);
        check_target(macro->macro.name, macro->line, frame);
        macro->ref = frame.symbols.find(macro->macro.name);
        function(macro->macro, frame, macro->line);
        return;
      }
      case StmtKind::kCallBlock: {
        auto* call = static_cast<CallBlockStmt*>(stmt);
        function(call->macro, frame, call->line);
        if (call->call != nullptr) expression(call->call, frame);
        return;
      }
      case StmtKind::kWith: with(static_cast<WithStmt*>(stmt), frame); return;
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (frame.loop_depth == 0) fail("'break' or 'continue' outside loop (line {})", stmt->line);
        return;
    }
  }

  void branches(IfStmt* stmt, Frame& frame) {
    const bool was_soft = frame.is_soft;
    frame.is_soft = true;
    for (auto& branch : stmt->branches) {
      if (branch.test != nullptr) expression(branch.test, frame);
      body(branch.body, frame);
    }
    frame.is_soft = was_soft;
  }

  void loop(ForStmt* stmt, Frame& frame) {
    expression(stmt->iterable, frame);
    if (stmt->filter != nullptr) {
      Frame test = inner(frame);
      SymbolVisitor visitor(test.symbols);
      visitor.parameters(stmt->filter_target);
      visitor.expression(stmt->filter);
      expression(stmt->filter_target, test);
      expression(stmt->filter, test);
      stmt->filter_loads = loads_of(test);
    }
    FunctionScope own;
    own.depth = frame.symbols.function()->depth + 1;
    own.names_copied = &names_copied_;
    FunctionScope* function = stmt->is_recursive ? &own : frame.symbols.function();
    Frame loop_frame(&frame.symbols, function);
    loop_frame.assign_depth = frame.assign_depth + 1;
    loop_frame.loop_depth = stmt->is_recursive ? 1 : frame.loop_depth + 1;
    loop_frame.symbols.declare("loop");
    SymbolVisitor visitor(loop_frame.symbols);
    visitor.parameters(stmt->target);
    visitor.body(stmt->body);
    expression(stmt->target, loop_frame);
    const uint64_t before = loop_reads_;
    body(stmt->body, loop_frame);
    stmt->has_loop = loop_reads_ != before || stmt->is_recursive;
    stmt->loop = loop_frame.symbols.find("loop");
    stmt->loads = loads_of(loop_frame);
    if (!stmt->otherwise.empty()) {
      Frame else_frame(&frame.symbols, function);
      else_frame.assign_depth = frame.assign_depth + 1;
      else_frame.loop_depth = stmt->is_recursive ? 0 : frame.loop_depth;
      SymbolVisitor(else_frame.symbols).body(stmt->otherwise);
      body(stmt->otherwise, else_frame);
      stmt->otherwise_loads = loads_of(else_frame);
    }
    stmt->slot_count = own.slot_count;
  }

  void block(BlockStmt* stmt, Frame& frame) {
    Frame own = inner(frame);
    SymbolVisitor visitor(own.symbols);
    visitor.body(stmt->body);
    if (stmt->filter != nullptr) visitor.expression(stmt->filter);
    body(stmt->body, own);
    if (stmt->target != nullptr) expression(stmt->target, frame);
    if (stmt->filter != nullptr) expression(stmt->filter, own);
    stmt->loads = loads_of(own);
  }

  void with(WithStmt* stmt, Frame& frame) {
    Frame own = inner(frame);
    SymbolVisitor visitor(own.symbols);
    for (Expr* target : stmt->targets) visitor.parameters(target);
    visitor.body(stmt->body);
    for (size_t i = 0; i < stmt->targets.size(); ++i) {
      expression(stmt->targets[i], own);
      expression(stmt->values[i], frame);
    }
    body(stmt->body, own);
    stmt->loads = loads_of(own);
  }

  void function(MacroNode& macro, Frame& outer, int line) {
    FunctionScope own;
    own.depth = outer.symbols.function()->depth + 1;
    own.names_copied = &names_copied_;
    Frame frame(&outer.symbols, &own);
    frame.assign_depth = outer.assign_depth;
    for (NameExpr* parameter : macro.parameters) frame.symbols.declare(parameter->name);
    SymbolVisitor visitor(frame.symbols);
    for (Expr* value : macro.defaults) visitor.expression(value);
    visitor.body(macro.body);
    special_parameters(macro, frame, line);
    for (NameExpr* parameter : macro.parameters) {
      parameter->ref = frame.symbols.find(parameter->name);
    }
    expressions(macro.defaults, frame);
    body(macro.body, frame);
    macro.loads = loads_of(frame);
    macro.slot_count = own.slot_count;
  }

  /// caller, kwargs and varargs exist in a macro whose body reads them.
  void special_parameters(MacroNode& macro, Frame& frame, int line) {
    const UndeclaredNames names(macro.body);
    const auto parameter_index = [&](std::string_view name) {
      for (size_t i = 0; i < macro.parameters.size(); ++i) {
        if (macro.parameters[i]->name == name) return i;
      }
      return macro.parameters.size();
    };
    const size_t count = macro.parameters.size();
    const size_t caller = parameter_index("caller");
    macro.has_explicit_caller = caller < count;
    if (names.contains("caller")) {
      macro.takes_caller = true;
      if (caller < count) {
        if (caller < count - macro.defaults.size()) {
          fail(
              "When defining macros or call blocks the special \"caller\" argument must be "
              "omitted or be given a default. (line {})",
              line);
        }
      } else {
        frame.symbols.declare("caller");
      }
      macro.caller = frame.symbols.find("caller");
    }
    if (names.contains("kwargs") && parameter_index("kwargs") == count) {
      macro.takes_keywords = true;
      frame.symbols.declare("kwargs");
      macro.keywords = frame.symbols.find("kwargs");
    }
    if (names.contains("varargs") && parameter_index("varargs") == count) {
      macro.takes_varargs = true;
      frame.symbols.declare("varargs");
      macro.varargs = frame.symbols.find("varargs");
    }
  }

  void expressions(const Exprs& list, Frame& frame) {
    for (Expr* e : list) expression(e, frame);
  }

  void check_target(std::string_view name, int line, const Frame& frame) const {
    if (name != "loop" || frame.assign_depth == 0) return;
    fail("Can't assign to special loop variable in for-loop target (line {})", line);
  }

  void arguments(const Arguments& args, Frame& frame) {
    expressions(args.positional, frame);
    for (const auto& keyword : args.keywords) expression(keyword.value, frame);
    if (args.star != nullptr) expression(args.star, frame);
    if (args.double_star != nullptr) expression(args.double_star, frame);
  }

  void unknown(std::string_view what, std::string_view name, int line, const Frame& frame) const {
    if (!frame.is_soft) fail("No {} named '{}'. (line {})", what, name, line);
  }

  void expression(Expr* e, Frame& frame) {
    switch (e->kind) {
      case ExprKind::kConst: return;
      case ExprKind::kName: {
        auto* name = static_cast<NameExpr*>(e);
        if (name->use == NameUse::kStore) check_target(name->name, name->line, frame);
        if (name->name == "loop") ++loop_reads_;
        name->ref = frame.symbols.find(name->name);
        return;
      }
      case ExprKind::kNamespaceRef: {
        auto* ref = static_cast<NamespaceRefExpr*>(e);
        ref->ref = frame.symbols.find(ref->name);
        return;
      }
      case ExprKind::kTuple:
      case ExprKind::kList:
      case ExprKind::kDict:
      case ExprKind::kConcat: expressions(static_cast<ListExpr*>(e)->items, frame); return;
      case ExprKind::kAttribute: expression(static_cast<AttributeExpr*>(e)->object, frame); return;
      case ExprKind::kItem:
        expression(static_cast<ItemExpr*>(e)->object, frame);
        expression(static_cast<ItemExpr*>(e)->key, frame);
        return;
      case ExprKind::kSlice: {
        auto* slice = static_cast<SliceExpr*>(e);
        for (Expr* part : {slice->object, slice->start, slice->stop, slice->step}) {
          if (part != nullptr) expression(part, frame);
        }
        return;
      }
      case ExprKind::kCall:
        expression(static_cast<CallExpr*>(e)->callee, frame);
        arguments(static_cast<CallExpr*>(e)->args, frame);
        return;
      case ExprKind::kFilter: {
        auto* filter = static_cast<FilterExpr*>(e);
        if (filter->filter == nullptr) unknown("filter", filter->name, filter->line, frame);
        if (filter->input != nullptr) expression(filter->input, frame);
        arguments(filter->args, frame);
        return;
      }
      case ExprKind::kTest: {
        auto* test = static_cast<TestExpr*>(e);
        if (test->test == nullptr) unknown("test", test->name, test->line, frame);
        expression(test->input, frame);
        arguments(test->args, frame);
        return;
      }
      case ExprKind::kCompare:
        expression(static_cast<CompareExpr*>(e)->first, frame);
        for (auto& operand : static_cast<CompareExpr*>(e)->rest) expression(operand.value, frame);
        return;
      case ExprKind::kCondition: condition(static_cast<ConditionExpr*>(e), frame); return;
      default:
        expression(static_cast<OperatorExpr*>(e)->left, frame);
        if (Expr* right = static_cast<OperatorExpr*>(e)->right) expression(right, frame);
    }
  }

  void condition(ConditionExpr* e, Frame& frame) {
    const bool was_soft = frame.is_soft;
    frame.is_soft = true;
    expression(e->test, frame);
    expression(e->then, frame);
    if (e->otherwise != nullptr) expression(e->otherwise, frame);
    frame.is_soft = was_soft;
  }

  Program& program_;
  std::map<std::string_view, uint32_t> name_index_;
  uint64_t loop_reads_ = 0;
  size_t names_copied_ = 0;
};

}  // namespace

void resolve_scopes(Program& program) { Resolver(program).run(); }

}  // namespace ramjet::text::chat

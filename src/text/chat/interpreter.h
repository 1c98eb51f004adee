// Interpreter: renders one Program once.
//
// One thread, one rendering; borrows the Program, the Runtime and the context. Throws RenderError.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/chat/ast.h"
#include "text/chat/attributes.h"
#include "text/chat/call_args.h"
#include "text/chat/loop.h"
#include "text/chat/macro.h"

namespace ramjet::text::chat {

/// What a recursive loop needs to render itself again: `loop(items)`.
struct Recursion {
  const ForStmt* loop;
  Activation* closure;
};

class Interpreter {
 public:
  /// `context` is a dict, whose members are the template's variables.
  Interpreter(const Program& program, Runtime& rt, const Value& context);
  std::string render();
  /// The line of the statement that ran last, for messages.
  int line() const { return line_; }

 private:
  friend class LoopFilterIterator;
  enum class Flow { kNext, kBreak, kContinue };

  // interpreter.cc: statements
  Flow run(const Body& body);
  Flow run(const Stmt& stmt);
  void run_output(const OutputStmt& stmt);
  Flow run_for(const ForStmt& stmt);
  Flow run_loop(const ForStmt& stmt, Iterator* items, const Value& source, int64_t depth0);
  Flow run_if(const IfStmt& stmt);
  Flow run_with(const WithStmt& stmt);
  Flow run_block(const BlockStmt& stmt);
  void run_call_block(const CallBlockStmt& stmt);
  Iterator* loop_items(const ForStmt& stmt, const Value& source, Activation* scope);
  std::string render_recursive(const Recursion& recursion, const Value& items, int64_t depth0);

  void assign(const Expr& target, const Value& value);
  void unpack(const ListExpr& targets, const Value& value);
  void check_namespaces(const Expr& target);
  void enter(const Loads& loads);
  void leave(const Loads& loads);
  Value context_value(uint32_t name);
  Value lookup_context(std::string_view name);
  Value& variable(const VarRef& ref);
  void emit(std::string_view text);
  void emit_text(const Value& v);

  // interpreter_calls.cc
  Value call(const Value& callee, const CallArgs& args);
  Value call_macro(const Macro& macro, const CallArgs& args);
  void bind_macro(const Macro& macro, const CallArgs& args);
  Value make_macro(const MacroNode& node);
  struct EvaluatedArgs {
    std::vector<Value> positional;
    std::vector<Keyword> keywords;
    CallArgs view() const { return {positional, keywords}; }
  };
  EvaluatedArgs evaluate(const Arguments& args);
  Value eval_call(const CallExpr& e, const Value* caller);

  // interpreter_expressions.cc
  Value eval(const Expr& e);
  bool eval_truth(const Expr& e) { return truthy(rt_, eval(e)); }
  Value eval_name(const NameExpr& e);
  Value eval_list(const ListExpr& e);
  Value eval_dict(const ListExpr& e);
  Value eval_slice(const SliceExpr& e);
  Value eval_filter(const FilterExpr& e, const Value* input);
  Value eval_test(const TestExpr& e);
  Value eval_compare(const CompareExpr& e);
  Value eval_concat(const ListExpr& e);
  Value eval_condition(const ConditionExpr& e);

  /// Collects output while it lives.
  class Capture {
   public:
    explicit Capture(Interpreter& owner) : owner_(owner), outer_(owner.out_) {
      owner.out_ = &text_;
    }
    ~Capture() { owner_.out_ = outer_; }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    std::string& text() { return text_; }

   private:
    Interpreter& owner_;
    std::string* outer_;
    std::string text_;
  };
  /// Makes another activation current while it lives.
  class Scope {
   public:
    Scope(Interpreter& owner, Activation* activation) : owner_(owner), outer_(owner.activation_) {
      owner.activation_ = activation;
    }
    ~Scope() { owner_.activation_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interpreter& owner_;
    Activation* outer_;
  };
  /// Counts a nested call while it lives.
  class Depth {
   public:
    explicit Depth(Runtime& rt) : rt_(rt) { rt.enter_call(); }
    ~Depth() { rt_.leave_call(); }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Runtime& rt_;
  };

  const Program& program_;
  Runtime& rt_;
  Value context_;
  std::vector<Value> context_values_;  // by index of Program::context_names
  std::vector<bool> is_context_known_;
  Activation* activation_ = nullptr;
  std::string* out_ = nullptr;
  int line_ = 1;
};

}  // namespace ramjet::text::chat

// Statements and variables.
#include "text/chat/interpreter.h"

#include "text/chat/globals.h"

namespace ramjet::text::chat {

/// The items of a loop that pass its `if`. Runs in the scope around the loop.
class LoopFilterIterator final : public Iterator {
 public:
  LoopFilterIterator(Interpreter& owner, const ForStmt& stmt, Activation* scope, Iterator* items)
      : owner_(owner), stmt_(stmt), scope_(scope), items_(items) {}
  bool next(Value* out) override {
    owner_.rt_.check_stack();
    const Interpreter::Scope scope(owner_, scope_);
    if (!is_entered_) owner_.enter(stmt_.filter_loads);
    is_entered_ = true;
    while (items_->next(out)) {
      owner_.rt_.charge();
      owner_.assign(*stmt_.filter_target, *out);
      if (owner_.eval_truth(*stmt_.filter)) return true;
    }
    return false;
  }

 private:
  Interpreter& owner_;
  const ForStmt& stmt_;
  Activation* scope_;
  Iterator* items_;
  bool is_entered_ = false;
};

Interpreter::Interpreter(const Program& program, Runtime& rt, const Value& context)
    : program_(program),
      rt_(rt),
      context_(context),
      context_values_(program.context_names.size()),
      is_context_known_(program.context_names.size()) {}

std::string Interpreter::render() {
  std::string out;
  out_ = &out;
  activation_ = rt_.make<Activation>(nullptr, rt_.allocate_values(program_.slot_count));
  enter(program_.loads);
  run(program_.body);
  return out;
}

void Interpreter::emit(std::string_view text) {
  if (out_->size() + text.size() > rt_.options().limits.max_output_bytes) {
    throw_error(ErrorCode::kResourceExhausted,
                fmt::format("template renders more than {} bytes; shorten the chat or raise "
                            "RenderLimits::max_output_bytes",
                            rt_.options().limits.max_output_bytes));
  }
  rt_.charge_bytes(text.size());
  *out_ += text;
}

/// What filter and call blocks made: jinja2 does not turn it into text.
void Interpreter::emit_text(const Value& v) {
  if (!v.is_string()) fail("sequence item: expected str instance, {} found", type_name(v));
  emit(v.text());
}

Value& Interpreter::variable(const VarRef& ref) {
  Activation* a = activation_;
  for (uint32_t i = 0; i < ref.hops; ++i) a = a->parent;
  return a->slots[ref.slot];
}

Value Interpreter::lookup_context(std::string_view name) {
  if (const Value* found = dict_find(*context_.dict, name)) return *found;
  return find_global(name);
}

Value Interpreter::context_value(uint32_t name) {
  if (!is_context_known_[name]) {
    context_values_[name] = lookup_context(program_.context_names[name]);
    is_context_known_[name] = true;
  }
  return context_values_[name];
}

void Interpreter::enter(const Loads& loads) {
  for (const Load& load : loads) {
    switch (load.kind) {
      case Load::Kind::kParameter: break;
      case Load::Kind::kResolve: activation_->slots[load.slot] = context_value(load.name); break;
      case Load::Kind::kAlias: activation_->slots[load.slot] = variable(load.outer); break;
      case Load::Kind::kUnset: activation_->slots[load.slot] = Value(); break;
    }
  }
}

void Interpreter::leave(const Loads& loads) {
  for (const Load& load : loads) activation_->slots[load.slot] = Value();
}

Interpreter::Flow Interpreter::run(const Body& body) {
  for (const Stmt* stmt : body) {
    if (const Flow flow = run(*stmt); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Stmt& stmt) {
  rt_.charge();
  rt_.check_stack();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kOutput: run_output(static_cast<const OutputStmt&>(stmt)); break;
    case StmtKind::kFor: return run_for(static_cast<const ForStmt&>(stmt));
    case StmtKind::kIf: return run_if(static_cast<const IfStmt&>(stmt));
    case StmtKind::kSet: {
      const auto& set = static_cast<const SetStmt&>(stmt);
      check_namespaces(*set.target);
      assign(*set.target, eval(*set.value));
      break;
    }
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
    case StmtKind::kScope: return run_block(static_cast<const BlockStmt&>(stmt));
    case StmtKind::kMacro: {
      const auto& macro = static_cast<const MacroStmt&>(stmt);
      variable(macro.ref) = make_macro(macro.macro);
      break;
    }
    case StmtKind::kCallBlock: run_call_block(static_cast<const CallBlockStmt&>(stmt)); break;
    case StmtKind::kWith: return run_with(static_cast<const WithStmt&>(stmt));
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::run_output(const OutputStmt& stmt) {
  for (const Expr* part : stmt.parts) {
    line_ = part->line;
    const Value v = eval(*part);
    if (v.is_string()) {
      emit(v.text());
    } else {
      std::string text;
      append_str(rt_, text, v);
      emit(text);
    }
  }
}

Interpreter::Flow Interpreter::run_if(const IfStmt& stmt) {
  for (const auto& branch : stmt.branches) {
    if (branch.test == nullptr || eval_truth(*branch.test)) return run(branch.body);
  }
  return Flow::kNext;
}

Iterator* Interpreter::loop_items(const ForStmt& stmt, const Value& source, Activation* scope) {
  Iterator* items = iterate(rt_, source);
  if (stmt.filter == nullptr) return items;
  return new (rt_.allocate(sizeof(LoopFilterIterator)))
      LoopFilterIterator(*this, stmt, scope, items);
}

Interpreter::Flow Interpreter::run_for(const ForStmt& stmt) {
  const Value source = eval(*stmt.iterable);
  if (stmt.is_recursive) {
    const auto* recursion = rt_.make<Recursion>(&stmt, activation_);
    emit(render_recursive(*recursion, source, 0));
    return Flow::kNext;
  }
  return run_loop(stmt, loop_items(stmt, source, activation_), source, 0);
}

std::string Interpreter::render_recursive(const Recursion& recursion, const Value& source,
                                          int64_t depth0) {
  const Depth depth(rt_);
  const ForStmt& stmt = *recursion.loop;
  Iterator* items = loop_items(stmt, source, recursion.closure);
  Value* slots = rt_.allocate_values(stmt.slot_count);
  const Scope scope(*this, rt_.make<Activation>(recursion.closure, slots));
  Capture capture(*this);
  run_loop(stmt, items, source, depth0);
  return std::move(capture.text());
}

Interpreter::Flow Interpreter::run_loop(const ForStmt& stmt, Iterator* items, const Value& source,
                                        int64_t depth0) {
  Loop* loop = rt_.make<Loop>();
  loop->iterator = items;
  loop->source = stmt.filter == nullptr ? source : rt_.iterator(items);
  loop->depth0 = depth0;
  if (stmt.is_recursive) {
    loop->recursion = rt_.make<Recursion>(&stmt, activation_->parent);
  }
  const Value loop_value = Value::of_object(Kind::kLoop, loop);
  bool is_empty = true;
  Value item;
  while (stmt.has_loop ? loop_next(*loop, &item) : items->next(&item)) {
    rt_.charge();
    assign(*stmt.target, item);
    if (stmt.has_loop) variable(stmt.loop) = loop_value;
    enter(stmt.loads);
    const Flow flow = run(stmt.body);
    if (flow == Flow::kBreak) break;
    // As in jinja2, `break` and `continue` skip the mark that the loop has run.
    if (flow == Flow::kNext) is_empty = false;
  }
  leave(stmt.loads);
  if (!is_empty || stmt.otherwise.empty()) return Flow::kNext;
  enter(stmt.otherwise_loads);
  const Flow flow = run(stmt.otherwise);
  leave(stmt.otherwise_loads);
  return flow;
}

Interpreter::Flow Interpreter::run_with(const WithStmt& stmt) {
  enter(stmt.loads);
  for (size_t i = 0; i < stmt.targets.size(); ++i) {
    assign(*stmt.targets[i], eval(*stmt.values[i]));
  }
  const Flow flow = run(stmt.body);
  if (flow == Flow::kNext) leave(stmt.loads);
  return flow;
}

Interpreter::Flow Interpreter::run_block(const BlockStmt& stmt) {
  enter(stmt.loads);
  if (stmt.kind == StmtKind::kScope) {
    const Flow flow = run(stmt.body);
    if (flow == Flow::kNext) leave(stmt.loads);
    return flow;
  }
  Value result;
  {
    Capture capture(*this);
    if (const Flow flow = run(stmt.body); flow != Flow::kNext) return flow;
    result = rt_.text(capture.text());
  }
  if (stmt.filter != nullptr)
    result = eval_filter(static_cast<const FilterExpr&>(*stmt.filter), &result);
  if (stmt.target != nullptr) {
    check_namespaces(*stmt.target);
    assign(*stmt.target, result);
  } else {
    emit_text(result);
  }
  leave(stmt.loads);
  return Flow::kNext;
}

void Interpreter::run_call_block(const CallBlockStmt& stmt) {
  const Value caller = make_macro(stmt.macro);
  const Value result =
      stmt.call == nullptr ? call_macro(*caller.macro, {}) : eval_call(*stmt.call, &caller);
  emit_text(result);
}

void Interpreter::check_namespaces(const Expr& target) {
  if (target.kind == ExprKind::kTuple) {
    for (const Expr* item : static_cast<const ListExpr&>(target).items) check_namespaces(*item);
  } else if (target.kind == ExprKind::kNamespaceRef) {
    const auto& ref = static_cast<const NamespaceRefExpr&>(target);
    if (!variable(ref.ref).is(Kind::kNamespace)) {
      fail("cannot assign attribute on non-namespace object");
    }
  }
}

void Interpreter::assign(const Expr& target, const Value& value) {
  switch (target.kind) {
    case ExprKind::kName: variable(static_cast<const NameExpr&>(target).ref) = value; return;
    case ExprKind::kNamespaceRef: {
      const auto& ref = static_cast<const NamespaceRefExpr&>(target);
      const Value ns = variable(ref.ref);
      if (!ns.is(Kind::kNamespace)) fail("cannot assign attribute on non-namespace object");
      set_namespace_item(rt_, *ns.ns, ref.attribute, value);
      return;
    }
    default: unpack(static_cast<const ListExpr&>(target), value);
  }
}

void Interpreter::unpack(const ListExpr& targets, const Value& value) {
  const size_t wanted = targets.items.size();
  if (!is_iterable(value)) fail("cannot unpack non-iterable {} object", type_name(value));
  std::vector<Value> items;
  Iterator* it = iterate(rt_, value);
  for (Value item; it->next(&item);) {
    if (items.size() == wanted) fail("too many values to unpack (expected {})", wanted);
    items.push_back(item);
  }
  if (items.size() < wanted) {
    fail("not enough values to unpack (expected {}, got {})", wanted, items.size());
  }
  for (size_t i = 0; i < wanted; ++i) assign(*targets.items[i], items[i]);
}

}  // namespace ramjet::text::chat

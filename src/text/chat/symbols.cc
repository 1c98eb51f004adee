#include "text/chat/symbols.h"

#include <algorithm>

namespace ramjet::text::chat {

const Symbols::Place* Symbols::place_of(std::string_view name) const {
  for (const Symbols* s = this; s != nullptr; s = s->parent_) {
    if (const auto it = s->names_.find(name); it != s->names_.end()) return &it->second;
  }
  return nullptr;
}

void FunctionScope::charge(size_t names) {
  *names_copied += names;
  if (*names_copied > kMaxNamesCopied) {
    fail("template has too many names in too many branches");
  }
}

VarRef Symbols::reference(const Place& place) const {
  return {function_->depth - place.function->depth, place.slot};
}

VarRef Symbols::find(std::string_view name) const {
  if (const Place* place = place_of(name)) return reference(*place);
  throw_error(ErrorCode::kInternal, fmt::format("no visitor of the frame saw '{}'", name));
}

Load& Symbols::load_of(uint32_t slot) {
  const auto it = load_index_.find(slot);
  if (it == load_index_.end()) throw_error(ErrorCode::kInternal, "a variable has no load");
  return loads_[it->second];
}

void Symbols::add_load(const Load& load) {
  load_index_[load.slot] = loads_.size();
  loads_.push_back(load);
}

void Symbols::define(std::string_view name, Load load) {
  if (const auto it = names_.find(name); it != names_.end()) {
    load.slot = it->second.slot;
    load.variable = name;
    load_of(load.slot) = load;
    return;
  }
  load.slot = function_->slot_count++;
  names_[name] = {function_, load.slot};
  load.variable = name;
  add_load(load);
}

void Symbols::declare(std::string_view name) {
  stores_.insert(name);
  define(name, {0, Load::Kind::kParameter, 0, {}});
}

void Symbols::store(std::string_view name) {
  stores_.insert(name);
  if (names_.count(name) != 0) return;
  const Place* outer = parent_ == nullptr ? nullptr : parent_->place_of(name);
  if (outer != nullptr) {
    define(name, {0, Load::Kind::kAlias, 0, reference(*outer)});
  } else {
    define(name, {0, Load::Kind::kUnset, 0, {}});
  }
}

void Symbols::load(std::string_view name) {
  if (place_of(name) == nullptr) define(name, {0, Load::Kind::kResolve, 0, {}});
}

void Symbols::merge(const std::vector<Symbols>& branches) {
  std::set<std::string_view> stored;
  for (const Symbols& branch : branches) {
    for (const std::string_view name : branch.stores_) {
      if (stores_.count(name) == 0) stored.insert(name);
    }
  }
  for (const Symbols& branch : branches) {
    for (const auto& [name, place] : branch.names_) {
      if (names_.count(name) != 0) continue;
      names_[name] = place;
      add_load(branch.loads_[branch.load_index_.at(place.slot)]);
    }
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  for (const std::string_view name : stored) {
    const Place* place = place_of(name);
    Load& load = load_of(place->slot);
    const Place* outer = parent_ == nullptr ? nullptr : parent_->place_of(name);
    load.kind = outer != nullptr ? Load::Kind::kAlias : Load::Kind::kResolve;
    if (outer != nullptr) load.outer = reference(*outer);
  }
}

void SymbolVisitor::body(const Body& stmts) {
  for (const Stmt* stmt : stmts) statement(stmt);
}

void SymbolVisitor::expression(const Expr* e) {
  if (e->kind == ExprKind::kName) {
    symbols_->load(static_cast<const NameExpr*>(e)->name);
  } else {
    for_each_part(e, [this](const Expr* part) { expression(part); });
  }
}

void SymbolVisitor::parameters(const Expr* target) {
  if (target->kind == ExprKind::kName) {
    symbols_->declare(static_cast<const NameExpr*>(target)->name);
  } else {
    for_each_part(target, [this](const Expr* part) { parameters(part); });
  }
}

void SymbolVisitor::target(const Expr* e) {
  if (e->kind == ExprKind::kName) {
    symbols_->store(static_cast<const NameExpr*>(e)->name);
  } else if (e->kind == ExprKind::kNamespaceRef) {
    symbols_->load(static_cast<const NamespaceRefExpr*>(e)->name);
  } else {
    for_each_part(e, [this](const Expr* part) { target(part); });
  }
}

void SymbolVisitor::branches(const IfStmt* stmt) {
  Symbols* whole = symbols_;
  std::vector<Symbols> copies;
  for (const auto& branch : stmt->branches) {
    // jinja2 reads the first test before it splits, the others inside their branch.
    if (branch.test != nullptr && copies.empty()) expression(branch.test);
    whole->function()->charge(whole->size());
    Symbols copy = *whole;
    symbols_ = &copy;
    if (branch.test != nullptr && !copies.empty()) expression(branch.test);
    body(branch.body);
    symbols_ = whole;
    copies.push_back(std::move(copy));
  }
  whole->merge(copies);
}

void SymbolVisitor::statement(const Stmt* stmt) {
  switch (stmt->kind) {
    case StmtKind::kOutput:
      for (const Expr* e : static_cast<const OutputStmt*>(stmt)->parts) expression(e);
      return;
    case StmtKind::kFor: expression(static_cast<const ForStmt*>(stmt)->iterable); return;
    case StmtKind::kIf: branches(static_cast<const IfStmt*>(stmt)); return;
    case StmtKind::kSet:
      expression(static_cast<const SetStmt*>(stmt)->value);
      target(static_cast<const SetStmt*>(stmt)->target);
      return;
    case StmtKind::kSetBlock: target(static_cast<const BlockStmt*>(stmt)->target); return;
    case StmtKind::kMacro: symbols_->store(static_cast<const MacroStmt*>(stmt)->macro.name); return;
    case StmtKind::kCallBlock:
      if (const Expr* call = static_cast<const CallBlockStmt*>(stmt)->call) expression(call);
      return;
    case StmtKind::kFilterBlock: expression(static_cast<const BlockStmt*>(stmt)->filter); return;
    case StmtKind::kWith:
      for (const Expr* e : static_cast<const WithStmt*>(stmt)->values) expression(e);
      return;
    case StmtKind::kScope:
    case StmtKind::kBreak:
    case StmtKind::kContinue: return;
  }
}

UndeclaredNames::UndeclaredNames(const Body& body) { visit(body); }

void UndeclaredNames::visit(const Body& body) {
  for (const Stmt* stmt : body) visit(stmt);
}

void UndeclaredNames::visit(const Expr* e) {
  if (e == nullptr) return;
  if (e->kind != ExprKind::kName) {
    for_each_part(e, [this](const Expr* part) { visit(part); });
    return;
  }
  const auto* name = static_cast<const NameExpr*>(e);
  if (name->use != NameUse::kLoad) {
    assign(name->name);
  } else if (open_.count(name->name) != 0) {
    found_.insert(name->name);
  }
}

void UndeclaredNames::visit(const MacroNode& macro) {
  for (const NameExpr* parameter : macro.parameters) assign(parameter->name);
  for (const Expr* e : macro.defaults) visit(e);
  visit(macro.body);
}

void UndeclaredNames::visit(const Stmt* stmt) {
  switch (stmt->kind) {
    case StmtKind::kOutput:
      for (const Expr* e : static_cast<const OutputStmt*>(stmt)->parts) visit(e);
      return;
    case StmtKind::kFor: {
      const auto* loop = static_cast<const ForStmt*>(stmt);
      visit(loop->target);
      visit(loop->iterable);
      visit(loop->body);
      visit(loop->otherwise);
      visit(loop->filter);
      return;
    }
    case StmtKind::kIf:
      for (const auto& branch : static_cast<const IfStmt*>(stmt)->branches) {
        visit(branch.test);
        visit(branch.body);
      }
      return;
    case StmtKind::kSet:
      visit(static_cast<const SetStmt*>(stmt)->target);
      visit(static_cast<const SetStmt*>(stmt)->value);
      return;
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
    case StmtKind::kScope: {
      const auto* block = static_cast<const BlockStmt*>(stmt);
      visit(block->target);
      visit(block->filter);
      visit(block->body);
      return;
    }
    case StmtKind::kMacro: visit(static_cast<const MacroStmt*>(stmt)->macro); return;
    case StmtKind::kCallBlock:
      visit(static_cast<const CallBlockStmt*>(stmt)->call);
      visit(static_cast<const CallBlockStmt*>(stmt)->macro);
      return;
    case StmtKind::kWith: {
      const auto* with = static_cast<const WithStmt*>(stmt);
      for (const Expr* e : with->targets) visit(e);
      for (const Expr* e : with->values) visit(e);
      visit(with->body);
      return;
    }
    case StmtKind::kBreak:
    case StmtKind::kContinue: return;
  }
}

}  // namespace ramjet::text::chat

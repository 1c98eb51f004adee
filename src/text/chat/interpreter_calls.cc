// Calls: macros, methods, global functions, loops.
#include <algorithm>

#include "text/chat/globals.h"
#include "text/chat/interpreter.h"
#include "text/chat/methods.h"

namespace ramjet::text::chat {

std::string_view macro_name(const Macro& macro) { return macro.node->name; }

Value macro_attribute(Runtime& rt, const Macro& macro, std::string_view name) {
  const MacroNode& node = *macro.node;
  if (name == "name") return node.name.empty() ? Value::none() : Value::of_text(node.name);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const NameExpr* p : node.parameters) names.push_back(Value::of_text(p->name));
    return rt.sequence(Kind::kTuple, names);
  }
  if (name == "catch_kwargs") return Value::of_bool(node.takes_keywords);
  if (name == "catch_varargs") return Value::of_bool(node.takes_varargs);
  if (name == "caller") return Value::of_bool(node.takes_caller);
  if (name == "explicit_caller") return Value::of_bool(node.has_explicit_caller);
  return Value();
}

Value Interpreter::make_macro(const MacroNode& node) {
  return Value::of_object(Kind::kMacro, rt_.make<Macro>(&node, activation_));
}

Interpreter::EvaluatedArgs Interpreter::evaluate(const Arguments& args) {
  EvaluatedArgs out;
  out.positional.reserve(args.positional.size());
  for (const Expr* e : args.positional) out.positional.push_back(eval(*e));
  if (args.star != nullptr) {
    // Python evaluates *args before keyword values, but neither can tell here.
    const Value star = eval(*args.star);
    Iterator* it = iterate(rt_, star);
    for (Value v; it->next(&v);) out.positional.push_back(v);
  }
  for (const auto& keyword : args.keywords) {
    out.keywords.push_back({keyword.name, eval(*keyword.value)});
  }
  if (args.double_star != nullptr) {
    const Value extra = eval(*args.double_star);
    if (!extra.is(Kind::kDict)) {
      fail("argument after ** must be a mapping, not {}", type_name(extra));
    }
    for (uint32_t i = 0; i < extra.dict->size; ++i) {
      const Value& key = extra.dict->keys[i];
      if (!key.is_string()) fail("keywords must be strings");
      for (const Keyword& other : out.keywords) {
        rt_.charge();
        if (other.name == key.text()) {
          fail("got multiple values for keyword argument '{}'", key.text());
        }
      }
      out.keywords.push_back({key.text(), extra.dict->values[i]});
    }
  }
  return out;
}

Value Interpreter::eval_call(const CallExpr& e, const Value* caller) {
  const Value callee = eval(*e.callee);
  EvaluatedArgs args = evaluate(e.args);
  if (caller != nullptr) {
    for (const Keyword& keyword : args.keywords) {
      if (keyword.name == "caller") fail("keyword argument repeated: caller");
    }
    args.keywords.push_back({"caller", *caller});
  }
  line_ = e.line;
  return call(callee, args.view());
}

Value Interpreter::call(const Value& callee, const CallArgs& args) {
  require_defined(callee);
  switch (callee.kind) {
    case Kind::kMethod: return call_method(rt_, *callee.method, args);
    case Kind::kFunction: return call_global(rt_, callee.function, args);
    case Kind::kMacro: return call_macro(*callee.macro, args);
    case Kind::kJoiner: {
      const Bound none({"joiner", {}}, args);
      if (callee.joiner->is_used) return callee.joiner->separator;
      callee.joiner->is_used = true;
      return Value::of_text("");
    }
    case Kind::kLoop: {
      if (callee.loop->recursion == nullptr) {
        fail("The loop must have the 'recursive' marker to be called recursively.");
      }
      const Bound bound({"loop", {"iterable"}, 1}, args);
      return rt_.text(render_recursive(*callee.loop->recursion, bound[0], callee.loop->depth0 + 1));
    }
    default: fail("'{}' object is not callable", type_name(callee));
  }
}

Value Interpreter::call_macro(const Macro& macro, const CallArgs& args) {
  const Depth depth(rt_);
  const int line = line_;
  Value* slots = rt_.allocate_values(macro.node->slot_count);
  const Scope scope(*this, rt_.make<Activation>(macro.closure, slots));
  enter(macro.node->loads);
  bind_macro(macro, args);
  Capture capture(*this);
  run(macro.node->body);
  line_ = line;
  return rt_.text(capture.text());
}

void Interpreter::bind_macro(const Macro& macro, const CallArgs& args) {
  const MacroNode& node = *macro.node;
  const size_t count = node.parameters.size();
  const size_t given = std::min(args.positional.size(), count);
  std::vector<bool> is_taken(args.keywords.size());
  const auto take = [&](std::string_view name) {
    for (size_t i = 0; i < args.keywords.size(); ++i) {
      rt_.charge();
      if (is_taken[i] || args.keywords[i].name != name) continue;
      is_taken[i] = true;
      return args.keywords[i].value;
    }
    return Value();
  };
  bool has_caller = given == count && node.has_explicit_caller;
  for (size_t i = 0; i < count; ++i) {
    const NameExpr& parameter = *node.parameters[i];
    if (i >= given && parameter.name == "caller") has_caller = true;
    variable(parameter.ref) = i < given ? args.positional[i] : take(parameter.name);
  }
  if (node.takes_caller && !has_caller) {
    const Value caller = take("caller");
    variable(node.caller) = caller.is(Kind::kMissing) || caller.is(Kind::kNone)
                                ? rt_.undefined_hint("No caller defined")
                                : caller;
  }
  DictBuilder rest(rt_);
  for (size_t i = 0; i < args.keywords.size(); ++i) {
    if (is_taken[i]) continue;
    if (!node.takes_keywords) {
      fail("macro '{}' takes no keyword argument '{}'", node.name, args.keywords[i].name);
    }
    rest.set(Value::of_text(args.keywords[i].name), args.keywords[i].value);
  }
  if (node.takes_keywords) variable(node.keywords) = rest.dict();
  if (node.takes_varargs) {
    variable(node.varargs) = rt_.sequence(
        Kind::kTuple, std::vector<Value>(args.positional.begin() + static_cast<ptrdiff_t>(given),
                                         args.positional.end()));
  } else if (args.positional.size() > count) {
    fail("macro '{}' takes not more than {} argument(s)", node.name, count);
  }
  const size_t first_default = count - node.defaults.size();
  for (size_t i = 0; i < count; ++i) {
    Value& slot = variable(node.parameters[i]->ref);
    if (!slot.is(Kind::kMissing)) continue;
    if (i >= first_default) {
      const Value value = eval(*node.defaults[i - first_default]);
      variable(node.parameters[i]->ref) = value;
    } else {
      const Value hint =
          rt_.text(fmt::format("parameter '{}' was not provided", node.parameters[i]->name));
      slot = rt_.undefined_hint(hint.text());
    }
  }
}

}  // namespace ramjet::text::chat

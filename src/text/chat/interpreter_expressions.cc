// Expressions.
#include "text/chat/interpreter.h"

namespace ramjet::text::chat {

Value Interpreter::eval(const Expr& e) {
  rt_.charge();
  switch (e.kind) {
    case ExprKind::kConst: return static_cast<const ConstExpr&>(e).value;
    case ExprKind::kName: return eval_name(static_cast<const NameExpr&>(e));
    default: break;
  }
  rt_.check_stack();
  switch (e.kind) {
    case ExprKind::kTuple:
    case ExprKind::kList: return eval_list(static_cast<const ListExpr&>(e));
    case ExprKind::kDict: return eval_dict(static_cast<const ListExpr&>(e));
    case ExprKind::kConcat: return eval_concat(static_cast<const ListExpr&>(e));
    case ExprKind::kAttribute: {
      const auto& attribute = static_cast<const AttributeExpr&>(e);
      return get_attribute(rt_, eval(*attribute.object), attribute.name);
    }
    case ExprKind::kItem: {
      const auto& item = static_cast<const ItemExpr&>(e);
      const Value object = eval(*item.object);
      return get_item(rt_, object, eval(*item.key));
    }
    case ExprKind::kSlice: return eval_slice(static_cast<const SliceExpr&>(e));
    case ExprKind::kCall: return eval_call(static_cast<const CallExpr&>(e), nullptr);
    case ExprKind::kFilter: return eval_filter(static_cast<const FilterExpr&>(e), nullptr);
    case ExprKind::kTest: return eval_test(static_cast<const TestExpr&>(e));
    case ExprKind::kCompare: return eval_compare(static_cast<const CompareExpr&>(e));
    case ExprKind::kCondition: return eval_condition(static_cast<const ConditionExpr&>(e));
    default: break;
  }
  const auto& op = static_cast<const OperatorExpr&>(e);
  const Value left = eval(*op.left);
  switch (e.kind) {
    case ExprKind::kAnd: return truthy(rt_, left) ? eval(*op.right) : left;
    case ExprKind::kOr: return truthy(rt_, left) ? left : eval(*op.right);
    case ExprKind::kNot: return Value::of_bool(!truthy(rt_, left));
    case ExprKind::kNegate: return negate(rt_, left);
    case ExprKind::kPlus: return plus(rt_, left);
    default: return binary(rt_, op.op, left, eval(*op.right));
  }
}

Value Interpreter::eval_name(const NameExpr& e) {
  const Value v = variable(e.ref);
  return v.is(Kind::kMissing) ? rt_.undefined(e.name) : v;
}

Value Interpreter::eval_list(const ListExpr& e) {
  Value* items = rt_.allocate_values(e.items.size());
  for (size_t i = 0; i < e.items.size(); ++i) items[i] = eval(*e.items[i]);
  return rt_.sequence(e.kind == ExprKind::kTuple ? Kind::kTuple : Kind::kList, items,
                      e.items.size());
}

Value Interpreter::eval_dict(const ListExpr& e) {
  DictBuilder dict(rt_);
  for (size_t i = 0; i < e.items.size(); i += 2) {
    const Value key = eval(*e.items[i]);
    dict.set(key, eval(*e.items[i + 1]));
  }
  return dict.dict();
}

Value Interpreter::eval_slice(const SliceExpr& e) {
  const Value object = eval(*e.object);
  SliceBounds bounds;
  if (e.start != nullptr) bounds.start = eval(*e.start);
  if (e.stop != nullptr) bounds.stop = eval(*e.stop);
  if (e.step != nullptr) bounds.step = eval(*e.step);
  return get_slice(rt_, object, bounds);
}

Value Interpreter::eval_filter(const FilterExpr& e, const Value* block) {
  Value input;
  if (e.input == nullptr) {
    input = *block;
  } else if (e.input->kind == ExprKind::kFilter) {
    // Within a filter block, the innermost filter reads the block.
    input = eval_filter(static_cast<const FilterExpr&>(*e.input), block);
  } else {
    input = eval(*e.input);
  }
  if (e.filter == nullptr) fail("No filter named '{}' found.", e.name);
  if (e.args.positional.empty() && e.args.keywords.empty() && e.args.star == nullptr &&
      e.args.double_star == nullptr) {
    return e.filter(rt_, input, {});
  }
  const EvaluatedArgs args = evaluate(e.args);
  return e.filter(rt_, input, args.view());
}

Value Interpreter::eval_test(const TestExpr& e) {
  const Value input = eval(*e.input);
  if (e.test == nullptr) fail("No test named '{}' found.", e.name);
  const EvaluatedArgs args = evaluate(e.args);
  return Value::of_bool(e.test(rt_, input, args.view()));
}

Value Interpreter::eval_compare(const CompareExpr& e) {
  Value left = eval(*e.first);
  for (const auto& operand : e.rest) {
    const Value right = eval(*operand.value);
    bool holds = false;
    switch (operand.op) {
      case CompareOp::kEq: holds = equals(rt_, left, right); break;
      case CompareOp::kNe: holds = !equals(rt_, left, right); break;
      case CompareOp::kLt: holds = compare(rt_, left, right, Order::kLess); break;
      case CompareOp::kLe: holds = compare(rt_, left, right, Order::kLessEqual); break;
      case CompareOp::kGt: holds = compare(rt_, left, right, Order::kGreater); break;
      case CompareOp::kGe: holds = compare(rt_, left, right, Order::kGreaterEqual); break;
      case CompareOp::kIn: holds = contains(rt_, right, left); break;
      case CompareOp::kNotIn: holds = !contains(rt_, right, left); break;
    }
    if (!holds) return Value::of_bool(false);
    left = right;
  }
  return Value::of_bool(true);
}

Value Interpreter::eval_concat(const ListExpr& e) {
  std::string text;
  for (const Expr* item : e.items) {
    append_str(rt_, text, eval(*item));
    rt_.check_size(static_cast<Int>(text.size()));
  }
  return rt_.text(text);
}

Value Interpreter::eval_condition(const ConditionExpr& e) {
  if (eval_truth(*e.test)) return eval(*e.then);
  if (e.otherwise != nullptr) return eval(*e.otherwise);
  const Value hint =
      rt_.text(fmt::format("the inline if-expression on line {} evaluated to false "
                           "and no else section was defined.",
                           e.line));
  return rt_.undefined_hint(hint.text());
}

}  // namespace ramjet::text::chat

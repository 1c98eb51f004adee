// The tests of jinja2: `x is name(...)`.
#include <algorithm>
#include <cmath>

#include "text/chat/filters.h"
#include "text/chat/methods.h"

namespace ramjet::text::chat {
namespace {

void no_arguments(std::string_view name, const CallArgs& args) {
  const Bound none({name, {}}, args);
}

/// What every test without arguments and without errors looks like.
template <auto predicate>
bool simple(Runtime& rt, const Value& v, const CallArgs& args) {
  no_arguments("test", args);
  return predicate(v);
}

bool is_callable(const Value& v) {
  switch (v.kind) {
    case Kind::kMethod:
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kLoop:
    case Kind::kJoiner:
    case Kind::kUndefined: return true;
    default: return false;
  }
}

bool is_indexable(const Value& v) {
  switch (v.kind) {
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kUndefined: return true;
    default: return false;
  }
}

Value remainder(Runtime& rt, const Value& v, const Value& divisor) {
  return binary(rt, BinaryOp::kMod, v, divisor);
}

template <int64_t rest>
bool parity(Runtime& rt, const Value& v, const CallArgs& args) {
  no_arguments(rest == 0 ? "even" : "odd", args);
  return equals(rt, remainder(rt, v, Value::of_int(2)), Value::of_int(rest));
}

bool divisible_by(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"divisibleby", {"num"}, 1}, call);
  return equals(rt, remainder(rt, v, args[0]), Value::of_int(0));
}

template <Method method>
bool has_case(Runtime& rt, const Value& v, const CallArgs& args) {
  no_arguments("test", args);
  return call_text_predicate(method, to_str(rt, v).text()).boolean;
}

bool same_as(Runtime&, const Value& v, const CallArgs& call) {
  const Bound args({"sameas", {"other"}, 1}, call);
  return is_same(v, args[0]);
}

bool is_in(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"in", {"seq"}, 1}, call);
  return contains(rt, args[0], v);
}

template <bool wanted>
bool equal(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"eq", {""}, 1}, call);
  return equals(rt, v, args[0]) == wanted;
}

template <Order order>
bool ordered(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"comparison", {""}, 1}, call);
  return compare(rt, v, args[0], order);
}

bool is_filter_name(Runtime&, const Value& v, const CallArgs& args) {
  no_arguments("filter", args);
  if (!is_hashable(v)) fail("unhashable type: '{}'", type_name(v));
  return v.is_string() && find_filter(v.text()) != nullptr;
}

bool is_test_name(Runtime&, const Value& v, const CallArgs& args) {
  no_arguments("test", args);
  if (!is_hashable(v)) fail("unhashable type: '{}'", type_name(v));
  return v.is_string() && find_test(v.text()) != nullptr;
}

struct Entry {
  std::string_view name;
  TestFn test;
};
constexpr Entry kTests[] = {
    {"!=", equal<false>},
    {"<", ordered<Order::kLess>},
    {"<=", ordered<Order::kLessEqual>},
    {"==", equal<true>},
    {">", ordered<Order::kGreater>},
    {">=", ordered<Order::kGreaterEqual>},
    {"boolean", simple<[](const Value& v) { return v.is(Kind::kBool); }>},
    {"callable", simple<is_callable>},
    {"defined", simple<[](const Value& v) { return !v.is_undefined(); }>},
    {"divisibleby", divisible_by},
    {"eq", equal<true>},
    {"equalto", equal<true>},
    {"escaped", simple<[](const Value& v) { return v.is_markup(); }>},
    {"even", parity<0>},
    {"false", simple<[](const Value& v) { return v.is(Kind::kBool) && !v.boolean; }>},
    {"filter", is_filter_name},
    {"float", simple<[](const Value& v) { return v.is(Kind::kFloat); }>},
    {"ge", ordered<Order::kGreaterEqual>},
    {"greaterthan", ordered<Order::kGreater>},
    {"gt", ordered<Order::kGreater>},
    {"in", is_in},
    {"integer", simple<[](const Value& v) { return v.is_integral() && !v.is(Kind::kBool); }>},
    {"iterable", simple<is_iterable>},
    {"le", ordered<Order::kLessEqual>},
    {"lessthan", ordered<Order::kLess>},
    {"lower", has_case<Method::kIslower>},
    {"lt", ordered<Order::kLess>},
    {"mapping", simple<[](const Value& v) { return v.is(Kind::kDict); }>},
    {"ne", equal<false>},
    {"none", simple<[](const Value& v) { return v.is(Kind::kNone); }>},
    {"number", simple<[](const Value& v) { return v.is_number(); }>},
    {"odd", parity<1>},
    {"sameas", same_as},
    {"sequence", simple<is_indexable>},
    {"string", simple<[](const Value& v) { return v.is_string(); }>},
    {"test", is_test_name},
    {"true", simple<[](const Value& v) { return v.is(Kind::kBool) && v.boolean; }>},
    {"undefined", simple<[](const Value& v) { return v.is_undefined(); }>},
    {"upper", has_case<Method::kIsupper>},
};
static_assert(std::is_sorted(std::begin(kTests), std::end(kTests),
                             [](const Entry& a, const Entry& b) { return a.name < b.name; }));

}  // namespace

TestFn find_test(std::string_view name) {
  const auto* it = std::lower_bound(std::begin(kTests), std::end(kTests), name,
                                    [](const Entry& e, std::string_view n) { return e.name < n; });
  return it != std::end(kTests) && it->name == name ? it->test : nullptr;
}

}  // namespace ramjet::text::chat

// Truth, equality, order, membership.
#include <cmath>
#include <cstring>

#include "text/chat/loop.h"
#include "text/chat/ops.h"

namespace ramjet::text::chat {
namespace {

constexpr double kIntLimit = 0x1p127;

/// -1, 0, 1, or 2 when one is NaN; exact for any mix of int and float.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    const Int x = integral(a);
    const Int y = integral(b);
    return x < y ? -1 : x > y;
  }
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    if (std::isnan(a.real) || std::isnan(b.real)) return 2;
    return a.real < b.real ? -1 : a.real > b.real;
  }
  if (b.is_integral()) {
    const int r = compare_numbers(b, a);
    return r == 2 ? 2 : -r;
  }
  const Int x = integral(a);
  const double d = b.real;
  if (std::isnan(d)) return 2;
  if (d >= kIntLimit) return -1;
  if (d < -kIntLimit) return 1;
  const double whole = std::floor(d);
  const Int y = static_cast<Int>(whole);
  if (x != y) return x < y ? -1 : 1;
  return d > whole ? -1 : 0;
}

bool seq_equals(Runtime& rt, const Seq& a, const Seq& b) {
  if (a.size != b.size) return false;
  if (a.items == b.items) return true;
  for (uint32_t i = 0; i < a.size; ++i) {
    rt.charge();
    if (!is_same(a.items[i], b.items[i]) && !equals(rt, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool dict_equals(Runtime& rt, const Dict& a, const Dict& b) {
  if (&a == &b) return true;
  if (a.size != b.size) return false;
  for (uint32_t i = 0; i < a.size; ++i) {
    rt.charge();
    const Value* other = dict_find(rt, b, a.keys[i]);
    if (other == nullptr) return false;
    if (!is_same(a.values[i], *other) && !equals(rt, a.values[i], *other)) return false;
  }
  return true;
}

bool range_equals(const Range& a, const Range& b) {
  if (a.size != b.size) return false;
  return a.size == 0 || (a.start == b.start && (a.size == 1 || a.step == b.step));
}

std::string_view order_name(Order order) {
  switch (order) {
    case Order::kLess: return "<";
    case Order::kLessEqual: return "<=";
    case Order::kGreater: return ">";
    case Order::kGreaterEqual: return ">=";
  }
  return "";
}

bool holds(int sign, Order order) {
  switch (order) {
    case Order::kLess: return sign < 0;
    case Order::kLessEqual: return sign <= 0;
    case Order::kGreater: return sign > 0;
    case Order::kGreaterEqual: return sign >= 0;
  }
  return false;
}

}  // namespace

bool truthy(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return v.boolean;
    case Kind::kInt: return v.integer != 0;
    case Kind::kFloat: return v.real != 0;
    case Kind::kString: return v.size != 0;
    case Kind::kList:
    case Kind::kTuple: return v.seq->size != 0;
    case Kind::kDict:
    case Kind::kDictView: return v.dict->size != 0;
    case Kind::kRange: return v.range->size != 0;
    case Kind::kLoop: return loop_length(rt, *v.loop) != 0;
    default: return true;
  }
}

bool is_same(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kNone: return true;
    case Kind::kBool: return a.boolean == b.boolean;
    case Kind::kInt: return a.integer == b.integer;
    case Kind::kFloat: return std::memcmp(&a.real, &b.real, sizeof a.real) == 0;
    case Kind::kString:
      return a.size == b.size && (a.chars == b.chars || a.size <= 1) && a.text() == b.text();
    case Kind::kFunction: return a.function == b.function;
    default: return a.address == b.address && a.flags == b.flags;
  }
}

bool equals(Runtime& rt, const Value& a, const Value& b) {
  rt.charge();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: rt.charge_bytes(a.size); return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple: return seq_equals(rt, *a.seq, *b.seq);
    case Kind::kDict: return dict_equals(rt, *a.dict, *b.dict);
    case Kind::kRange: return range_equals(*a.range, *b.range);
    case Kind::kDictView:
      // keys and items compare as sets; values never do.
      if (a.flags != b.flags || a.flags == Value::kViewValues) return a.address == b.address;
      if (a.flags == Value::kViewItems) return dict_equals(rt, *a.dict, *b.dict);
      if (a.dict->size != b.dict->size) return false;
      for (uint32_t i = 0; i < a.dict->size; ++i) {
        if (dict_find(rt, *b.dict, a.dict->keys[i]) == nullptr) return false;
      }
      return true;
    case Kind::kMethod:
      return a.method->method == b.method->method && is_same(a.method->self, b.method->self);
    default: return is_same(a, b);
  }
}

bool compare(Runtime& rt, const Value& a, const Value& b, Order order) {
  rt.charge();
  if (a.is_number() && b.is_number()) {
    const int sign = compare_numbers(a, b);
    return sign != 2 && holds(sign, order);
  }
  require_defined(a);
  require_defined(b);
  if (a.is_string() && b.is_string()) {
    rt.charge_bytes(std::min(a.size, b.size));
    // Byte order of UTF-8 is code point order.
    return holds(a.text().compare(b.text()), order);
  }
  if (a.kind == b.kind && a.is_sequence()) {
    const Seq& x = *a.seq;
    const Seq& y = *b.seq;
    for (uint32_t i = 0; i < std::min(x.size, y.size); ++i) {
      if (is_same(x.items[i], y.items[i]) || equals(rt, x.items[i], y.items[i])) continue;
      return compare(rt, x.items[i], y.items[i], order);
    }
    return holds(x.size < y.size ? -1 : x.size > y.size, order);
  }
  fail("'{}' not supported between instances of '{}' and '{}'", order_name(order), type_name(a),
       type_name(b));
}

bool contains(Runtime& rt, const Value& container, const Value& item) {
  switch (container.kind) {
    case Kind::kString: {
      if (!item.is_string()) {
        fail("'in <string>' requires string as left operand, not {}", type_name(item));
      }
      rt.charge_bytes(container.size);
      if (item.size == 0) return true;
      return memmem(container.chars, container.size, item.chars, item.size) != nullptr;
    }
    case Kind::kDict: return dict_find(rt, *container.dict, item) != nullptr;
    case Kind::kRange: {
      if (!item.is_number()) return false;
      const Range& r = *container.range;
      if (item.is(Kind::kFloat) && item.real != std::floor(item.real)) return false;
      const Int n = item.is(Kind::kFloat) ? truncate_float(item.real) : integral(item);
      const Int offset = n - r.start;
      return offset % r.step == 0 && offset / r.step >= 0 && offset / r.step < r.size;
    }
    default: break;
  }
  if (!is_iterable(container)) {
    fail("argument of type '{}' is not iterable", type_name(container));
  }
  Iterator* it = iterate(rt, container);
  for (Value v; it->next(&v);) {
    if (is_same(v, item) || equals(rt, v, item)) return true;
  }
  return false;
}

}  // namespace ramjet::text::chat

#include "text/chat/methods.h"

#include <bit>
#include <cmath>

#include "text/chat/loop.h"

namespace ramjet::text::chat {
namespace {

Value view(const Value& dict, uint8_t what) {
  return Value::of_object(Kind::kDictView, dict.dict, what);
}

Value from_keys(Runtime& rt, const CallArgs& call) {
  const Bound args({"fromkeys", {"", ""}, 1}, call);
  DictBuilder out(rt);
  Iterator* it = iterate(rt, args[0]);
  for (Value key; it->next(&key);) out.set(key, args.get(1, Value::none()));
  return out.dict();
}

Value dict_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  const Value& self = m.self;
  if (m.method == Method::kGet) {
    const Bound args({"get", {"", ""}, 1}, call);
    const Value* found = dict_find(rt, *self.dict, args[0]);
    return found != nullptr ? *found : args.get(1, Value::none());
  }
  if (m.method == Method::kFromkeys) return from_keys(rt, call);
  const Bound none({m.name, {}}, call);
  switch (m.method) {
    case Method::kItems: return view(self, Value::kViewItems);
    case Method::kKeys: return view(self, Value::kViewKeys);
    case Method::kValues: return view(self, Value::kViewValues);
    default: return self;  // copy: dicts never change
  }
}

Value sequence_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  if (m.method == Method::kCopy) {
    const Bound none({m.name, {}}, call);
    return rt.sequence(m.self.kind, m.self.seq->items, m.self.seq->size);
  }
  const Bound args({m.name, {"", "", ""}, 1}, call);
  const Seq& seq = *collect(rt, m.self);
  if (m.method == Method::kCount) {
    int64_t n = 0;
    for (const Value& v : seq) n += is_same(v, args[0]) || equals(rt, v, args[0]);
    return Value::of_int(n);
  }
  const auto clamp = [&](int64_t i) { return i < 0 ? std::max<int64_t>(i + seq.size, 0) : i; };
  const int64_t stop = std::min<int64_t>(clamp(args.integer(2, seq.size)), seq.size);
  for (int64_t i = clamp(args.integer(1, 0)); i < stop; ++i) {
    if (is_same(seq.items[i], args[0]) || equals(rt, seq.items[i], args[0])) {
      return Value::of_int(i);
    }
  }
  fail("{} is not in {}", repr(rt, args[0]), type_name(m.self));
}

Value number_method(const BoundMethod& m, const CallArgs& call) {
  const Bound none({m.name, {}}, call);
  if (m.method == Method::kIsInteger) {
    return Value::of_bool(std::isfinite(m.self.real) && m.self.real == std::trunc(m.self.real));
  }
  if (m.method == Method::kConjugate) return m.self;
  Int i = integral(m.self);
  if (i < 0) i = -i;
  int bits = 0;
  int ones = 0;
  for (; i != 0; i >>= 1, ++bits) ones += (i & 1) != 0;
  return Value::of_int(m.method == Method::kBitLength ? bits : ones);
}

Value loop_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  Loop& loop = *m.self.loop;
  if (!call.keywords.empty()) fail("{}() takes no keyword arguments", m.name);
  const auto n = static_cast<int64_t>(call.positional.size());
  if (m.method == Method::kCycle) {
    if (n == 0) fail("no items for cycling given");
    return call.positional[static_cast<size_t>((loop.index0 % n + n) % n)];
  }
  const Value now =
      rt.sequence(Kind::kTuple, std::vector<Value>(call.positional.begin(), call.positional.end()));
  const bool is_same_as_before = loop.changed.is(Kind::kTuple) && equals(rt, loop.changed, now);
  loop.changed = now;
  return Value::of_bool(!is_same_as_before);
}

Value cycler_method(const BoundMethod& m, const CallArgs& call) {
  const Bound none({m.name, {}}, call);
  Cycler& cycler = *m.self.cycler;
  if (m.method == Method::kReset) {
    cycler.position = 0;
    return Value::none();
  }
  const Value current = cycler.items->items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items->size;
  return current;
}

/// Methods of markupsafe's Markup escape their text arguments and give Markup back.
Value markup_method(Runtime& rt, const BoundMethod& m, const CallArgs& call) {
  if (m.method == Method::kUnescape || m.method == Method::kStriptags) {
    return call_text_method(rt, m, call);
  }
  std::vector<Value> positional;
  for (const Value& v : call.positional) {
    positional.push_back(v.is_string() ? escape_html(rt, v) : v);
  }
  const Value result = call_text_method(rt, m, {positional, call.keywords});
  const auto mark = [](Value v) {
    if (v.is_string()) v.flags |= Value::kMarkup;
    return v;
  };
  if (!result.is_sequence()) return mark(result);
  std::vector<Value> items;
  for (const Value& v : *result.seq) items.push_back(mark(v));
  return rt.sequence(result.kind, items);
}

}  // namespace

Value call_method(Runtime& rt, const BoundMethod& m, const CallArgs& args) {
  if (m.method == Method::kUnsupported) {
    throw_error(ErrorCode::kUnsupported,
                fmt::format("{}.{}() is not supported in templates", type_name(m.self), m.name));
  }
  switch (m.self.kind) {
    case Kind::kString:
      return m.self.is_markup() ? markup_method(rt, m, args) : call_text_method(rt, m, args);
    case Kind::kDict: return dict_method(rt, m, args);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: return sequence_method(rt, m, args);
    case Kind::kLoop: return loop_method(rt, m, args);
    case Kind::kCycler: return cycler_method(m, args);
    default: return number_method(m, args);
  }
}

}  // namespace ramjet::text::chat

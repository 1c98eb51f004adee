#include "text/chat/attributes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/chat/loop.h"
#include "text/chat/macro.h"
#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

constexpr uint16_t kStr = 1;
constexpr uint16_t kList = 2;
constexpr uint16_t kTuple = 4;
constexpr uint16_t kDict = 8;
constexpr uint16_t kInt = 16;
constexpr uint16_t kFloat = 32;
constexpr uint16_t kRange = 64;
constexpr uint16_t kView = 128;
constexpr uint16_t kMarkup = 256;
constexpr uint16_t kLoop = 512;
constexpr uint16_t kCycler = 1024;

struct Attribute {
  std::string_view name;
  Method method;
  uint16_t types;
};

// Sorted by name; a name may stand twice for different types.
constexpr Attribute kAttributes[] = {
    {"append", Method::kUnsafe, kList},
    {"as_integer_ratio", Method::kUnsupported, kInt | kFloat},
    {"bit_count", Method::kBitCount, kInt},
    {"bit_length", Method::kBitLength, kInt},
    {"capitalize", Method::kCapitalize, kStr},
    {"casefold", Method::kCasefold, kStr},
    {"center", Method::kCenter, kStr},
    {"changed", Method::kChanged, kLoop},
    {"clear", Method::kUnsafe, kList | kDict},
    {"conjugate", Method::kConjugate, kInt | kFloat},
    {"copy", Method::kCopy, kList | kDict},
    {"count", Method::kCount, kStr | kList | kTuple | kRange},
    {"cycle", Method::kCycle, kLoop},
    {"denominator", Method::kProperty, kInt},
    {"encode", Method::kUnsupported, kStr},
    {"endswith", Method::kEndswith, kStr},
    {"escape", Method::kEscape, kMarkup},
    {"expandtabs", Method::kExpandtabs, kStr},
    {"extend", Method::kUnsafe, kList},
    {"find", Method::kFind, kStr},
    {"format", Method::kFormat, kStr},
    {"format_map", Method::kFormatMap, kStr},
    {"from_bytes", Method::kUnsupported, kInt},
    {"fromhex", Method::kUnsupported, kFloat},
    {"fromkeys", Method::kFromkeys, kDict},
    {"get", Method::kGet, kDict},
    {"hex", Method::kUnsupported, kFloat},
    {"imag", Method::kProperty, kInt | kFloat},
    {"index", Method::kIndex, kStr | kList | kTuple | kRange},
    {"insert", Method::kUnsafe, kList},
    {"is_integer", Method::kIsInteger, kFloat},
    {"isalnum", Method::kIsalnum, kStr},
    {"isalpha", Method::kIsalpha, kStr},
    {"isascii", Method::kIsascii, kStr},
    {"isdecimal", Method::kIsdecimal, kStr},
    {"isdigit", Method::kIsdigit, kStr},
    {"isdisjoint", Method::kUnsupported, kView},
    {"isidentifier", Method::kIsidentifier, kStr},
    {"islower", Method::kIslower, kStr},
    {"isnumeric", Method::kIsnumeric, kStr},
    {"isprintable", Method::kIsprintable, kStr},
    {"isspace", Method::kIsspace, kStr},
    {"istitle", Method::kIstitle, kStr},
    {"isupper", Method::kIsupper, kStr},
    {"items", Method::kItems, kDict},
    {"join", Method::kJoin, kStr},
    {"keys", Method::kKeys, kDict},
    {"ljust", Method::kLjust, kStr},
    {"lower", Method::kLower, kStr},
    {"lstrip", Method::kLstrip, kStr},
    {"maketrans", Method::kUnsupported, kStr},
    {"mapping", Method::kUnsupported, kView},
    {"next", Method::kNext, kCycler},
    {"numerator", Method::kProperty, kInt},
    {"partition", Method::kPartition, kStr},
    {"pop", Method::kUnsafe, kList | kDict},
    {"popitem", Method::kUnsafe, kDict},
    {"real", Method::kProperty, kInt | kFloat},
    {"remove", Method::kUnsafe, kList},
    {"removeprefix", Method::kRemoveprefix, kStr},
    {"removesuffix", Method::kRemovesuffix, kStr},
    {"replace", Method::kReplace, kStr},
    {"reset", Method::kReset, kCycler},
    {"reverse", Method::kUnsafe, kList},
    {"rfind", Method::kRfind, kStr},
    {"rindex", Method::kRindex, kStr},
    {"rjust", Method::kRjust, kStr},
    {"rpartition", Method::kRpartition, kStr},
    {"rsplit", Method::kRsplit, kStr},
    {"rstrip", Method::kRstrip, kStr},
    {"setdefault", Method::kUnsafe, kDict},
    {"sort", Method::kUnsafe, kList},
    {"split", Method::kSplit, kStr},
    {"splitlines", Method::kSplitlines, kStr},
    {"start", Method::kProperty, kRange},
    {"startswith", Method::kStartswith, kStr},
    {"step", Method::kProperty, kRange},
    {"stop", Method::kProperty, kRange},
    {"strip", Method::kStrip, kStr},
    {"striptags", Method::kStriptags, kMarkup},
    {"swapcase", Method::kSwapcase, kStr},
    {"title", Method::kTitle, kStr},
    {"to_bytes", Method::kUnsupported, kInt},
    {"translate", Method::kUnsupported, kStr},
    {"unescape", Method::kUnescape, kMarkup},
    {"update", Method::kUnsafe, kDict},
    {"upper", Method::kUpper, kStr},
    {"values", Method::kValues, kDict},
    {"zfill", Method::kZfill, kStr},
};
static_assert(std::is_sorted(std::begin(kAttributes), std::end(kAttributes),
                             [](const Attribute& a, const Attribute& b) {
                               return a.name < b.name;
                             }));

uint16_t type_bit(const Value& v) {
  switch (v.kind) {
    case Kind::kString: return v.is_markup() ? kStr | kMarkup : kStr;
    case Kind::kList: return kList;
    case Kind::kTuple: return kTuple;
    case Kind::kDict: return kDict;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt: return kInt;
    case Kind::kFloat: return kFloat;
    case Kind::kRange: return kRange;
    case Kind::kDictView: return kView;
    case Kind::kLoop: return kLoop;
    case Kind::kCycler: return kCycler;
    default: return 0;
  }
}

Value property(Runtime& rt, const Value& v, std::string_view name) {
  if (v.is(Kind::kRange)) {
    return rt.integer(name == "start"  ? v.range->start
                      : name == "stop" ? v.range->stop
                                       : v.range->step);
  }
  const bool is_float = v.is(Kind::kFloat);
  if (name == "imag") return is_float ? Value::of_float(0) : Value::of_int(0);
  if (name == "denominator") return Value::of_int(1);
  return is_float ? v : rt.integer(integral(v));
}

Value unsafe(Runtime& rt, const Value& object, std::string_view name) {
  return Value::of_object(
      Kind::kUndefined, rt.make<Undefined>(std::string_view(), Value::of_text(name), object, true));
}

/// Attributes of objects that are no built-in Python type.
Value object_attribute(Runtime& rt, const Value& object, std::string_view name) {
  switch (object.kind) {
    case Kind::kNamespace:
      for (uint32_t i = 0; i < object.ns->size; ++i) {
        if (object.ns->items[i].name == name) return object.ns->items[i].value;
      }
      return Value();
    case Kind::kLoop: return loop_attribute(rt, *object.loop, name);
    case Kind::kMacro: return macro_attribute(rt, *object.macro, name);
    case Kind::kCycler:
      if (name == "current") return object.cycler->items->items[object.cycler->position];
      if (name == "items") return Value::of_object(Kind::kTuple, object.cycler->items);
      return name == "pos" ? Value::of_int(object.cycler->position) : Value();
    case Kind::kJoiner:
      if (name == "sep") return object.joiner->separator;
      return name == "used" ? Value::of_bool(object.joiner->is_used) : Value();
    case Kind::kTuple:
      if (object.flags != Value::kGroup) return Value();
      return name == "grouper" ? object.seq->items[0]
             : name == "list"  ? object.seq->items[1]
                               : Value();
    default: return Value();
  }
}

/// The item; kMissing where Python raises LookupError or TypeError.
Value find_item(Runtime& rt, const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    if (!is_hashable(key)) return Value();
    const Value* found = dict_find(rt, *object.dict, key);
    return found == nullptr ? Value() : *found;
  }
  if (!key.is_integral()) return Value();
  Int i = integral(key);
  if (object.is_sequence()) {
    if (i < 0) i += object.seq->size;
    return i >= 0 && i < object.seq->size ? object.seq->items[static_cast<size_t>(i)] : Value();
  }
  if (object.is(Kind::kRange)) {
    if (i < 0) i += object.range->size;
    return i >= 0 && i < object.range->size ? rt.integer(object.range->at(static_cast<int64_t>(i)))
                                            : Value();
  }
  if (object.is_string()) {
    const std::string_view text = object.text();
    rt.charge_bytes(text.size());
    const auto size = static_cast<Int>(count_chars(text));
    if (i < 0) i += size;
    if (i < 0 || i >= size) return Value();
    const size_t begin = char_offset(text, static_cast<size_t>(i));
    size_t end = begin;
    next_char(text, end);
    return Value::of_text(text.substr(begin, end - begin), object.flags);
  }
  return Value();
}

int64_t bound(const Value& v, int64_t fallback) {
  if (v.is(Kind::kMissing) || v.is(Kind::kNone)) return fallback;
  if (!v.is_integral()) {
    fail("slice indices must be integers or None or have an __index__ method");
  }
  return index_of(v);
}

/// Python's adjustment of slice bounds to a length; returns the number of items.
struct Slice {
  int64_t start;
  int64_t step;
  int64_t size;
};
Slice resolve(const SliceBounds& bounds, int64_t length) {
  const int64_t step = bound(bounds.step, 1);
  if (step == 0) fail("slice step cannot be zero");
  const bool is_down = step < 0;
  const auto clamp = [&](int64_t i) {
    if (i < 0) i += length;
    if (i < 0) return is_down ? int64_t{-1} : int64_t{0};
    return std::min(i, is_down ? length - 1 : length);
  };
  const bool has_start = !bounds.start.is(Kind::kMissing) && !bounds.start.is(Kind::kNone);
  const bool has_stop = !bounds.stop.is(Kind::kMissing) && !bounds.stop.is(Kind::kNone);
  const int64_t start =
      has_start ? clamp(bound(bounds.start, 0)) : (is_down ? length - 1 : int64_t{0});
  const int64_t stop = has_stop ? clamp(bound(bounds.stop, 0)) : (is_down ? int64_t{-1} : length);
  const Int span = is_down ? Int{start} - stop : Int{stop} - start;
  const Int magnitude = is_down ? -Int{step} : Int{step};
  return {start, step, span <= 0 ? 0 : static_cast<int64_t>((span - 1) / magnitude + 1)};
}

Value slice_text(Runtime& rt, const Value& object, const SliceBounds& bounds) {
  const std::string_view text = object.text();
  rt.charge_bytes(text.size() * 2);
  const bool ascii = is_ascii(text);
  const auto chars = static_cast<int64_t>(ascii ? text.size() : count_chars(text));
  const Slice s = resolve(bounds, chars);
  if (s.size == 0) return Value::of_text({}, object.flags);
  if (s.step == 1) {
    if (ascii) {
      return Value::of_text(text.substr(static_cast<size_t>(s.start), static_cast<size_t>(s.size)),
                            object.flags);
    }
    const size_t begin = char_offset(text, static_cast<size_t>(s.start));
    const std::string_view rest = text.substr(begin);
    return Value::of_text(rest.substr(0, char_offset(rest, static_cast<size_t>(s.size))),
                          object.flags);
  }
  const Seq* all = collect(rt, object);
  std::string out;
  for (int64_t i = 0; i < s.size; ++i) out += all->items[s.start + i * s.step].text();
  return rt.text(out, object.flags);
}

}  // namespace

Value find_attribute(Runtime& rt, const Value& object, std::string_view name) {
  if (name.starts_with("__") && name.ends_with("__") && name.size() > 4) {
    return object.is(Kind::kNamespace) ? object_attribute(rt, object, name)
                                       : unsafe(rt, object, name);
  }
  if (const uint16_t type = type_bit(object); type != 0) {
    const auto* it =
        std::lower_bound(std::begin(kAttributes), std::end(kAttributes), name,
                         [](const Attribute& a, std::string_view n) { return a.name < n; });
    if (it != std::end(kAttributes) && it->name == name && (it->types & type) != 0) {
      if (it->method == Method::kUnsafe) return unsafe(rt, object, name);
      if (it->method == Method::kProperty) return property(rt, object, name);
      return Value::of_object(Kind::kMethod, rt.make<BoundMethod>(object, it->method, it->name));
    }
  }
  const Value found = object_attribute(rt, object, name);
  if (!found.is(Kind::kMissing) && name.starts_with('_')) return unsafe(rt, object, name);
  return found;
}

Value get_attribute(Runtime& rt, const Value& object, std::string_view name) {
  require_defined(object);
  if (const Value v = find_attribute(rt, object, name); !v.is(Kind::kMissing)) return v;
  if (object.is(Kind::kDict)) {
    if (const Value* v = dict_find(*object.dict, name)) return *v;
  }
  return rt.undefined(object, Value::of_text(name));
}

Value get_item(Runtime& rt, const Value& object, const Value& key) {
  require_defined(object);
  if (const Value v = find_item(rt, object, key); !v.is(Kind::kMissing)) return v;
  if (key.is_string()) {
    if (const Value v = find_attribute(rt, object, key.text()); !v.is(Kind::kMissing)) return v;
  }
  return rt.undefined(object, key);
}

Value get_slice(Runtime& rt, const Value& object, const SliceBounds& bounds) {
  require_defined(object);
  switch (object.kind) {
    case Kind::kString: return slice_text(rt, object, bounds);
    case Kind::kList:
    case Kind::kTuple: {
      const Slice s = resolve(bounds, object.seq->size);
      if (s.step == 1) {
        return rt.sequence(object.kind, object.seq->items + s.start, static_cast<size_t>(s.size));
      }
      Value* items = rt.allocate_values(static_cast<size_t>(s.size));
      for (int64_t i = 0; i < s.size; ++i) items[i] = object.seq->items[s.start + i * s.step];
      return rt.sequence(object.kind, items, static_cast<size_t>(s.size));
    }
    case Kind::kRange: {
      const Range& r = *object.range;
      const Slice s = resolve(bounds, r.size);
      auto* out = rt.make<Range>();
      out->start = r.start + r.step * s.start;
      out->step = r.step * s.step;
      out->size = s.size;
      out->stop = out->start + out->step * s.size;
      return Value::of_object(Kind::kRange, out);
    }
    case Kind::kDict: fail("unhashable type: 'slice'");
    default: fail("'{}' object is not subscriptable", type_name(object));
  }
}

void set_namespace_item(Runtime& rt, Namespace& ns, std::string_view name, const Value& value) {
  if (name.starts_with('_')) {
    fail(
        "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{}'. "
        "Please rename the attribute.",
        name);
  }
  for (uint32_t i = 0; i < ns.size; ++i) {
    rt.charge();
    if (ns.items[i].name != name) continue;
    ns.items[i].value = value;
    return;
  }
  if (ns.size == ns.capacity) {
    const uint32_t capacity = ns.capacity == 0 ? 8 : ns.capacity * 2;
    auto* items = static_cast<Namespace::Item*>(rt.allocate(capacity * sizeof(Namespace::Item)));
    std::uninitialized_copy(ns.items, ns.items + ns.size, items);
    ns.items = items;
    ns.capacity = capacity;
  }
  ns.items[ns.size++] = {name, value};
}

}  // namespace ramjet::text::chat

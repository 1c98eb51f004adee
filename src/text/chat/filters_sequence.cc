// Filters over sequences.
#include <algorithm>
#include <array>

#include "text/chat/attributes.h"
#include "text/chat/filters.h"
#include "text/chat/methods.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

Value count(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"length", {}}, call);
  return Value::of_int(length(rt, v));
}

Value default_value(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"default", {"default_value", "boolean"}}, call);
  const bool is_replaced = v.is_undefined() || (args.flag(rt, 1) && !truthy(rt, v));
  return is_replaced ? args.get(0, Value::of_text("")) : v;
}

Value attribute(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"attr", {"name"}, 1}, call);
  const std::string_view name = args.text(0);
  require_defined(v);
  const Value found = find_attribute(rt, v, name);
  return found.is(Kind::kMissing) ? rt.undefined(v, args[0]) : found;
}

Value list(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"list", {}}, call);
  const Seq* seq = collect(rt, v);
  return rt.sequence(Kind::kList, seq->items, seq->size);
}

Value first(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"first", {}}, call);
  Value item;
  if (iterate(rt, v)->next(&item)) return item;
  return rt.undefined_hint("No first item, sequence was empty.");
}

Value last(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"last", {}}, call);
  Iterator* it = reverse_iterate(rt, v);
  if (it == nullptr) fail("'{}' object is not reversible", type_name(v));
  Value item;
  if (it->next(&item)) return item;
  return rt.undefined_hint("No last item, sequence was empty.");
}

Value reverse(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"reverse", {}}, call);
  if (v.is_string()) return get_slice(rt, v, {{}, {}, Value::of_int(-1)});
  if (Iterator* it = reverse_iterate(rt, v)) return rt.iterator(it);
  if (!is_iterable(v)) fail("argument must be iterable");
  const Seq* seq = collect(rt, v);
  Value* items = rt.allocate_values(seq->size);
  std::reverse_copy(seq->begin(), seq->end(), items);
  return rt.sequence(Kind::kList, items, seq->size);
}

Value join(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"join", {"d", "attribute"}}, call);
  const std::string_view separator = args.has(0) ? to_str(rt, args[0]).text() : "";
  Iterator* it = iterate(rt, v);
  if (args.has(1) && !args[1].is(Kind::kNone)) {
    ListBuilder items(rt);
    for (Value item; it->next(&item);) items.add(lookup_path(rt, item, args[1]));
    it = iterate_items(rt, items.data(), items.size());
  }
  return join_text(rt, separator, it, false);
}

Value items(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"items", {}}, call);
  if (v.is_undefined()) return rt.iterator(iterate_items(rt, nullptr, 0));
  if (!v.is(Kind::kDict)) fail("Can only get item pairs from a mapping.");
  return rt.iterator(iterate(rt, Value::of_object(Kind::kDictView, v.dict, Value::kViewItems)));
}

Value batch(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"batch", {"linecount", "fill_with"}, 1}, call);
  const Seq* seq = collect(rt, v);
  const int64_t size = index_of(args[0]);
  // With a size below one nothing ever fills a batch.
  const size_t step = size > 0 ? static_cast<size_t>(size) : std::max<size_t>(seq->size, 1);
  ListBuilder out(rt);
  if (size == 0 && seq->size > 0) {
    // The empty batch is full at once: Python yields it, then one item each.
    out.add(rt.sequence(Kind::kList, nullptr, 0));
  }
  for (size_t at = 0; at < seq->size; at += step) {
    const size_t n = std::min<size_t>(step, seq->size - at);
    ListBuilder row(rt);
    for (size_t i = 0; i < n; ++i) row.add(seq->items[at + i]);
    if (args.has(1) && !args[1].is(Kind::kNone)) {
      for (int64_t i = static_cast<int64_t>(n); i < size; ++i) row.add(args[1]);
    }
    out.add(row.list());
  }
  return rt.iterator(iterate_items(rt, out.data(), out.size()));
}

Value slice(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"slice", {"slices", "fill_with"}, 1}, call);
  const Seq* seq = collect(rt, v);
  const int64_t slices = index_of(args[0]);
  if (slices == 0) fail("integer division or modulo by zero");
  ListBuilder out(rt);
  const int64_t size = slices > 0 ? seq->size / slices : 0;
  const int64_t extra = slices > 0 ? seq->size % slices : 0;
  int64_t at = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const int64_t n = size + (i < extra ? 1 : 0);
    ListBuilder row(rt);
    for (int64_t k = 0; k < n; ++k) row.add(seq->items[at + k]);
    at += n;
    if (args.has(1) && !args[1].is(Kind::kNone) && i >= extra) row.add(args[1]);
    out.add(row.list());
  }
  return rt.iterator(iterate_items(rt, out.data(), out.size()));
}

/// Strings in lower case, for keys that ignore case.
Value fold(Runtime& rt, const Value& v, bool is_case_sensitive) {
  if (is_case_sensitive || !v.is_string()) return v;
  rt.check_size(static_cast<Int>(v.size) * 3);
  rt.charge_bytes(v.size * size_t{4});
  return rt.text(to_lower(v.text()));
}

struct Keyed {
  Value key;
  Value item;
};

void sort_keyed(Runtime& rt, std::vector<Keyed>& keyed, bool is_reversed) {
  // Python sorts stably, in reverse too.
  if (is_reversed) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(),
                   [&](const Keyed& a, const Keyed& b) { return less(rt, a.key, b.key); });
  if (is_reversed) std::reverse(keyed.begin(), keyed.end());
}

Value items_of(Runtime& rt, const std::vector<Keyed>& keyed) {
  ListBuilder out(rt);
  for (const Keyed& k : keyed) out.add(k.item);
  return out.list();
}

Value dict_sort(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"dictsort", {"case_sensitive", "by", "reverse"}}, call);
  const std::string_view by = args.text(1, "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  require_defined(v);
  if (!v.is(Kind::kDict)) fail("'{}' object has no attribute 'items'", type_name(v));
  std::vector<Keyed> keyed;
  for (uint32_t i = 0; i < v.dict->size; ++i) {
    const Value& key = by == "key" ? v.dict->keys[i] : v.dict->values[i];
    keyed.push_back(
        {fold(rt, key, args.flag(rt, 0)), rt.tuple2(v.dict->keys[i], v.dict->values[i])});
  }
  sort_keyed(rt, keyed, args.flag(rt, 2));
  return items_of(rt, keyed);
}

/// The key of jinja2's sort: a list, one entry for each comma-separated attribute.
Value sort_key(Runtime& rt, const Value& item, const Value& attribute, bool is_case_sensitive) {
  ListBuilder key(rt);
  if (!attribute.is_string()) {
    key.add(fold(rt, lookup_path(rt, item, attribute), is_case_sensitive));
    return key.list();
  }
  std::string_view rest = attribute.text();
  while (true) {
    const size_t comma = rest.find(',');
    const Value path = Value::of_text(rest.substr(0, comma));
    key.add(fold(rt, lookup_path(rt, item, path), is_case_sensitive));
    if (comma == std::string_view::npos) return key.list();
    rest.remove_prefix(comma + 1);
  }
}

Value sort(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"sort", {"reverse", "case_sensitive", "attribute"}}, call);
  std::vector<Keyed> keyed;
  Iterator* it = iterate(rt, v);
  for (Value item; it->next(&item);) {
    keyed.push_back({sort_key(rt, item, args[2], args.flag(rt, 1)), item});
  }
  sort_keyed(rt, keyed, args.flag(rt, 0));
  return items_of(rt, keyed);
}

class UniqueIterator final : public Iterator {
 public:
  UniqueIterator(Runtime& rt, Iterator* items, const Bound& args)
      : rt_(rt),
        items_(items),
        is_case_sensitive_(args.flag(rt, 0)),
        attribute_(args[1]),
        seen_(rt) {}
  bool next(Value* out) override {
    rt_.check_stack();
    while (items_->next(out)) {
      const Value key = fold(rt_, lookup_path(rt_, *out, attribute_), is_case_sensitive_);
      if (seen_.add(key, Value())) return true;
    }
    return false;
  }

 private:
  Runtime& rt_;
  Iterator* items_;
  bool is_case_sensitive_;
  Value attribute_;
  DictBuilder seen_;
};

Value unique(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"unique", {"case_sensitive", "attribute"}}, call);
  return rt.iterator(new (rt.allocate(sizeof(UniqueIterator)))
                         UniqueIterator(rt, iterate(rt, v), args));
}

template <bool is_max>
Value extreme(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({is_max ? "max" : "min", {"case_sensitive", "attribute"}}, call);
  Iterator* it = iterate(rt, v);
  Value best;
  Value best_key;
  for (Value item; it->next(&item);) {
    const Value key = fold(rt, lookup_path(rt, item, args[1]), args.flag(rt, 0));
    const bool is_better = best.is(Kind::kMissing) ||
                           compare(rt, key, best_key, is_max ? Order::kGreater : Order::kLess);
    if (!is_better) continue;
    best = item;
    best_key = key;
  }
  return best.is(Kind::kMissing) ? rt.undefined_hint("No aggregated item, sequence was empty.")
                                 : best;
}

Value sum(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"sum", {"attribute", "start"}}, call);
  Value total = args.get(1, Value::of_int(0));
  if (total.is_string()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  Iterator* it = iterate(rt, v);
  for (Value item; it->next(&item);) {
    total = binary(rt, BinaryOp::kAdd, total, lookup_path(rt, item, args[0]));
  }
  return total;
}

Value group_by(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound args({"groupby", {"attribute", "default", "case_sensitive"}, 1}, call);
  const bool is_case_sensitive = args.flag(rt, 2);
  const auto key_of = [&](const Value& item) {
    return attribute_or_default(rt, item, args[0], args.get(1, Value::none()));
  };
  std::vector<Keyed> keyed;
  Iterator* it = iterate(rt, v);
  for (Value item; it->next(&item);) {
    keyed.push_back({fold(rt, key_of(item), is_case_sensitive), item});
  }
  sort_keyed(rt, keyed, false);
  ListBuilder out(rt);
  for (size_t begin = 0; begin < keyed.size();) {
    size_t end = begin;
    ListBuilder group(rt);
    while (end < keyed.size() && equals(rt, keyed[end].key, keyed[begin].key)) {
      group.add(keyed[end++].item);
    }
    if (end == begin) group.add(keyed[end++].item);  // a key unequal to itself: NaN
    Value* pair = rt.allocate_values(2);
    pair[0] = key_of(keyed[begin].item);
    pair[1] = group.list();
    out.add(rt.sequence(Kind::kTuple, pair, 2, Value::kGroup));
    begin = end;
  }
  return out.list();
}

constexpr std::array<FilterEntry, 20> kFilters = {
    {{"length", count},   {"default", default_value}, {"list", list},
     {"join", join},      {"first", first},           {"last", last},
     {"items", items},    {"d", default_value},       {"count", count},
     {"attr", attribute}, {"reverse", reverse},       {"batch", batch},
     {"slice", slice},    {"dictsort", dict_sort},    {"sort", sort},
     {"unique", unique},  {"min", extreme<false>},    {"max", extreme<true>},
     {"sum", sum},        {"groupby", group_by}}};

}  // namespace

std::span<const FilterEntry> sequence_filters() { return kFilters; }

}  // namespace ramjet::text::chat

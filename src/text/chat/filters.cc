#include "text/chat/filters.h"

#include "text/chat/attributes.h"

namespace ramjet::text::chat {

FilterFn find_filter(std::string_view name) {
  for (const auto table :
       {text_filters(), sequence_filters(), selection_filters(), number_filters()}) {
    for (const FilterEntry& entry : table) {
      if (entry.name == name) return entry.filter;
    }
  }
  return nullptr;
}

Value attribute_or_default(Runtime& rt, const Value& item, const Value& path,
                           const Value& fallback) {
  const auto step = [&](const Value& from, const Value& key) {
    rt.charge();
    const Value v = get_item(rt, from, key);
    return v.is_undefined() && !fallback.is(Kind::kNone) ? fallback : v;
  };
  if (path.is(Kind::kMissing) || path.is(Kind::kNone)) return item;
  if (!path.is_string()) return step(item, path);
  Value found = item;
  std::string_view rest = path.text();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    bool is_index = !part.empty() && part.size() < 18;
    for (const char c : part) {
      is_index = is_index && c >= '0' && c <= '9';
      if (is_index) index = index * 10 + (c - '0');
    }
    found = step(found, is_index ? Value::of_int(index) : Value::of_text(part));
    if (dot == std::string_view::npos) return found;
    rest.remove_prefix(dot + 1);
  }
}

Value lookup_path(Runtime& rt, const Value& item, const Value& path) {
  return attribute_or_default(rt, item, path, Value::none());
}

}  // namespace ramjet::text::chat

// The filters (`x | name`) and tests (`x is name`) of jinja2, with transformers' tojson.
#pragma once

#include <string_view>

#include "text/chat/call_args.h"

namespace ramjet::text::chat {

using FilterFn = Value (*)(Runtime& rt, const Value& input, const CallArgs& args);
using TestFn = bool (*)(Runtime& rt, const Value& input, const CallArgs& args);

/// Null for an unknown name.
FilterFn find_filter(std::string_view name);
TestFn find_test(std::string_view name);

struct FilterEntry {
  std::string_view name;
  FilterFn filter;
};
// The tables of filter files; find_filter searches them all.
std::span<const FilterEntry> text_filters();
std::span<const FilterEntry> number_filters();
std::span<const FilterEntry> sequence_filters();
std::span<const FilterEntry> selection_filters();

/// `x | pprint`: Python's pprint.pformat. pretty_print.cc
Value pretty_print(Runtime& rt, const Value& v, const CallArgs& call);

/// jinja2's make_attrgetter: "a.b.0" as a chain of items; kMissing is the item itself.
Value lookup_path(Runtime& rt, const Value& item, const Value& path);
/// The same, with `fallback` (unless None) in place of each undefined step.
Value attribute_or_default(Runtime& rt, const Value& item, const Value& path,
                           const Value& fallback);

}  // namespace ramjet::text::chat

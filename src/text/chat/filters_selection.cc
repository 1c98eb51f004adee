// map, select, reject and their attr twins: lazy, as Python's generators are.
#include <algorithm>
#include <array>

#include "text/chat/filters.h"

namespace ramjet::text::chat {
namespace {

/// A copy of a call's arguments in the arena, for use after the call.
CallArgs keep(Runtime& rt, const CallArgs& args) {
  Value* positional = rt.allocate_values(args.positional.size());
  std::copy(args.positional.begin(), args.positional.end(), positional);
  auto* keywords = static_cast<Keyword*>(rt.allocate(args.keywords.size() * sizeof(Keyword)));
  std::uninitialized_copy(args.keywords.begin(), args.keywords.end(), keywords);
  return {{positional, args.positional.size()}, {keywords, args.keywords.size()}};
}

const Value* keyword(const CallArgs& args, std::string_view name) {
  for (const Keyword& k : args.keywords) {
    if (k.name == name) return &k.value;
  }
  return nullptr;
}

class MapIterator final : public Iterator {
 public:
  MapIterator(Runtime& rt, const Value& source, const CallArgs& args)
      : rt_(rt), source_(source), args_(keep(rt, args)) {}

  bool next(Value* out) override {
    rt_.check_stack();
    if (!is_started_) start();
    Value item;
    if (items_ == nullptr || !items_->next(&item)) return false;
    *out = filter_ != nullptr ? filter_(rt_, item, args_)
                              : attribute_or_default(rt_, item, attribute_, default_);
    return true;
  }

 private:
  void start() {
    is_started_ = true;
    if (!truthy(rt_, source_)) return;
    if (const Value* attribute = keyword(args_, "attribute");
        args_.positional.empty() && attribute != nullptr) {
      attribute_ = *attribute;
      if (const Value* fallback = keyword(args_, "default")) default_ = *fallback;
      for (const Keyword& k : args_.keywords) {
        if (k.name == "attribute" || k.name == "default") continue;
        fail("Unexpected keyword argument '{}'", k.name);
      }
    } else {
      if (args_.positional.empty()) fail("map requires a filter argument");
      const Value name = args_.positional[0];
      filter_ = name.is_string() ? find_filter(name.text()) : nullptr;
      args_.positional = args_.positional.subspan(1);
    }
    items_ = iterate(rt_, source_);
    if (filter_ == nullptr && attribute_.is(Kind::kMissing)) unknown_ = true;
    if (unknown_) items_ = new (rt_.allocate(sizeof(FailingIterator))) FailingIterator(items_);
  }

  /// An unknown filter fails only when there is an item to filter.
  class FailingIterator final : public Iterator {
   public:
    explicit FailingIterator(Iterator* items) : items_(items) {}
    bool next(Value* out) override {
      if (!items_->next(out)) return false;
      fail("map: no filter of that name");
    }

   private:
    Iterator* items_;
  };

  Runtime& rt_;
  Value source_;
  CallArgs args_;
  Iterator* items_ = nullptr;
  FilterFn filter_ = nullptr;
  Value attribute_;
  Value default_ = Value::none();
  bool is_started_ = false;
  bool unknown_ = false;
};

class SelectIterator final : public Iterator {
 public:
  SelectIterator(Runtime& rt, const Value& source, const CallArgs& args, bool by_attribute,
                 bool wanted)
      : rt_(rt),
        source_(source),
        args_(keep(rt, args)),
        by_attribute_(by_attribute),
        wanted_(wanted) {}

  bool next(Value* out) override {
    rt_.check_stack();
    if (!is_started_) start();
    if (items_ == nullptr) return false;
    while (items_->next(out)) {
      const Value subject = by_attribute_ ? lookup_path(rt_, *out, attribute_) : *out;
      if (has_test_ && test_ == nullptr) fail("select: no test of that name");
      const bool passes = has_test_ ? test_(rt_, subject, args_) : truthy(rt_, subject);
      if (passes == wanted_) return true;
    }
    return false;
  }

 private:
  void start() {
    is_started_ = true;
    if (!truthy(rt_, source_)) return;
    if (by_attribute_) {
      if (args_.positional.empty()) fail("Missing parameter for attribute name");
      attribute_ = args_.positional[0];
      args_.positional = args_.positional.subspan(1);
    }
    if (!args_.positional.empty()) {
      has_test_ = true;
      const Value name = args_.positional[0];
      test_ = name.is_string() ? find_test(name.text()) : nullptr;
      args_.positional = args_.positional.subspan(1);
    }
    items_ = iterate(rt_, source_);
  }

  Runtime& rt_;
  Value source_;
  CallArgs args_;
  bool by_attribute_;
  bool wanted_;
  Iterator* items_ = nullptr;
  Value attribute_;
  TestFn test_ = nullptr;
  bool has_test_ = false;
  bool is_started_ = false;
};

Value map(Runtime& rt, const Value& v, const CallArgs& args) {
  return rt.iterator(new (rt.allocate(sizeof(MapIterator))) MapIterator(rt, v, args));
}

template <bool by_attribute, bool wanted>
Value select(Runtime& rt, const Value& v, const CallArgs& args) {
  return rt.iterator(new (rt.allocate(sizeof(SelectIterator)))
                         SelectIterator(rt, v, args, by_attribute, wanted));
}

constexpr std::array<FilterEntry, 5> kFilters = {{{"map", map},
                                                  {"select", select<false, true>},
                                                  {"reject", select<false, false>},
                                                  {"selectattr", select<true, true>},
                                                  {"rejectattr", select<true, false>}}};

}  // namespace

std::span<const FilterEntry> selection_filters() { return kFilters; }

}  // namespace ramjet::text::chat

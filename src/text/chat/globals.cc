#include "text/chat/globals.h"

#include <array>

#include "text/chat/attributes.h"

namespace ramjet::text::chat {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same

struct Global {
  std::string_view name;
  Function function;
};
constexpr std::array<Global, 8> kGlobals = {{{"range", Function::kRange},
                                             {"dict", Function::kDict},
                                             {"namespace", Function::kNamespace},
                                             {"cycler", Function::kCycler},
                                             {"joiner", Function::kJoiner},
                                             {"lipsum", Function::kLipsum},
                                             {"raise_exception", Function::kRaiseException},
                                             {"strftime_now", Function::kStrftimeNow}}};

Value make_range(Runtime& rt, const CallArgs& call) {
  const Bound args({"range", {"", "", ""}, 1}, call);
  auto* range = rt.make<Range>();
  const auto integer = [&](size_t i) {
    index_of(args[i]);  // TypeError for what is no integer
    return integral(args[i]);
  };
  range->start = args.has(1) ? integer(0) : 0;
  range->stop = args.has(1) ? integer(1) : integer(0);
  range->step = args.has(2) ? integer(2) : 1;
  if (range->step == 0) fail("range() arg 3 must not be zero");
  const bool is_up = range->step > 0;
  const Int span = is_up ? range->stop - range->start : range->start - range->stop;
  const Int size = span <= 0 ? 0 : (span - 1) / (is_up ? range->step : -range->step) + 1;
  if (size > kMaxRange) {
    fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  range->size = static_cast<int64_t>(size);
  return Value::of_object(Kind::kRange, range);
}

void add_pairs(Runtime& rt, const Value& pairs, DictBuilder& out) {
  Iterator* it = iterate(rt, pairs);
  for (Value pair; it->next(&pair);) {
    const Seq* seq = collect(rt, pair);
    if (seq->size != 2) {
      fail("dictionary update sequence element has length {}; 2 is required", seq->size);
    }
    out.set(seq->items[0], seq->items[1]);
  }
}

Value make_dict(Runtime& rt, const CallArgs& args) {
  if (args.positional.size() > 1) {
    fail("dict expected at most 1 argument, got {}", args.positional.size());
  }
  DictBuilder out(rt);
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    require_defined(from);
    if (from.is(Kind::kDict)) {
      for (uint32_t i = 0; i < from.dict->size; ++i)
        out.set(from.dict->keys[i], from.dict->values[i]);
    } else {
      add_pairs(rt, from, out);
    }
  }
  for (const Keyword& keyword : args.keywords) {
    out.set(Value::of_text(keyword.name), keyword.value);
  }
  return out.dict();
}

Value make_namespace(Runtime& rt, const CallArgs& args) {
  const Value dict = make_dict(rt, args);
  auto* ns = rt.make<Namespace>();
  for (uint32_t i = 0; i < dict.dict->size; ++i) {
    const Value& key = dict.dict->keys[i];
    if (key.is_string()) set_namespace_item(rt, *ns, key.text(), dict.dict->values[i]);
  }
  return Value::of_object(Kind::kNamespace, ns);
}

Value make_cycler(Runtime& rt, const CallArgs& args) {
  if (args.positional.empty()) fail("at least one item has to be provided");
  if (!args.keywords.empty()) fail("cycler() takes no keyword arguments");
  const Value items =
      rt.sequence(Kind::kTuple, std::vector<Value>(args.positional.begin(), args.positional.end()));
  return Value::of_object(Kind::kCycler, rt.make<Cycler>(items.seq));
}

Value make_joiner(Runtime& rt, const CallArgs& call) {
  const Bound args({"joiner", {"sep"}}, call);
  return Value::of_object(Kind::kJoiner, rt.make<Joiner>(args.get(0, Value::of_text(", "))));
}

[[noreturn]] void raise_exception(Runtime& rt, const CallArgs& call) {
  const Bound args({"raise_exception", {"message"}, 1}, call);
  throw RenderError{ErrorCode::kInvalidArgument, std::string(to_str(rt, args[0]).text()), true};
}

}  // namespace

Value find_global(std::string_view name) {
  for (const Global& global : kGlobals) {
    if (global.name == name) return Value::of_function(global.function);
  }
  return Value();
}

Value call_global(Runtime& rt, Function function, const CallArgs& call) {
  switch (function) {
    case Function::kRange: return make_range(rt, call);
    case Function::kDict: return make_dict(rt, call);
    case Function::kNamespace: return make_namespace(rt, call);
    case Function::kCycler: return make_cycler(rt, call);
    case Function::kJoiner: return make_joiner(rt, call);
    case Function::kRaiseException: raise_exception(rt, call);
    case Function::kLipsum:
      throw_error(ErrorCode::kUnsupported, "lipsum() is not supported: it is random");
    case Function::kStrftimeNow: break;
  }
  const Bound args({"strftime_now", {"format"}, 1}, call);
  const auto& now = rt.options().now;
  return rt.text(format_time(now ? *now : TemplateTime::now_local(), args.text(0)));
}

}  // namespace ramjet::text::chat

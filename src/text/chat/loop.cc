#include "text/chat/loop.h"

#include "text/chat/ops.h"

namespace ramjet::text::chat {
namespace {

bool peek(Loop& loop) {
  if (!loop.after.is(Kind::kMissing)) return true;
  if (loop.iterator->next(&loop.after)) return true;
  loop.after = Value();  // an iterator may leave anything there
  return false;
}

/// `for x in loop` inside the loop itself: yields (item, loop), and advances it.
class LoopIterator final : public Iterator {
 public:
  LoopIterator(Runtime& rt, const Value& loop) : rt_(rt), loop_(loop) {}
  bool next(Value* out) override {
    Value item;
    if (!loop_next(*loop_.loop, &item)) return false;
    *out = rt_.tuple2(item, loop_);
    return true;
  }

 private:
  Runtime& rt_;
  Value loop_;
};

}  // namespace

bool loop_next(Loop& loop, Value* out) {
  if (!loop.after.is(Kind::kMissing)) {
    *out = loop.after;
    loop.after = Value();
  } else if (!loop.iterator->next(out)) {
    return false;
  }
  ++loop.index0;
  loop.before = loop.current;
  loop.current = *out;
  return true;
}

int64_t loop_length(Runtime& rt, Loop& loop) {
  if (loop.length >= 0) return loop.length;
  if (const auto n = try_length(rt, loop.source)) return loop.length = *n;
  const Seq* rest = collect(rt, rt.iterator(loop.iterator));
  loop.iterator = iterate_items(rt, rest->items, rest->size);
  loop.length = rest->size + loop.index0 + 1 + (loop.after.is(Kind::kMissing) ? 0 : 1);
  return loop.length;
}

bool loop_is_last(Loop& loop) { return !peek(loop); }

Value loop_attribute(Runtime& rt, Loop& loop, std::string_view name) {
  if (name == "index") return Value::of_int(loop.index0 + 1);
  if (name == "index0") return Value::of_int(loop.index0);
  if (name == "first") return Value::of_bool(loop.index0 == 0);
  if (name == "last") return Value::of_bool(loop_is_last(loop));
  if (name == "length") return Value::of_int(loop_length(rt, loop));
  if (name == "revindex") return Value::of_int(loop_length(rt, loop) - loop.index0);
  if (name == "revindex0") return Value::of_int(loop_length(rt, loop) - loop.index0 - 1);
  if (name == "depth") return Value::of_int(loop.depth0 + 1);
  if (name == "depth0") return Value::of_int(loop.depth0);
  if (name == "previtem") {
    return loop.index0 == 0 ? rt.undefined_hint("there is no previous item") : loop.before;
  }
  if (name == "nextitem") {
    return peek(loop) ? loop.after : rt.undefined_hint("there is no next item");
  }
  return Value();
}

Iterator* iterate_loop(Runtime& rt, const Value& loop) {
  return new (rt.allocate(sizeof(LoopIterator))) LoopIterator(rt, loop);
}

}  // namespace ramjet::text::chat

// Objects: which keys may come, and what their values then are.
#include <algorithm>

#include "text/grammar/json_text.h"
#include "text/grammar/machine.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxSome = 6;

bool has_seen(const Frame& f, size_t named) {
  return (f.seen[named / 64] >> (named % 64) & 1) != 0;
}

int64_t others_count(const Frame& f) {
  int64_t count = 0;
  for (const KeyList* k = f.others.get(); k != nullptr; k = k->before.get()) ++count;
  return count;
}

/// Counts the texts that lead from a state to acceptance, up to a limit.
class TextCounter {
 public:
  TextCounter(const Dfa& dfa, int64_t limit)
      : dfa_(dfa), limit_(limit), on_path_(static_cast<size_t>(dfa.states())) {}

  /// Those that begin with one of `first`, and the empty one if it counts.
  int64_t count(int32_t state, CodePointRange first, bool empty) {
    uint8_t& on_path = on_path_[static_cast<size_t>(state)];
    if (on_path != 0) return limit_;  // a loop
    on_path = 1;
    int64_t count = empty && dfa_.accepts(state) ? 1 : 0;
    for (size_t c = 0; c < dfa_.classes() && count < limit_; ++c) {
      const int32_t to = dfa_.class_step(state, c);
      const int64_t width = dfa_.live(to) ? width_of(c, first) : 0;
      if (width == 0) continue;
      const int64_t each = this->count(to, {0, kCodePoints - 1}, true);
      count = each > limit_ / width ? limit_ : std::min(limit_, count + each * width);
    }
    on_path = 0;
    return count;
  }

 private:
  /// The characters of a class that are in the range; no model writes surrogates.
  int64_t width_of(size_t c, CodePointRange range) const {
    const uint32_t end = c + 1 < dfa_.classes() ? dfa_.class_low(c + 1) : kCodePoints;
    const uint32_t low = std::max(dfa_.class_low(c), range.first);
    const uint32_t high = std::min(end - 1, range.second);
    if (low > high) return 0;
    const uint32_t from = std::max(low, 0xD800u), until = std::min(high, 0xDFFFu);
    return int64_t{high} - low + 1 - (from <= until ? int64_t{until} - from + 1 : 0);
  }

  const Dfa& dfa_;
  const int64_t limit_;
  std::vector<uint8_t> on_path_;
};

}  // namespace

void Machine::begin_object(const Thread& thread, const ObjectPlan& plan) {
  if (plan.shape.some.size() > kMaxSome) refuse_limit("an object needs too many kinds of members");
  Frame f;
  f.kind = Frame::Kind::kObject;
  f.parent = thread.frame;
  f.object = &plan;
  f.seen.assign((plan.named.size() + 63) / 64, 0);
  if (canonical_ && !can_finish_object(f)) return;
  Thread t;
  t.kind = Thread::Kind::kFirstKey;
  t.frame = make_frame(std::move(f));
  t.capture = thread.capture;
  put(std::move(t));
}

bool Machine::object_complete(const Frame& f) const {
  const ObjectPlan& plan = *f.object;
  if (f.count < plan.shape.min) return false;
  if (f.some_done != (1u << plan.shape.some.size()) - 1) return false;
  for (size_t i = 0; i < plan.named.size(); ++i) {
    if (plan.named[i].required && !has_seen(f, i)) return false;
  }
  return true;
}

/// Whether a model can bring the object to an end, its declared members coming in order.
bool Machine::can_finish_object(const Frame& f) {
  const ObjectPlan& plan = *f.object;
  int64_t required = 0;
  int64_t optional = 0;
  for (size_t i = 0; i < plan.named.size(); ++i) {
    const auto& named = plan.named[i];
    const bool possible = i >= f.next_named && named.empty == Emptiness::kNotEmpty;
    if (named.required && !has_seen(f, i)) {
      if (!possible) return false;
      ++required;
    } else if (!named.required && possible) {
      ++optional;
    }
  }
  optional += std::max<int64_t>(0, plan.offered_count - others_count(f));
  int64_t some = 0;
  for (size_t i = 0; i < plan.shape.some.size(); ++i) {
    if ((f.some_done >> i & 1) != 0) continue;
    ++some;
    const MemberRule& rule = plan.shape.some[i];
    const TextSet& set = normal_.pool().set(rule.set);
    bool possible = false;
    const auto value = [&](ExprId e) {
      possible |= normal_.emptiness(normal_.pool().all({e, rule.value})) == Emptiness::kNotEmpty;
    };
    for (size_t k = f.next_named; k < plan.named.size(); ++k) {
      if (set.has(plan.named[k].key)) value(plan.named[k].value);
    }
    for (const auto& c : plan.classes) {
      const Dfa common = must(Dfa::both(*c.keys, *normal_.pool().language(rule.set)), "some");
      if (!possible && common.count(1000) > others_count(f)) value(c.value);
    }
    if (!possible) return false;
  }
  const int64_t room = plan.shape.max == kNoLimit ? kNoLimit : plan.shape.max - f.count;
  const int64_t needed = std::max(required + some, plan.shape.min - f.count);
  return needed <= room && needed <= required + optional;
}

/// One past the last declared member that may come next: no required one is passed over.
size_t Machine::last_candidate(const Frame& f) const {
  const auto& named = f.object->named;
  size_t i = f.next_named;
  while (i < named.size() && !named[i].required) ++i;
  return std::min(i + 1, named.size());
}

bool Machine::has_candidate(const Frame& f) {
  MachineState before = std::move(out_);
  out_.clear();
  Thread t;
  t.frame = std::make_shared<const Frame>(f);
  begin_key(t);
  const bool any = !out_.empty();
  out_ = std::move(before);
  return any;
}

void Machine::between_members(const Thread& thread, uint8_t byte) {
  using Kind = Thread::Kind;
  const Frame& f = *thread.frame;
  if (byte == '}' && thread.kind != Kind::kNextKey) {
    if (!object_complete(f)) return;
    Thread t;
    t.frame = f.parent;
    t.capture = thread.capture;
    return finish_value(t, 0);
  }
  if (byte == ',' && thread.kind == Kind::kAfterMember) {
    if (f.count >= f.object->shape.max || (canonical_ && !has_candidate(f))) return;
    Thread t = thread;
    t.kind = Kind::kNextKey;
    t.space = true;
    return put(std::move(t));
  }
  if (byte == '"' && thread.kind != Kind::kAfterMember && f.count < f.object->shape.max) {
    begin_key(thread);
  }
}

void Machine::begin_key(const Thread& thread) {
  Thread t;
  t.frame = thread.frame;
  t.capture = thread.capture;
  const Frame& f = *thread.frame;
  const ObjectPlan& plan = *f.object;
  if (!canonical_) {
    t.kind = Thread::Kind::kKey;
    return put(std::move(t));
  }
  const size_t end = last_candidate(f);
  for (size_t i = f.next_named; i < end; ++i) {
    if (plan.named[i].empty != Emptiness::kNotEmpty) continue;
    Frame after = f;
    after.next_named = i + 1;
    after.seen[i / 64] |= uint64_t{1} << (i % 64);
    ++after.count;
    if (!plan.shape.some.empty()) after.some_done = (1u << plan.shape.some.size()) - 1;
    if (!can_finish_object(after)) continue;
    Thread key = t;
    key.kind = Thread::Kind::kNamedKey;
    key.a = static_cast<int32_t>(i), key.b = 1;  // behind the quote
    put(std::move(key));
  }
  const bool waiting = end > f.next_named && plan.named[end - 1].required;
  if (waiting || plan.offered_count <= others_count(f)) return;
  Frame after = f;
  after.next_named = plan.named.size();
  ++after.count;
  after.others = std::make_shared<const KeyList>(KeyList{{}, 0, f.others});
  if (!plan.shape.some.empty()) after.some_done = (1u << plan.shape.some.size()) - 1;
  if (!can_finish_object(after)) return;
  t.kind = Thread::Kind::kOtherKey;
  t.dfa = &plan.offered;
  put(std::move(t));
}

void Machine::key(Thread thread, uint8_t byte) {
  const CharReader::Read read = thread.chars.json(byte, true);
  if (!read.ok) return;
  for (int i = 0; i < read.count; ++i) put_utf8(thread.text, read.points[i]);
  if (!read.end) return put(std::move(thread));
  // As code points: a surrogate is one, though it is no UTF-8.
  const auto& named = thread.frame->object->named;
  for (size_t i = 0; i < named.size(); ++i) {
    if (named[i].text == thread.text) return after_key(thread, static_cast<int32_t>(i));
  }
  after_key(thread, -1);
}

void Machine::named_key(Thread thread, uint8_t byte) {
  const std::string& spelling = thread.frame->object->named[static_cast<size_t>(thread.a)].quoted;
  if (byte != static_cast<uint8_t>(spelling[static_cast<size_t>(thread.b)])) return;
  if (++thread.b < std::ssize(spelling)) return put(std::move(thread));
  after_key(thread, thread.a);
}

/// Whether a key that goes on with one of `next`, or, if it `may_end`, ends here, can still be none
/// of those before.
bool Machine::has_new_key(const Thread& thread, CodePointRange next, bool may_end) {
  int64_t taken = 0;
  for (const KeyList* k = thread.frame->others.get(); k != nullptr; k = k->before.get()) {
    if (!k->key.starts_with(thread.text)) continue;
    const std::u32string rest = to_code_points(std::string_view(k->key).substr(thread.text.size()));
    const bool goes_on = !rest.empty() && rest[0] >= next.first && rest[0] <= next.second;
    taken += goes_on || (rest.empty() && may_end) ? 1 : 0;
  }
  if (taken == 0) return true;
  return TextCounter(*thread.dfa, taken + 1).count(thread.b, next, may_end) > taken;
}

void Machine::other_key(Thread thread, uint8_t byte) {
  const CharReader::Read read = thread.chars.json(byte, false);
  if (!read.ok) return;
  for (int i = 0; i < read.count; ++i) {
    put_utf8(thread.text, read.points[i]);
    thread.b = thread.dfa->step(thread.b, read.points[i]);
    if (!thread.dfa->live(thread.b)) return;
  }
  if (read.end) {
    if (thread.dfa->accepts(thread.b)) after_key(thread, -1);
    return;
  }
  const bool partial = thread.chars.mode != CharReader::Mode::kPlain;
  const CodePointRange next =
      partial ? thread.chars.possible() : CodePointRange{0, kCodePoints - 1};
  if (partial && !thread.dfa->live_within(thread.b, next.first, next.second)) return;
  if (has_new_key(thread, next, !partial)) put(std::move(thread));
}

void Machine::after_key(const Thread& thread, int32_t named) {
  Frame f = *thread.frame;
  const ObjectPlan& plan = *f.object;
  ExprId value = kTrueExpr;
  std::u32string key;
  if (named >= 0) {
    const auto i = static_cast<size_t>(named);
    if (has_seen(f, i)) return;
    f.seen[i / 64] |= uint64_t{1} << (i % 64);
    f.next_named = i + 1;
    value = plan.named[i].value;
    key = plan.named[i].key;
  } else {
    for (const KeyList* k = f.others.get(); k != nullptr; k = k->before.get()) {
      if (k->key == thread.text) return;
    }
    f.others = std::make_shared<const KeyList>(KeyList{thread.text, 0, f.others});
    f.next_named = plan.named.size();
    key = to_code_points_lenient(thread.text);
    value = normal_.member(plan.shape, key);
  }
  if (++f.count > plan.shape.max || value == kFalseExpr) return;
  std::vector<uint32_t> open;
  for (uint32_t i = 0; i < plan.shape.some.size(); ++i) {
    const bool may = normal_.pool().set(plan.shape.some[i].set).has(key);
    if ((f.some_done >> i & 1) == 0 && may) open.push_back(i);
  }
  for (uint32_t chosen = 0; chosen < 1u << open.size(); ++chosen) {
    Frame next = f;
    std::vector<ExprId> all{value};
    for (size_t i = 0; i < open.size(); ++i) {
      if ((chosen >> i & 1) == 0) continue;
      next.some_done |= 1u << open[i];
      all.push_back(plan.shape.some[open[i]].value);
    }
    choose_member(thread, next, normal_.pool().all(std::move(all)));
  }
}

void Machine::choose_member(const Thread& thread, const Frame& frame, ExprId value) {
  if (value == kFalseExpr) return;
  if (canonical_) {
    if (normal_.emptiness(value) != Emptiness::kNotEmpty || !can_finish_object(frame)) return;
  }
  Thread t;
  t.kind = Thread::Kind::kColon;
  t.a = value;
  t.frame = make_frame(frame);
  t.capture = thread.capture;
  put(std::move(t));
}

}  // namespace ramjet::text

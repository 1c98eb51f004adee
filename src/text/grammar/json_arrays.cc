// Arrays: how many items may come, and what each must be.
#include <algorithm>

#include "text/grammar/machine.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxContains = 6;
constexpr int kMaxUnseen = 200;

/// Beyond this many items only that there are so many matters.
int64_t count_cap(const ArrayShape& s) {
  if (s.max != kNoLimit) return s.max;
  int64_t cap = std::max<int64_t>(s.min, std::ssize(s.prefix));
  for (const ContainsRule& rule : s.contains) cap = std::max(cap, rule.from);
  return cap + 1;
}

}  // namespace

void Machine::begin_array(const Thread& thread, const ArrayPlan& plan) {
  if (plan.shape.contains.size() > kMaxContains) {
    refuse_limit("an array has more than 6 'contains' at once");
  }
  Frame f;
  f.kind = Frame::Kind::kArray;
  f.parent = thread.frame;
  f.array = &plan;
  f.counts.assign(plan.shape.contains.size(), 0);
  Thread t;
  t.kind = Thread::Kind::kFirstItem;
  t.capture = thread.capture;
  if (plan.shape.unique && t.capture == nullptr) {
    t.capture = std::make_shared<const std::string>();
    f.node = 1;
  }
  if (canonical_ && !can_finish_array(f)) return;
  t.frame = make_frame(std::move(f));
  put(std::move(t));
}

bool Machine::array_complete(const Frame& f) const {
  const ArrayShape& s = f.array->shape;
  if (f.count < s.min) return false;
  for (size_t i = 0; i < s.contains.size(); ++i) {
    if (f.counts[i] < s.contains[i].min || f.counts[i] > s.contains[i].max) return false;
  }
  return true;
}

bool Machine::can_finish_array(const Frame& f) {
  const ArrayShape& s = f.array->shape;
  int64_t matches = 0;
  for (size_t i = 0; i < s.contains.size(); ++i) {
    const ContainsRule& rule = s.contains[i];
    const int64_t missing = rule.min - f.counts[i];
    if (missing <= 0) continue;
    matches += missing;
    int64_t places = 0;
    for (int64_t at = std::max(f.count, rule.from); places < missing; ++at) {
      if (at >= f.array->reach) return false;
      const ExprId both = normal_.pool().all({s.item(at), rule.item});
      const bool possible = normal_.emptiness(both) == Emptiness::kNotEmpty;
      places += possible ? 1 : 0;
      if (at >= std::ssize(s.prefix) && !possible) return false;
      if (at >= std::ssize(s.prefix)) {
        places = missing;
        matches += std::max<int64_t>(0, rule.from - f.count);
      }
    }
  }
  const int64_t needed = std::max(s.min - f.count, matches);
  if (needed <= 0) return true;
  return f.array->reach == kNoLimit || f.count + needed <= f.array->reach;
}

void Machine::between_items(const Thread& thread, uint8_t byte) {
  const Frame& f = *thread.frame;
  if (byte == ']') {
    if (!array_complete(f)) return;
    Thread t;
    t.frame = f.parent;
    t.capture = f.node == 1 ? nullptr : thread.capture;
    return finish_value(t, 0);
  }
  if (thread.kind == Thread::Kind::kFirstItem) return begin_item(thread, false, &byte);
  if (byte == ',') begin_item(thread, true, nullptr);
}

/// In a set that a model writes, an item is none of those before.
ExprId Machine::unseen(const Frame& f, ExprId item) {
  std::vector<ExprId> all{item};
  int count = 0;
  for (const KeyList* k = f.others.get(); k != nullptr; k = k->before.get()) {
    if (++count > kMaxUnseen) break;
    all.push_back(normal_.pool().negate(static_cast<ExprId>(k->value)));
  }
  return normal_.pool().all(std::move(all));
}

void Machine::begin_item(const Thread& thread, bool space, const uint8_t* byte) {
  const ArrayShape& s = thread.frame->array->shape;
  Frame f = *thread.frame;
  const int64_t index = f.count;
  if (index >= s.max || (canonical_ && index >= f.array->reach)) return;
  f.count = std::min(f.count + 1, count_cap(s));
  if (s.unique) f.item_start = thread.capture->size() - (byte != nullptr ? 1 : 0);
  ExprId item = s.item(index);
  if (canonical_ && s.unique) item = unseen(f, item);
  // Each rule's count may go up by this item, or not.
  std::vector<size_t> open;
  for (size_t i = 0; i < s.contains.size(); ++i) {
    const ContainsRule& rule = s.contains[i];
    const bool matters = rule.max != kNoLimit || f.counts[i] < rule.min;
    if (index >= rule.from && matters) open.push_back(i);
  }
  for (uint32_t chosen = 0; chosen < 1u << open.size(); ++chosen) {
    Frame next = f;
    std::vector<ExprId> all{item};
    bool ok = true;
    for (size_t k = 0; k < open.size(); ++k) {
      const ContainsRule& rule = s.contains[open[k]];
      if ((chosen >> k & 1) != 0) {
        all.push_back(rule.item);
        ok &= ++next.counts[open[k]] <= rule.max;
      } else if (rule.max != kNoLimit) {
        all.push_back(normal_.pool().negate(rule.item));
      }
    }
    const ExprId value = normal_.pool().all(std::move(all));
    if (!ok || value == kFalseExpr) continue;
    if (canonical_) {
      if (normal_.emptiness(value) != Emptiness::kNotEmpty || !can_finish_array(next)) continue;
    }
    Thread t;
    t.kind = Thread::Kind::kValue;
    t.a = value;
    t.space = space;
    t.capture = thread.capture;
    t.frame = make_frame(std::move(next));
    if (byte == nullptr) {
      put(std::move(t));
    } else {
      this->value(t, *byte);
    }
  }
}

}  // namespace ramjet::text

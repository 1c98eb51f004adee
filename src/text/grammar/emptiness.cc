// Whether anything satisfies an expression; plans of objects; the walk over all that can be met.
#include <algorithm>
#include <deque>

#include "text/grammar/json_text.h"
#include "text/grammar/normal.h"

namespace ramjet::text {
namespace {

constexpr int64_t kManyKeys = 1000;
constexpr size_t kMaxClasses = 64;

/// The certain answer of two of which either suffices.
Emptiness either_of(Emptiness a, Emptiness b) {
  if (a == Emptiness::kNotEmpty || b == Emptiness::kNotEmpty) return Emptiness::kNotEmpty;
  return a == Emptiness::kEmpty ? b : a;
}

/// Of two of which both are needed.
Emptiness both_of(Emptiness a, Emptiness b) {
  if (a == Emptiness::kEmpty || b == Emptiness::kEmpty) return Emptiness::kEmpty;
  return a == Emptiness::kNotEmpty ? b : a;
}

int64_t at_most(int64_t a, int64_t b) { return std::min(a, b); }

/// The plan's keys and classes; of the values nothing is known yet.
ObjectPlan outline(ExprPool& pool, Normalizer& n, const ObjectShape& shape) {
  ObjectPlan plan;
  plan.shape = shape;
  Dfa named = Dfa::all(false);
  std::vector<std::u32string> keys;
  const auto name = [&](int32_t set) {
    const TextSet& s = pool.set(set);
    if (!s.single || std::find(keys.begin(), keys.end(), s.key) != keys.end()) return;
    const bool required =
        std::find(shape.required.begin(), shape.required.end(), set) != shape.required.end();
    keys.push_back(s.key);
    std::string text;
    for (const char32_t c : s.key) put_utf8(text, c);
    plan.named.push_back({s.key, std::move(text), quoted_json(s.key), n.member(shape, s.key),
                          required, Emptiness::kUnknown});
    named = must(Dfa::either(named, Dfa::literal(s.key)), "properties");
    pool.charge(named.states());
  };
  for (const MemberRule& rule : shape.rules) name(rule.set);
  for (const int32_t set : shape.required) name(set);
  struct Part {
    Dfa keys;
    std::vector<ExprId> values;
  };
  std::vector<Part> parts{{named.complement(), {}}};
  for (const MemberRule& rule : shape.rules) {
    const TextSet& s = pool.set(rule.set);
    if (s.single) continue;
    std::vector<Part> next;
    for (Part& part : parts) {
      Dfa inside = must(Dfa::both(part.keys, *s.dfa), "patternProperties");
      Dfa outside = must(Dfa::both(part.keys, s.dfa->complement()), "patternProperties");
      pool.charge(inside.states() + outside.states());
      if (!outside.empty()) next.push_back({std::move(outside), part.values});
      part.values.push_back(rule.value);
      if (!inside.empty()) next.push_back({std::move(inside), std::move(part.values)});
    }
    parts = std::move(next);
    if (parts.size() > kMaxClasses) refuse_limit("an object's patterns tell apart too many keys");
  }
  for (Part& part : parts) {
    plan.classes.push_back({std::make_shared<const Dfa>(std::move(part.keys)),
                            pool.all(std::move(part.values)), Emptiness::kUnknown});
  }
  return plan;
}

}  // namespace

Emptiness Normalizer::emptiness(ExprId e) {
  if (e == kTrueExpr) return Emptiness::kNotEmpty;
  if (e == kFalseExpr) return Emptiness::kEmpty;
  const auto found = emptiness_.find(e);
  if (found != emptiness_.end()) return found->second;
  if (!emptiness_open_.insert(e).second) {
    assumed_ = true;  // a value of finite depth needs no value of this kind inside itself
    return Emptiness::kEmpty;
  }
  struct Leave {
    std::set<ExprId>& open;
    ExprId e;
    ~Leave() { open.erase(e); }
  } leave{emptiness_open_, e};
  if (emptiness_open_.size() > 500) refuse_limit("its schemas are nested too deeply");
  const bool before = assumed_;
  assumed_ = false;
  const Emptiness answer = find_emptiness(e);
  // What rests on the assumption holds only below it.
  const bool outermost = emptiness_open_.size() == 1;
  if (!assumed_ || answer == Emptiness::kNotEmpty || outermost) emptiness_.emplace(e, answer);
  assumed_ = (assumed_ && !outermost) || before;
  return answer;
}

Emptiness Normalizer::find_emptiness(ExprId e) {
  pool_.charge(16);
  if (literals(e) != 0) return Emptiness::kNotEmpty;
  if (!strings(e)->empty()) return Emptiness::kNotEmpty;
  Emptiness answer = numbers(e)->emptiness();
  if (answer == Emptiness::kNotEmpty) return answer;
  for (const ObjectShape& shape : object_shapes(e)) {
    answer = either_of(answer, empty_object(shape));
    if (answer == Emptiness::kNotEmpty) return answer;
  }
  for (const ArrayShape& shape : array_shapes(e)) {
    answer = either_of(answer, empty_array(shape));
    if (answer == Emptiness::kNotEmpty) return answer;
  }
  return answer;
}

Emptiness Normalizer::empty_array(const ArrayShape& shape) {
  Emptiness answer = Emptiness::kNotEmpty;
  const auto length = static_cast<int64_t>(shape.prefix.size());
  for (int64_t i = 0; i < at_most(shape.min, length + 1); ++i) {
    answer = both_of(answer, emptiness(shape.item(i)));
    if (answer == Emptiness::kEmpty) return answer;
  }
  for (const ContainsRule& rule : shape.contains) {
    if (rule.max != kNoLimit) answer = both_of(answer, Emptiness::kUnknown);
    if (rule.min == 0) continue;
    int64_t sure = 0;
    int64_t possible = 0;
    for (int64_t i = rule.from; i <= std::max(length, rule.from) && i < shape.max; ++i) {
      const Emptiness e = emptiness(pool_.all({shape.item(i), rule.item}));
      const int64_t room = i < length || shape.max == kNoLimit ? 1 : shape.max - i;
      const int64_t many = i >= length && shape.max == kNoLimit ? rule.min : room;
      if (e != Emptiness::kEmpty) possible += many;
      if (e == Emptiness::kNotEmpty) sure += many;
    }
    if (possible < rule.min) return Emptiness::kEmpty;
    if (sure < rule.min || shape.contains.size() > 1) {
      answer = both_of(answer, Emptiness::kUnknown);
    }
    // The items before those that match must be possible, too.
    if (shape.contains.size() == 1 && rule.max == kNoLimit &&
        emptiness(shape.rest) != Emptiness::kNotEmpty && shape.min < length) {
      answer = both_of(answer, Emptiness::kUnknown);
    }
  }
  if (shape.unique && shape.min > 1) {
    const ExprId item = shape.item(shape.min - 1);
    const bool uniform = shape.prefix.empty() || shape.min <= 1;
    const int64_t count = uniform ? count_values(item, shape.min) : 0;
    if (count < shape.min) answer = both_of(answer, Emptiness::kUnknown);
  }
  return answer;
}

/// A lower bound of the number of different values, or `limit`.
int64_t Normalizer::count_values(ExprId e, int64_t limit) {
  int64_t count = __builtin_popcount(literals(e));
  count = at_most(limit, count + strings(e)->count(limit));
  for (const NumberRange& r : numbers(e)->ranges) {
    const bool point = r.low && r.high && compare(r.low->value, r.high->value) == 0;
    const bool bounded = r.low && r.high;
    if (NumberSet{{r}}.emptiness() != Emptiness::kNotEmpty) continue;
    count += point || (bounded && !r.multiple_of.empty()) ? 1 : limit;
  }
  return at_most(limit, count);
}

Emptiness Normalizer::empty_object(const ObjectShape& shape) {
  if (shape.rules.empty() && shape.some.empty() && shape.min <= shape.max) {
    return Emptiness::kNotEmpty;
  }
  const ObjectPlan plan = outline(pool_, *this, shape);
  Emptiness answer = Emptiness::kNotEmpty;
  int64_t required = 0;
  for (const auto& named : plan.named) {
    if (!named.required) continue;
    ++required;
    answer = both_of(answer, emptiness(named.value));
    if (answer == Emptiness::kEmpty) return answer;
  }
  if (required > shape.max) return Emptiness::kEmpty;
  if (shape.min > required) {
    int64_t sure = 0;
    int64_t possible = 0;
    const auto count = [&](Emptiness e, int64_t keys) {
      if (e != Emptiness::kEmpty) possible = at_most(shape.min, possible + keys);
      if (e == Emptiness::kNotEmpty) sure = at_most(shape.min, sure + keys);
    };
    for (const auto& named : plan.named) {
      if (!named.required) count(emptiness(named.value), 1);
    }
    for (const auto& c : plan.classes) count(emptiness(c.value), c.keys->count(shape.min));
    if (required + possible < shape.min) return Emptiness::kEmpty;
    if (required + sure < shape.min) answer = both_of(answer, Emptiness::kUnknown);
  }
  for (const MemberRule& some : shape.some) {
    Emptiness any = Emptiness::kEmpty;
    const auto value = [&](ExprId e) {
      any = either_of(any, emptiness(pool_.all({e, some.value})));
    };
    for (const auto& named : plan.named) {
      if (pool_.set(some.set).has(named.key)) value(named.value);
    }
    for (const auto& c : plan.classes) {
      const Dfa common = must(Dfa::both(*c.keys, *pool_.language(some.set)), "patternProperties");
      if (!common.empty()) value(c.value);
    }
    answer = both_of(answer, any);
    if (answer == Emptiness::kEmpty) return answer;
  }
  if (!shape.some.empty() && (shape.max != kNoLimit || shape.some.size() > 1)) {
    answer = both_of(answer, Emptiness::kUnknown);
  }
  return answer;
}

ObjectPlan Normalizer::make_plan(const ObjectShape& shape) {
  ObjectPlan plan = outline(pool_, *this, shape);
  for (auto& named : plan.named) named.empty = emptiness(named.value);
  for (auto& c : plan.classes) c.empty = emptiness(c.value);
  offer_keys(plan);
  return plan;
}

/// Members that the schema does not speak of are for a model only where it says so, or where there
/// is no other way.
void Normalizer::offer_keys(ObjectPlan& plan) {
  Dfa wanted = Dfa::all(false);
  for (const int32_t set : plan.shape.open) {
    wanted = must(Dfa::either(wanted, *pool_.language(set)), "patternProperties");
  }
  Dfa possible = Dfa::all(false);
  for (const auto& c : plan.classes) {
    if (c.empty == Emptiness::kNotEmpty) {
      possible = must(Dfa::either(possible, *c.keys), "patternProperties");
    }
  }
  const auto usable = std::count_if(plan.named.begin(), plan.named.end(),
                                    [](const auto& n) { return n.empty == Emptiness::kNotEmpty; });
  const bool needs = plan.shape.min > usable || !plan.shape.some.empty();
  const bool silent = plan.named.empty() && plan.shape.open.empty();
  plan.offered =
      needs || silent ? possible : must(Dfa::both(wanted, possible), "patternProperties");
  plan.offered_count = plan.offered.count(kManyKeys);
  pool_.charge(plan.offered.states());
}

void Normalizer::explore(ExprId e) {
  std::deque<ExprId> work{e};
  std::set<ExprId> seen{e};
  const auto visit = [&](ExprId next) {
    if (seen.insert(next).second) work.push_back(next);
  };
  while (!work.empty()) {
    const ExprId at = work.front();
    work.pop_front();
    pool_.charge(16);
    literals(at), strings(at), numbers(at);
    for (const ArrayPlan& plan : std::vector<ArrayPlan>(arrays(at))) {
      const auto length = static_cast<int64_t>(plan.shape.prefix.size());
      for (int64_t i = 0; i <= length && i < plan.shape.max; ++i) {
        const ExprId item = plan.shape.item(i);
        visit(item);
        for (const ContainsRule& rule : plan.shape.contains) {
          visit(pool_.all({item, rule.item}));
          if (rule.max != kNoLimit) visit(pool_.all({item, pool_.negate(rule.item)}));
        }
      }
    }
    for (const ObjectPlan& plan : std::vector<ObjectPlan>(objects(at))) {
      std::vector<ExprId> values;
      for (const auto& named : plan.named) values.push_back(named.value);
      for (const auto& c : plan.classes) values.push_back(c.value);
      for (const ExprId value : values) {
        visit(value);
        for (const MemberRule& some : plan.shape.some) visit(pool_.all({value, some.value}));
      }
    }
    emptiness(at);
  }
}

}  // namespace ramjet::text

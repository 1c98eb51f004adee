#include "text/grammar/normal.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace ramjet::text {
namespace {

constexpr size_t kMaxAlternatives = 400;

/// Thrown where a test for disjointness needs what is being computed: then it is not known.
struct NotKnown {};

template <class T>
void push_new(std::vector<T>& list, const T& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

template <class T>
bool includes(const std::vector<T>& all, const std::vector<T>& part) {
  return std::all_of(part.begin(), part.end(), [&all](const T& item) {
    return std::find(all.begin(), all.end(), item) != all.end();
  });
}

void limit(size_t alternatives) {
  if (alternatives > kMaxAlternatives) {
    refuse_limit("a value has more than 400 alternative forms");
  }
}

}  // namespace

struct Normalizer::Literals {
  using Value = uint32_t;
  static constexpr int kTag = 0;
  static constexpr uint32_t kBits =
      type_bit(JsonType::kNull) | type_bit(JsonType::kTrue) | type_bit(JsonType::kFalse);
  Normalizer& n;
  auto& memo() { return n.literals_; }
  Value constant(bool all) { return all ? kBits : 0; }
  Value both(Value a, Value b) { return a & b; }
  Value either(Value a, Value b) { return a | b; }
  Value leaf(const Expr& e, bool negated) {
    if (e.kind != ExprKind::kTypes) return constant(!negated);
    return (negated ? ~static_cast<uint32_t>(e.m) : static_cast<uint32_t>(e.m)) & kBits;
  }
};

struct Normalizer::Strings {
  using Value = DfaPtr;
  static constexpr int kTag = 1;
  Normalizer& n;
  auto& memo() { return n.strings_; }
  static Value make(Dfa dfa) { return std::make_shared<const Dfa>(std::move(dfa)); }
  Value made(Result<Dfa> dfa) {
    Value value = make(must(std::move(dfa), "pattern"));
    n.pool_.charge(value->states());
    return value;
  }
  Value constant(bool all) { return make(Dfa::all(all)); }
  Value both(const Value& a, const Value& b) { return made(Dfa::both(*a, *b)); }
  Value either(const Value& a, const Value& b) { return made(Dfa::either(*a, *b)); }
  Value leaf(const Expr& e, bool negated) {
    if (e.kind == ExprKind::kTypes) {
      return constant(((e.m & type_bit(JsonType::kString)) != 0) != negated);
    }
    if (e.kind != ExprKind::kString) return constant(!negated);
    const Value language = n.pool_.language(e.a);
    return negated ? make(language->complement()) : language;
  }
};

struct Normalizer::Numbers {
  using Value = std::shared_ptr<const NumberSet>;
  static constexpr int kTag = 2;
  Normalizer& n;
  auto& memo() { return n.numbers_; }
  Value make(NumberSet set) {
    limit(set.ranges.size());
    n.pool_.charge(16 * std::ssize(set.ranges));
    return std::make_shared<const NumberSet>(std::move(set));
  }
  Value constant(bool all) { return make(all ? NumberSet::all() : NumberSet{}); }
  Value both(const Value& a, const Value& b) { return make(NumberSet::both(*a, *b)); }
  Value either(const Value& a, const Value& b) { return make(NumberSet::either(*a, *b)); }
  Value leaf(const Expr& e, bool negated) {
    if (e.kind == ExprKind::kTypes) {
      return constant(((e.m & type_bit(JsonType::kNumber)) != 0) != negated);
    }
    if (e.kind != ExprKind::kNumber) return constant(!negated);
    const NumberSet& set = n.pool_.numbers(e.a);
    return make(negated ? set.complement() : set);
  }
};

struct Normalizer::Arrays {
  using Value = std::vector<ArrayShape>;
  static constexpr int kTag = 3;
  Normalizer& n;
  auto& memo() { return n.arrays_; }
  Value constant(bool all) { return all ? Value{ArrayShape{}} : Value{}; }

  /// Puts into a form in which what cannot be is gone; false if nothing is left.
  bool tidy(ArrayShape& s) {
    std::vector<ContainsRule> contains;
    for (ContainsRule& rule : s.contains) {
      if (rule.item == kTrueExpr) {
        if (rule.min > 0) s.min = std::max(s.min, rule.from + rule.min);
        if (rule.max != kNoLimit) s.max = std::min(s.max, rule.from + rule.max);
        continue;
      }
      if (rule.min > rule.max || (rule.item == kFalseExpr && rule.min > 0)) return false;
      if (rule.item == kFalseExpr || (rule.min == 0 && rule.max == kNoLimit)) continue;
      if (rule.min > 0) s.min = std::max(s.min, rule.from + rule.min);
      push_new(contains, rule);
    }
    s.contains = std::move(contains);
    for (size_t i = 0; i < s.prefix.size(); ++i) {
      if (s.prefix[i] == kFalseExpr) s.max = std::min(s.max, static_cast<int64_t>(i));
    }
    const auto length = static_cast<int64_t>(s.prefix.size());
    if (s.rest == kFalseExpr) s.max = std::min(s.max, length);
    if (s.max < length) s.prefix.resize(static_cast<size_t>(std::max<int64_t>(s.max, 0)));
    if (s.max <= std::ssize(s.prefix)) s.rest = kFalseExpr;
    while (!s.prefix.empty() && s.prefix.back() == s.rest) s.prefix.pop_back();
    return s.min <= s.max;
  }
  Value both(const Value& a, const Value& b) {
    Value out;
    limit(a.size() * b.size() / 64);
    for (const ArrayShape& x : a) {
      for (const ArrayShape& y : b) {
        n.pool_.charge(4);
        ArrayShape s;
        const int64_t length = std::max(std::ssize(x.prefix), std::ssize(y.prefix));
        for (int64_t i = 0; i < length; ++i) {
          s.prefix.push_back(n.pool_.all({x.item(i), y.item(i)}));
        }
        s.rest = n.pool_.all({x.rest, y.rest});
        s.min = std::max(x.min, y.min), s.max = std::min(x.max, y.max);
        s.contains = x.contains;
        for (const ContainsRule& rule : y.contains) push_new(s.contains, rule);
        s.unique = x.unique || y.unique;
        if (tidy(s)) push_new(out, s);
      }
    }
    limit(out.size());
    return out;
  }
  Value either(const Value& a, const Value& b) {
    Value out = a;
    for (const ArrayShape& s : b) push_new(out, s);
    if (std::find(out.begin(), out.end(), ArrayShape{}) != out.end()) return constant(true);
    limit(out.size());
    return out;
  }
  Value one(ArrayShape s) { return tidy(s) ? Value{std::move(s)} : Value{}; }
  static ArrayShape counted(int64_t min, int64_t max) {
    ArrayShape s;
    s.min = min, s.max = max;
    return s;
  }
  Value leaf(const Expr& e, bool negated) {
    const ExprId kid = e.kids.empty() ? kTrueExpr : e.kids[0];
    ArrayShape s;
    switch (e.kind) {
      case ExprKind::kTypes: return constant(((e.m & type_bit(JsonType::kArray)) != 0) != negated);
      case ExprKind::kItemAt:
        if (e.m > 10'000) refuse_limit("an array has more than 10000 described items");
        s.prefix.assign(static_cast<size_t>(e.m), kTrueExpr);
        s.prefix.push_back(negated ? n.pool_.negate(kid) : kid);
        if (negated) s.min = e.m + 1;
        return one(std::move(s));
      case ExprKind::kItemsFrom:
        if (negated) {
          s.contains = {{e.m, n.pool_.negate(kid), 1, kNoLimit}};
        } else {
          s.prefix.assign(static_cast<size_t>(e.m), kTrueExpr);
          s.rest = kid;
        }
        return one(std::move(s));
      case ExprKind::kContains: {
        if (!negated) {
          s.contains = {{e.a, kid, e.m, e.n}};
          return one(std::move(s));
        }
        Value out;
        ArrayShape more = s;
        s.contains = {{e.a, kid, 0, e.m - 1}};
        if (e.m > 0) out = one(std::move(s));
        more.contains = {{e.a, kid, e.n == kNoLimit ? 0 : e.n + 1, kNoLimit}};
        return e.n == kNoLimit ? out : either(out, one(std::move(more)));
      }
      case ExprKind::kItems: {
        if (!negated) return one(counted(e.m, e.n));
        Value out = e.m > 0 ? one(counted(0, e.m - 1)) : Value{};
        return e.n == kNoLimit ? out : either(out, one(counted(e.n + 1, kNoLimit)));
      }
      case ExprKind::kUnique:
        if (negated) refuse("uniqueItems", "cannot be enforced under 'not', 'oneOf' or 'if'");
        s.unique = true;
        return one(std::move(s));
      default: return constant(!negated);
    }
  }
};

struct Normalizer::Objects {
  using Value = std::vector<ObjectShape>;
  static constexpr int kTag = 4;
  Normalizer& n;
  auto& memo() { return n.objects_; }
  Value constant(bool all) { return all ? Value{ObjectShape{}} : Value{}; }

  bool tidy(ObjectShape& s) {
    // Rules of one set become one; the order in which keys came stays.
    std::vector<MemberRule> rules;
    for (const MemberRule& rule : s.rules) {
      const auto same = std::find_if(rules.begin(), rules.end(),
                                     [&rule](const MemberRule& r) { return r.set == rule.set; });
      if (same == rules.end()) {
        rules.push_back(rule);
      } else {
        same->value = n.pool_.all({same->value, rule.value});
      }
    }
    s.rules = std::move(rules);
    for (const MemberRule& rule : s.rules) {
      if (rule.value == kFalseExpr && n.pool_.set(rule.set).single &&
          std::find(s.required.begin(), s.required.end(), rule.set) != s.required.end()) {
        return false;
      }
    }
    for (const int32_t key : s.required) {
      if (n.member(s, n.pool_.set(key).key) == kFalseExpr) return false;
    }
    s.min = std::max(s.min, std::ssize(s.required));
    return s.min <= s.max;
  }
  Value both(const Value& a, const Value& b) {
    Value out;
    limit(a.size() * b.size() / 64);
    for (const ObjectShape& x : a) {
      for (const ObjectShape& y : b) {
        n.pool_.charge(4 + std::ssize(x.rules) + std::ssize(y.rules));
        ObjectShape s = x;
        s.rules.insert(s.rules.end(), y.rules.begin(), y.rules.end());
        for (const int32_t key : y.required) push_new(s.required, key);
        for (const MemberRule& rule : y.some) push_new(s.some, rule);
        for (const int32_t set : y.open) push_new(s.open, set);
        s.min = std::max(x.min, y.min), s.max = std::min(x.max, y.max);
        if (tidy(s)) add(out, s);
      }
    }
    limit(out.size());
    return out;
  }
  /// Whether what satisfies `b` satisfies `a`, as far as that can be read off.
  static bool covers(const ObjectShape& a, const ObjectShape& b) {
    return includes(b.rules, a.rules) && includes(b.required, a.required) &&
           includes(b.some, a.some) && a.min <= b.min && a.max >= b.max &&
           includes(a.open, b.open) && a.rules.size() == b.rules.size();
  }
  static void add(Value& list, const ObjectShape& s) {
    for (const ObjectShape& old : list) {
      if (covers(old, s)) return;
    }
    std::erase_if(list, [&s](const ObjectShape& old) { return covers(s, old); });
    list.push_back(s);
  }
  Value either(const Value& a, const Value& b) {
    Value out = a;
    for (const ObjectShape& s : b) add(out, s);
    limit(out.size());
    return out;
  }
  Value one(ObjectShape s) { return tidy(s) ? Value{std::move(s)} : Value{}; }
  Value counted(int64_t min, int64_t max) {
    ObjectShape s;
    s.min = min, s.max = max;
    return one(std::move(s));
  }
  Value keys(int32_t set, ExprId value, bool negated) {
    ObjectShape s;
    if (!negated) {
      s.rules = {{set, value}};
    } else if (value == kTrueExpr) {
      return {};
    } else if (n.pool_.set(set).single) {
      s.rules = {{set, n.pool_.negate(value)}};
      s.required = {set};
    } else {
      s.some = {{set, n.pool_.negate(value)}};
    }
    return one(std::move(s));
  }
  Value leaf(const Expr& e, bool negated) {
    ObjectShape s;
    switch (e.kind) {
      case ExprKind::kTypes: return constant(((e.m & type_bit(JsonType::kObject)) != 0) != negated);
      case ExprKind::kKeys: return keys(e.a, e.kids[0], negated);
      case ExprKind::kNames: {
        const DfaPtr names = n.strings(e.kids[0]);
        const int32_t set = n.pool_.text_set(std::make_shared<const Dfa>(names->complement()),
                                             "names:" + std::to_string(e.kids[0]));
        return keys(set, kFalseExpr, negated);
      }
      case ExprKind::kRequired:
        if (negated) return keys(e.a, kFalseExpr, false);
        s.required = {e.a};
        return one(std::move(s));
      case ExprKind::kMembers: {
        if (!negated) return counted(e.m, e.n);
        Value out = e.m > 0 ? counted(0, e.m - 1) : Value{};
        return e.n == kNoLimit ? out : either(out, counted(e.n + 1, kNoLimit));
      }
      case ExprKind::kOpen:
        if (negated) return {};
        s.open = {e.a};
        return {s};
      default: return constant(!negated);
    }
  }
};

template <class A>
typename A::Value Normalizer::eval(A& algebra, ExprId e, bool negated) {
  auto& memo = algebra.memo();
  const auto found = memo.find({e, negated});
  if (found != memo.end()) return found->second;
  const std::tuple<int, ExprId, bool> key{A::kTag, e, negated};
  if (!open_.insert(key).second) {
    if (guesses_ > 0) throw NotKnown{};
    refuse("$ref", "refers to itself without an end");
  }
  struct Leave {
    std::set<std::tuple<int, ExprId, bool>>& open;
    const std::tuple<int, ExprId, bool>& key;
    ~Leave() { open.erase(key); }
  } leave{open_, key};
  if (open_.size() > 2000) refuse_limit("its references are nested too deeply");
  auto value = compute(algebra, e, negated);
  return memo.emplace(std::pair(e, negated), std::move(value)).first->second;
}

template <class A>
typename A::Value Normalizer::compute(A& algebra, ExprId e, bool negated) {
  pool_.charge(4);
  const Expr expr = pool_[e];  // the pool may grow below
  switch (expr.kind) {
    case ExprKind::kTrue: return algebra.constant(!negated);
    case ExprKind::kFalse: return algebra.constant(negated);
    case ExprKind::kNot: return eval(algebra, expr.kids[0], !negated);
    case ExprKind::kSchema: return eval(algebra, expand_(expr), negated);
    case ExprKind::kOneOf: return one_of(algebra, expr.kids, negated);
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      const bool all = (expr.kind == ExprKind::kAnd) != negated;
      auto value = algebra.constant(all);
      for (const ExprId kid : expr.kids) {
        auto next = eval(algebra, kid, negated);
        value = all ? algebra.both(value, next) : algebra.either(value, next);
      }
      return value;
    }
    default: return algebra.leaf(expr, negated);
  }
}

/// Branches that exclude each other by themselves need not be told to.
template <class A>
typename A::Value Normalizer::one_of(A& algebra, const std::vector<ExprId>& kids, bool negated) {
  std::vector<typename A::Value> holds;
  for (const ExprId kid : kids) holds.push_back(eval(algebra, kid, false));
  auto value = algebra.constant(false);
  auto twice = algebra.constant(false);
  std::vector<std::vector<size_t>> meets(kids.size());
  for (size_t i = 0; i < kids.size(); ++i) {
    for (size_t j = i + 1; j < kids.size(); ++j) {
      auto common = algebra.both(holds[i], holds[j]);
      bool apart = false;
      ++guesses_;
      try {
        apart = surely_empty(common);
      } catch (const NotKnown&) {
      } catch (...) {
        --guesses_;
        throw;
      }
      --guesses_;
      if (apart) continue;
      meets[i].push_back(j), meets[j].push_back(i);
      if (negated) twice = algebra.either(twice, common);
    }
  }
  if (negated) {
    value = algebra.constant(true);
    for (const ExprId kid : kids) value = algebra.both(value, eval(algebra, kid, true));
    return algebra.either(value, twice);
  }
  for (size_t i = 0; i < kids.size(); ++i) {
    auto alone = holds[i];
    for (const size_t j : meets[i]) alone = algebra.both(alone, eval(algebra, kids[j], true));
    value = algebra.either(value, alone);
  }
  return value;
}

bool Normalizer::surely_empty(const std::vector<ArrayShape>& shapes) {
  return std::all_of(shapes.begin(), shapes.end(),
                     [this](const ArrayShape& s) { return empty_array(s) == Emptiness::kEmpty; });
}

bool Normalizer::surely_empty(const std::vector<ObjectShape>& shapes) {
  return std::all_of(shapes.begin(), shapes.end(),
                     [this](const ObjectShape& s) { return empty_object(s) == Emptiness::kEmpty; });
}

uint32_t Normalizer::literals(ExprId e) {
  Literals algebra{*this};
  return eval(algebra, e, false);
}
Normalizer::DfaPtr Normalizer::strings(ExprId e) {
  Strings algebra{*this};
  return eval(algebra, e, false);
}
std::shared_ptr<const NumberSet> Normalizer::numbers(ExprId e) {
  Numbers algebra{*this};
  return eval(algebra, e, false);
}

std::vector<ArrayShape> Normalizer::array_shapes(ExprId e) {
  Arrays algebra{*this};
  return eval(algebra, e, false);
}
std::vector<ObjectShape> Normalizer::object_shapes(ExprId e) {
  Objects algebra{*this};
  return eval(algebra, e, false);
}

const std::vector<ArrayPlan>& Normalizer::arrays(ExprId e) {
  const auto found = array_plans_.find(e);
  if (found != array_plans_.end()) return found->second;
  std::vector<ArrayPlan> plans;
  for (const ArrayShape& shape : array_shapes(e)) {
    ArrayPlan plan{shape, shape.max};
    const auto length = static_cast<int64_t>(shape.prefix.size());
    for (int64_t i = 0; i <= length && i < plan.reach; ++i) {
      if (emptiness(shape.item(i)) != Emptiness::kNotEmpty) plan.reach = i;
    }
    plans.push_back(std::move(plan));
  }
  return array_plans_.emplace(e, std::move(plans)).first->second;
}

const std::vector<ObjectPlan>& Normalizer::objects(ExprId e) {
  const auto found = object_plans_.find(e);
  if (found != object_plans_.end()) return found->second;
  std::vector<ObjectPlan> plans;
  for (const ObjectShape& shape : object_shapes(e)) plans.push_back(make_plan(shape));
  return object_plans_.emplace(e, std::move(plans)).first->second;
}

ExprId Normalizer::member(const ObjectShape& shape, std::u32string_view key) {
  std::vector<ExprId> values;
  for (const MemberRule& rule : shape.rules) {
    if (pool_.set(rule.set).has(key)) values.push_back(rule.value);
  }
  return pool_.all(std::move(values));
}

}  // namespace ramjet::text

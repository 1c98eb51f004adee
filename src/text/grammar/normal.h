// Normalizer: what an expression demands of a value of each type, in a form that a matcher follows:
// a regular language, ranges of numbers, alternatives of arrays and of objects.
//
// Everything is computed on demand and kept. Not thread-safe. Throws Refusal: kUnsupported for
// what has no such form, kResourceExhausted when there are too many alternatives.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "text/grammar/expr.h"

namespace ramjet::text {

struct ContainsRule {
  int64_t from = 0;
  ExprId item = kTrueExpr;
  int64_t min = 0, max = kNoLimit;
  bool operator==(const ContainsRule&) const = default;
};

/// One alternative of an array: all of it holds.
struct ArrayShape {
  std::vector<ExprId> prefix;
  ExprId rest = kTrueExpr;
  int64_t min = 0, max = kNoLimit;
  std::vector<ContainsRule> contains;
  bool unique = false;
  ExprId item(int64_t i) const {
    return i < static_cast<int64_t>(prefix.size()) ? prefix[static_cast<size_t>(i)] : rest;
  }
  bool operator==(const ArrayShape&) const = default;
};

struct MemberRule {
  int32_t set = 0;
  ExprId value = kTrueExpr;
  bool operator==(const MemberRule&) const = default;
  auto operator<=>(const MemberRule&) const = default;
};

/// One alternative of an object: all of it holds.
struct ObjectShape {
  std::vector<MemberRule> rules;  // each member whose key is in the set
  std::vector<int32_t> required;  // sets of one key
  std::vector<MemberRule> some;   // at least one member
  int64_t min = 0, max = kNoLimit;
  std::vector<int32_t> open;  // keys to offer to a model
  bool operator==(const ObjectShape&) const = default;
};

/// An object's alternative by its keys: those that are named, and classes of the others.
struct ObjectPlan {
  struct Named {
    std::u32string key;
    std::string text;    // the key in UTF-8
    std::string quoted;  // as JSON spells it
    ExprId value = kTrueExpr;
    bool required = false;
    Emptiness empty = Emptiness::kUnknown;  // of its value
  };
  struct Class {
    std::shared_ptr<const Dfa> keys;  // shared with none but copies of the plan
    ExprId value = kTrueExpr;
    Emptiness empty = Emptiness::kUnknown;
  };
  ObjectShape shape;
  std::vector<Named> named;  // in the schema's order
  std::vector<Class> classes;
  Dfa offered = Dfa::all(false);  // other keys that a model may write
  int64_t offered_count = 0;      // how many there are, at most a thousand
};

struct ArrayPlan {
  ArrayShape shape;
  int64_t reach = kNoLimit;  // items that a model can write: none beyond is possible
};

class Normalizer {
 public:
  /// `expand` gives the body of a schema expression.
  Normalizer(ExprPool& pool, std::function<ExprId(const Expr&)> expand)
      : pool_(pool), expand_(std::move(expand)) {}

  using DfaPtr = std::shared_ptr<const Dfa>;  // kept here and by plans
  /// Bits of null, true and false.
  uint32_t literals(ExprId e);
  DfaPtr strings(ExprId e);
  std::shared_ptr<const NumberSet> numbers(ExprId e);  // kept here and by matchers
  const std::vector<ArrayPlan>& arrays(ExprId e);
  const std::vector<ObjectPlan>& objects(ExprId e);

  /// Whether no value at all satisfies it. kNotEmpty and kEmpty are certain.
  Emptiness emptiness(ExprId e);
  /// The value of a member with this key.
  ExprId member(const ObjectShape& shape, std::u32string_view key);
  /// Computes all that matching from `e` on can need, so that what cannot be enforced shows now.
  void explore(ExprId e);
  ExprPool& pool() { return pool_; }

 private:
  struct Literals;
  struct Strings;
  struct Numbers;
  struct Arrays;
  struct Objects;
  template <class A>
  typename A::Value eval(A& algebra, ExprId e, bool negated);
  template <class A>
  typename A::Value compute(A& algebra, ExprId e, bool negated);
  template <class A>
  typename A::Value one_of(A& algebra, const std::vector<ExprId>& kids, bool negated);
  bool surely_empty(uint32_t bits) const { return bits == 0; }
  bool surely_empty(const DfaPtr& dfa) const { return dfa->empty(); }
  bool surely_empty(const std::shared_ptr<const NumberSet>& set) const {
    return set->emptiness() == Emptiness::kEmpty;
  }
  bool surely_empty(const std::vector<ArrayShape>& shapes);
  bool surely_empty(const std::vector<ObjectShape>& shapes);

  std::vector<ArrayShape> array_shapes(ExprId e);
  std::vector<ObjectShape> object_shapes(ExprId e);
  Emptiness find_emptiness(ExprId e);
  Emptiness empty_array(const ArrayShape& shape);
  Emptiness empty_object(const ObjectShape& shape);
  ObjectPlan make_plan(const ObjectShape& shape);
  void offer_keys(ObjectPlan& plan);
  int64_t count_values(ExprId e, int64_t limit);

  ExprPool& pool_;
  std::function<ExprId(const Expr&)> expand_;
  std::map<std::pair<ExprId, bool>, uint32_t> literals_;
  std::map<std::pair<ExprId, bool>, DfaPtr> strings_;
  std::map<std::pair<ExprId, bool>, std::shared_ptr<const NumberSet>> numbers_;
  std::map<std::pair<ExprId, bool>, std::vector<ArrayShape>> arrays_;
  std::map<std::pair<ExprId, bool>, std::vector<ObjectShape>> objects_;
  std::unordered_map<ExprId, std::vector<ArrayPlan>> array_plans_;
  std::unordered_map<ExprId, std::vector<ObjectPlan>> object_plans_;
  std::set<std::tuple<int, ExprId, bool>> open_;  // being computed
  int guesses_ = 0;                               // tests for disjointness under way
  std::unordered_map<ExprId, Emptiness> emptiness_;
  std::set<ExprId> emptiness_open_;
  bool assumed_ = false;
};

}  // namespace ramjet::text

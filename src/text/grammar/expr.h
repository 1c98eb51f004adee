// Expr: what a JSON value must satisfy, as boolean combinations of simple assertions.
//
// Expressions are interned in an ExprPool and named by their number; equal ones are one. An
// assertion about one type is true of values of the others. Not thread-safe. The pool's budget (of
// expressions and time) ends in a Refusal, as does everything that cannot be enforced.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/grammar/dfa.h"
#include "text/grammar/number_set.h"

namespace ramjet::text {

/// Thrown inside the grammar engine alone; its boundary makes an Error of it.
struct Refusal {
  Error error;
  std::string keyword;
};
[[noreturn]] void refuse(std::string keyword, const std::string& why);
[[noreturn]] void refuse_limit(const std::string& what);
/// The value, or the error thrown as a Refusal.
template <class T>
T must(Result<T> result, const char* keyword) {
  if (!result.ok()) throw Refusal{std::move(result).error(), keyword};
  return std::move(result).value();
}

using ExprId = int32_t;
inline constexpr ExprId kTrueExpr = 0;
inline constexpr ExprId kFalseExpr = 1;

enum class JsonType : uint8_t { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };
inline constexpr int kJsonTypes = 7;
constexpr uint32_t type_bit(JsonType t) { return 1u << static_cast<int>(t); }
inline constexpr uint32_t kAnyType = (1u << kJsonTypes) - 1;

enum class ExprKind : uint8_t {
  kTrue,
  kFalse,
  kAnd,
  kOr,
  kNot,
  kOneOf,      // of the kids
  kSchema,     // a: schema, b: dynamic scope, m: document
  kTypes,      // m: bits
  kString,     // a: text set
  kNumber,     // a: number set
  kKeys,       // every member whose key is in text set a satisfies kid 0
  kRequired,   // a: text set of one key
  kMembers,    // m <= number of members <= n
  kNames,      // every key, as a string, satisfies kid 0
  kOpen,       // always true; that keys of text set a should be offered to a model
  kItemAt,     // the item m, if there is one, satisfies kid 0
  kItemsFrom,  // the items from m on satisfy kid 0
  kContains,   // of the items from `a` on, m to n satisfy kid 0
  kItems,      // m <= number of items <= n
  kUnique,     // items are pairwise different
};
inline constexpr int64_t kNoLimit = INT64_MAX;

struct Expr {
  ExprKind kind = ExprKind::kTrue;
  int32_t a = 0, b = 0;
  int64_t m = 0, n = 0;
  std::vector<ExprId> kids;
  bool operator==(const Expr&) const = default;
};

/// A set of texts: one key, or a regular language.
struct TextSet {
  bool single = false;
  std::u32string key;
  std::shared_ptr<const Dfa> dfa;  // shared with the normal forms; null for a single key
  bool has(std::u32string_view text) const { return single ? text == key : dfa->matches(text); }
};

class ExprPool {
 public:
  ExprPool();

  ExprId all(std::vector<ExprId> kids);
  ExprId any(std::vector<ExprId> kids);
  ExprId negate(ExprId e);
  ExprId add(Expr expr);
  ExprId types(uint32_t bits) {
    return bits == kAnyType ? kTrueExpr : leaf(ExprKind::kTypes, bits);
  }
  ExprId text(int32_t set);
  ExprId number(NumberSet set);
  ExprId keys(int32_t set, ExprId value);
  ExprId has_key(int32_t set) { return add({ExprKind::kRequired, set, 0, 0, 0, {}}); }
  ExprId members(int64_t min, int64_t max);
  ExprId items(int64_t min, int64_t max);

  const Expr& operator[](ExprId e) const { return exprs_[static_cast<size_t>(e)]; }
  int32_t key_set(const std::u32string& key);
  /// `name` tells equal languages; may be empty.
  int32_t text_set(std::shared_ptr<const Dfa> dfa, const std::string& name = {});
  const TextSet& set(int32_t id) const { return sets_[static_cast<size_t>(id)]; }
  std::shared_ptr<const Dfa> language(int32_t set) const;
  const NumberSet& numbers(int32_t id) const { return numbers_[static_cast<size_t>(id)]; }

  /// Throws when the budget is spent.
  void charge(int64_t work = 1);
  /// Grants time anew, for work that is done later or by another thread.
  void renew();
  size_t bytes() const { return bytes_; }
  size_t size() const { return exprs_.size(); }

 private:
  ExprId leaf(ExprKind kind, int64_t m) { return add({kind, 0, 0, m, 0, {}}); }
  struct Hash {
    size_t operator()(const Expr* e) const;
  };
  struct Equal {
    bool operator()(const Expr* a, const Expr* b) const { return *a == *b; }
  };

  std::deque<Expr> exprs_;
  std::unordered_map<const Expr*, ExprId, Hash, Equal> ids_;
  std::deque<TextSet> sets_;
  std::unordered_map<std::u32string, int32_t> key_sets_;
  std::unordered_map<std::string, int32_t> named_sets_;
  std::vector<NumberSet> numbers_;
  size_t bytes_ = 0;
  int64_t work_ = 0;
  int64_t deadline_ns_ = 0;  // of this thread's processor time
};

}  // namespace ramjet::text

#include "text/grammar/expr.h"

#include <time.h>

#include <algorithm>

namespace ramjet::text {
namespace {

constexpr size_t kMaxExprs = 100'000;
constexpr size_t kMaxBytes = size_t{256} << 20;
constexpr int64_t kTimeLimitNs = 2'000'000'000;
constexpr int64_t kWorkPerLook = 256;

/// Of the processor, not of the clock: a busy machine refuses nothing that an idle one takes.
int64_t thread_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

void refuse(std::string keyword, const std::string& why) {
  throw Refusal{unsupported("'{}' {}", keyword, why), keyword};
}

void refuse_limit(const std::string& what) {
  throw Refusal{{ErrorCode::kResourceExhausted,
                 "the grammar is too complex: " + what + "; simplify the schema"},
                "limit"};
}

size_t ExprPool::Hash::operator()(const Expr* e) const {
  auto h = static_cast<size_t>(e->kind);
  const auto mix = [&h](int64_t v) {
    h = (h ^ static_cast<size_t>(v)) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 29;
  };
  mix(e->a), mix(e->b), mix(e->m), mix(e->n);
  for (const ExprId kid : e->kids) mix(kid);
  return h;
}

ExprPool::ExprPool() {
  renew();
  add({ExprKind::kTrue, 0, 0, 0, 0, {}});
  add({ExprKind::kFalse, 0, 0, 0, 0, {}});
}

void ExprPool::renew() { deadline_ns_ = thread_ns() + kTimeLimitNs; }

void ExprPool::charge(int64_t work) {
  work_ += work;
  if (work_ < kWorkPerLook) return;
  work_ = 0;
  if (thread_ns() > deadline_ns_) refuse_limit("it took more than 2 s of processor time");
  if (bytes_ > kMaxBytes) refuse_limit("its automata need more than 256 MiB");
}

ExprId ExprPool::add(Expr expr) {
  const auto found = ids_.find(&expr);
  if (found != ids_.end()) return found->second;
  if (exprs_.size() >= kMaxExprs) refuse_limit("it has more than 100000 distinct conditions");
  charge();
  bytes_ += sizeof(Expr) + 48 + expr.kids.size() * sizeof(ExprId);
  exprs_.push_back(std::move(expr));
  const auto id = static_cast<ExprId>(exprs_.size()) - 1;
  ids_.emplace(&exprs_.back(), id);
  return id;
}

ExprId ExprPool::all(std::vector<ExprId> kids) {
  std::vector<ExprId> flat;
  for (const ExprId kid : kids) {
    if (kid == kFalseExpr) return kFalseExpr;
    if (kid == kTrueExpr) continue;
    const Expr& e = (*this)[kid];
    if (e.kind == ExprKind::kAnd) {
      flat.insert(flat.end(), e.kids.begin(), e.kids.end());
    } else {
      flat.push_back(kid);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  for (const ExprId kid : flat) {
    const Expr& e = (*this)[kid];
    const bool refuted =
        e.kind == ExprKind::kNot && std::binary_search(flat.begin(), flat.end(), e.kids[0]);
    if (refuted) return kFalseExpr;
  }
  if (flat.empty()) return kTrueExpr;
  if (flat.size() == 1) return flat[0];
  return add({ExprKind::kAnd, 0, 0, 0, 0, std::move(flat)});
}

ExprId ExprPool::any(std::vector<ExprId> kids) {
  std::vector<ExprId> flat;
  for (const ExprId kid : kids) {
    if (kid == kTrueExpr) return kTrueExpr;
    if (kid == kFalseExpr) continue;
    const Expr& e = (*this)[kid];
    if (e.kind == ExprKind::kOr) {
      flat.insert(flat.end(), e.kids.begin(), e.kids.end());
    } else {
      flat.push_back(kid);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kFalseExpr;
  if (flat.size() == 1) return flat[0];
  return add({ExprKind::kOr, 0, 0, 0, 0, std::move(flat)});
}

ExprId ExprPool::negate(ExprId e) {
  if (e == kTrueExpr) return kFalseExpr;
  if (e == kFalseExpr) return kTrueExpr;
  if ((*this)[e].kind == ExprKind::kNot) return (*this)[e].kids[0];
  return add({ExprKind::kNot, 0, 0, 0, 0, {e}});
}

ExprId ExprPool::text(int32_t set) {
  const TextSet& s = sets_[static_cast<size_t>(set)];
  if (!s.single && s.dfa->is_all()) return kTrueExpr;
  return add({ExprKind::kString, set, 0, 0, 0, {}});
}

ExprId ExprPool::number(NumberSet set) {
  numbers_.push_back(std::move(set));
  return add({ExprKind::kNumber, static_cast<int32_t>(numbers_.size()) - 1, 0, 0, 0, {}});
}

ExprId ExprPool::keys(int32_t set, ExprId value) {
  if (value == kTrueExpr) return kTrueExpr;
  return add({ExprKind::kKeys, set, 0, 0, 0, {value}});
}

ExprId ExprPool::members(int64_t min, int64_t max) {
  if (min <= 0 && max == kNoLimit) return kTrueExpr;
  return add({ExprKind::kMembers, 0, 0, min, max, {}});
}

ExprId ExprPool::items(int64_t min, int64_t max) {
  if (min <= 0 && max == kNoLimit) return kTrueExpr;
  return add({ExprKind::kItems, 0, 0, min, max, {}});
}

int32_t ExprPool::key_set(const std::u32string& key) {
  const auto [at, fresh] = key_sets_.emplace(key, static_cast<int32_t>(sets_.size()));
  if (fresh) sets_.push_back({true, key, nullptr});
  return at->second;
}

int32_t ExprPool::text_set(std::shared_ptr<const Dfa> dfa, const std::string& name) {
  if (!name.empty()) {
    const auto [at, fresh] = named_sets_.emplace(name, static_cast<int32_t>(sets_.size()));
    if (!fresh) return at->second;
  }
  bytes_ += dfa->bytes();
  charge(dfa->states());
  sets_.push_back({false, {}, std::move(dfa)});
  return static_cast<int32_t>(sets_.size()) - 1;
}

std::shared_ptr<const Dfa> ExprPool::language(int32_t set) const {
  const TextSet& s = this->set(set);
  return s.single ? std::make_shared<const Dfa>(Dfa::literal(s.key)) : s.dfa;
}

}  // namespace ramjet::text

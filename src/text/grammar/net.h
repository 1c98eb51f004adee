// Net: a grammar as a recursive transition network over bytes. Its leaves are bytes, regular
// languages of UTF-8 text, and JSON values (expressions of a Normalizer).
//
// Built once, then immutable. Node 0 is the return of every rule.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "text/grammar/dfa.h"
#include "text/grammar/expr.h"

namespace ramjet::text {

struct NetNode {
  enum class Kind : uint8_t { kReturn, kByte, kSplit, kCall, kText, kJson };
  Kind kind = Kind::kReturn;
  uint8_t low = 0, high = 0;            // of kByte
  int32_t next = 0;                     // of all but kReturn and kSplit
  int32_t entry = 0;                    // of kCall
  ExprId value = kTrueExpr;             // of kJson
  std::shared_ptr<const Dfa> language;  // of kText; shared by the places that use it
  std::vector<int32_t> targets;         // of kSplit
};

inline constexpr int32_t kReturnNode = 0;
inline constexpr size_t kMaxNetNodes = 200'000;

class Net {
 public:
  Net() { nodes_.emplace_back(); }
  const NetNode& operator[](int32_t node) const { return nodes_[static_cast<size_t>(node)]; }
  NetNode& at(int32_t node) { return nodes_[static_cast<size_t>(node)]; }
  size_t size() const { return nodes_.size(); }

  // Each gives the entry of a piece that goes on to `next`. Throw Refusal when there are too many.
  int32_t add(NetNode node);
  int32_t bytes(std::string_view text, int32_t next);
  int32_t byte(uint8_t low, uint8_t high, int32_t next);
  int32_t split(std::vector<int32_t> targets);
  int32_t call(int32_t entry, int32_t next);
  int32_t text(std::shared_ptr<const Dfa> language, int32_t next);
  int32_t json(ExprId value, int32_t next);
  /// The UTF-8 forms of the set's members.
  int32_t characters(const CodePointSet& set, int32_t next);

  /// Refuses rules that begin with themselves. Call once, when all is there.
  void check_left_recursion() const;
  /// Finds the nodes from which no text ends, given which JSON values are possible.
  void find_dead(const std::function<bool(ExprId)>& possible);
  bool dead(int32_t node) const { return dead_[static_cast<size_t>(node)] != 0; }

 private:
  std::vector<uint8_t> find_empty() const;
  std::vector<NetNode> nodes_;
  std::vector<uint8_t> dead_;
};

}  // namespace ramjet::text

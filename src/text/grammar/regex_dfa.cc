// The tree of a regular expression to an automaton: Thompson's construction, then sets of states.
#include <algorithm>
#include <unordered_map>

#include "text/grammar/regex.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxNodes = 200'000;
constexpr int64_t kMaxWork = 100'000'000;  // elements of sets visited

struct NfaNode {
  enum class Kind : uint8_t { kSplit, kSet, kStart, kEnd, kMatch };
  Kind kind = Kind::kSplit;
  int32_t a = -1, b = -1;  // next; of a split, two
  int32_t set = -1;
};

class Nfa {
 public:
  std::vector<NfaNode> nodes;
  std::vector<const CodePointSet*> sets;

  int32_t add(NfaNode node) {
    nodes.push_back(node);
    return static_cast<int32_t>(nodes.size()) - 1;
  }
  int32_t split(int32_t a, int32_t b) { return add({NfaNode::Kind::kSplit, a, b, -1}); }

  /// The entry of `node` that goes on to `next`.
  int32_t build(const RegexNode& node, int32_t next) {
    if (nodes.size() > kMaxNodes) return next;
    switch (node.kind) {
      case RegexNode::Kind::kEmpty: return next;
      case RegexNode::Kind::kStart: return add({NfaNode::Kind::kStart, next, -1, -1});
      case RegexNode::Kind::kEnd: return add({NfaNode::Kind::kEnd, next, -1, -1});
      case RegexNode::Kind::kSet:
        sets.push_back(&node.set);
        return add({NfaNode::Kind::kSet, next, -1, static_cast<int32_t>(sets.size()) - 1});
      case RegexNode::Kind::kCat:
        for (size_t i = node.parts.size(); i > 0; --i) next = build(*node.parts[i - 1], next);
        return next;
      case RegexNode::Kind::kAlt: {
        int32_t entry = -1;
        for (size_t i = node.parts.size(); i > 0; --i) {
          const int32_t part = build(*node.parts[i - 1], next);
          entry = entry < 0 ? part : split(part, entry);
        }
        return entry < 0 ? next : entry;
      }
      case RegexNode::Kind::kRepeat: return repeat(node, next);
    }
    return next;
  }

 private:
  int32_t repeat(const RegexNode& node, int32_t next) {
    const RegexNode& part = *node.parts[0];
    int32_t entry = next;
    if (node.max < 0) {
      const int32_t loop = split(-1, next);
      nodes[static_cast<size_t>(loop)].a = build(part, loop);
      entry = loop;
    } else {
      for (int i = node.min; i < node.max && nodes.size() <= kMaxNodes; ++i) {
        entry = split(build(part, entry), next);
      }
    }
    for (int i = 0; i < node.min && nodes.size() <= kMaxNodes; ++i) entry = build(part, entry);
    return entry;
  }
};

using StateSet = std::vector<int32_t>;
struct StateSetHash {
  size_t operator()(const StateSet& s) const {
    size_t h = s.size();
    for (const int32_t v : s) h = (h ^ static_cast<size_t>(v)) * 1099511628211ULL;
    return h;
  }
};

class Subsets {
 public:
  Subsets(const Nfa& nfa, size_t max_states)
      : nfa_(nfa), max_states_(max_states), mark_(nfa.nodes.size(), 0) {
    bounds_ = {0};
    for (const CodePointSet* set : nfa.sets) {
      for (const auto& [low, high] : *set) {
        bounds_.push_back(low);
        if (high + 1 < kCodePoints) bounds_.push_back(high + 1);
      }
    }
    std::sort(bounds_.begin(), bounds_.end());
    bounds_.erase(std::unique(bounds_.begin(), bounds_.end()), bounds_.end());
    for (const CodePointSet* set : nfa.sets) {
      members_.emplace_back();
      for (const auto& [low, high] : *set) {
        auto c = std::lower_bound(bounds_.begin(), bounds_.end(), low) - bounds_.begin();
        for (; c < std::ssize(bounds_) && bounds_[static_cast<size_t>(c)] <= high; ++c) {
          members_.back().push_back(static_cast<int32_t>(c));
        }
      }
    }
  }

  Result<Dfa> run(int32_t entry) {
    intern(closure({entry}, true, false), accepts(closure({entry}, true, true)));
    std::vector<int32_t> next;
    std::vector<StateSet> moves(bounds_.size());
    for (size_t i = 0; i < sets_.size(); ++i) {
      if (i >= max_states_ || next.size() > kMaxDfaEntries || work_ > kMaxWork) {
        return make_error(ErrorCode::kResourceExhausted,
                          "the pattern needs more than {} automaton states; simplify it",
                          max_states_);
      }
      for (StateSet& m : moves) m.clear();
      for (const int32_t n : sets_[i]) {
        const NfaNode& node = nfa_.nodes[static_cast<size_t>(n)];
        if (node.kind != NfaNode::Kind::kSet) continue;
        for (const int32_t c : members_[static_cast<size_t>(node.set)]) {
          moves[static_cast<size_t>(c)].push_back(node.a);
          ++work_;
        }
      }
      for (const StateSet& m : moves) {
        const StateSet to = closure(m, false, false);
        next.push_back(intern(to, accepts(closure(m, false, true))));
      }
    }
    return Dfa(std::move(bounds_), std::move(next), std::move(accept_));
  }

 private:
  /// What empty steps reach; anchors let through only where they hold.
  StateSet closure(const StateSet& from, bool at_start, bool at_end) {
    ++stamp_;
    StateSet out;
    std::vector<int32_t> work(from.rbegin(), from.rend());
    while (!work.empty()) {
      const int32_t n = work.back();
      work.pop_back();
      if (mark_[static_cast<size_t>(n)] == stamp_) continue;
      mark_[static_cast<size_t>(n)] = stamp_;
      ++work_;
      const NfaNode& node = nfa_.nodes[static_cast<size_t>(n)];
      switch (node.kind) {
        case NfaNode::Kind::kSplit:
          if (node.b >= 0) work.push_back(node.b);
          if (node.a >= 0) work.push_back(node.a);
          break;
        case NfaNode::Kind::kStart:
          if (at_start) work.push_back(node.a);
          break;
        case NfaNode::Kind::kEnd:
          if (at_end) work.push_back(node.a);
          break;
        default: out.push_back(n);
      }
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  bool accepts(const StateSet& set) const {
    return std::any_of(set.begin(), set.end(), [this](int32_t n) {
      return nfa_.nodes[static_cast<size_t>(n)].kind == NfaNode::Kind::kMatch;
    });
  }
  /// The same nodes may accept or not, as an anchor before the end says.
  int32_t intern(StateSet set, bool accept) {
    set.push_back(accept ? -1 : -2);
    const auto [at, fresh] = ids_.emplace(set, static_cast<int32_t>(sets_.size()));
    if (!fresh) return at->second;
    set.pop_back();
    sets_.push_back(std::move(set));
    accept_.push_back(accept ? 1 : 0);
    return at->second;
  }

  const Nfa& nfa_;
  const size_t max_states_;
  std::vector<uint32_t> bounds_;
  std::vector<std::vector<int32_t>> members_;  // classes of each set
  std::vector<int32_t> mark_;
  int32_t stamp_ = 0;
  int64_t work_ = 0;
  std::unordered_map<StateSet, int32_t, StateSetHash> ids_;
  std::vector<StateSet> sets_;
  std::vector<uint8_t> accept_;
};

}  // namespace

Result<Dfa> regex_to_dfa(const RegexPtr& node, RegexMatch match, size_t max_states) {
  const CodePointSet any{{0, kCodePoints - 1}};
  Nfa nfa;
  nfa.sets.push_back(&any);
  int32_t exit = nfa.add({NfaNode::Kind::kMatch, -1, -1, -1});
  const auto anything = [&nfa](int32_t next) {
    const int32_t loop = nfa.split(-1, next);
    nfa.nodes[static_cast<size_t>(loop)].a = nfa.add({NfaNode::Kind::kSet, loop, -1, 0});
    return loop;
  };
  if (match == RegexMatch::kPart) exit = anything(exit);
  int32_t entry = nfa.build(*node, exit);
  if (match == RegexMatch::kPart) entry = anything(entry);
  if (nfa.nodes.size() > kMaxNodes) {
    return make_error(ErrorCode::kResourceExhausted,
                      "the pattern's repetitions make more than {} nodes; lower their counts",
                      kMaxNodes);
  }
  return Subsets(nfa, max_states).run(entry);
}

Result<Dfa> compile_regex(std::string_view pattern, RegexMatch match, size_t max_states) {
  ASSIGN_OR_RETURN(const RegexPtr node, parse_regex(pattern));
  return regex_to_dfa(node, match, max_states);
}

Result<Dfa> compile_choice(const std::vector<std::u32string>& texts) {
  auto alt = std::make_shared<RegexNode>();
  alt->kind = RegexNode::Kind::kAlt;
  if (texts.empty()) return Dfa::all(false);
  if (texts.size() == 1) return Dfa::literal(texts[0]);
  for (const std::u32string& text : texts) {
    auto cat = std::make_shared<RegexNode>();
    cat->kind = RegexNode::Kind::kCat;
    for (const char32_t c : text) {
      auto set = std::make_shared<RegexNode>();
      set->kind = RegexNode::Kind::kSet;
      set->set = {{c, c}};
      cat->parts.push_back(std::move(set));
    }
    alt->parts.push_back(std::move(cat));
  }
  return regex_to_dfa(alt, RegexMatch::kWhole);
}

}  // namespace ramjet::text

// Which tokens stay inside a JSON string of a language, and how the tree of tokens is walked.
//
// Not thread-safe, but for the functions.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/grammar/machine.h"
#include "text/grammar/token_mask.h"

namespace ramjet::text {

struct NodeRange {
  uint32_t begin, end;
};

/// Walks the tree of these nodes, which are whole subtrees, from state `start`; `step(state, byte)`
/// is negative where no text goes on, `visit(node, state)` says whether to go below.
template <class Step, class Visit>
void walk(const TokenTrie& trie, NodeRange range, int32_t start, Step&& step, Visit&& visit) {
  struct Level {
    uint32_t after;
    int32_t state;
  };
  std::vector<Level> path{{range.end, start}};
  const auto& nodes = trie.nodes();
  for (uint32_t i = range.begin; i < range.end;) {
    while (path.back().after <= i) path.pop_back();
    const TokenTrie::Node& node = nodes[i];
    const int32_t to = step(path.back().state, node.byte);
    if (to < 0 || !visit(i, to)) {
      i = node.after;
      continue;
    }
    if (node.after > i + 1) path.push_back({node.after, to});
    ++i;
  }
}

/// The inside of strings of one language, its states numbered as they are met. Borrows the
/// language.
class StringWalker {
 public:
  explicit StringWalker(const Dfa* dfa) : dfa_(dfa) {}

  int32_t state(int32_t at, const CharReader& chars) {
    const uint64_t key = static_cast<uint64_t>(at) << 32 | uint64_t{chars.value} << 8 |
                         static_cast<uint64_t>(chars.mode) << 4 | chars.left;
    const auto [found, fresh] = ids_.emplace(key, static_cast<int32_t>(states_.size()));
    if (fresh) {
      states_.push_back({at, chars, {}});
      states_.back().steps.fill(-2);
    }
    return found->second;
  }
  int32_t step(int32_t id, uint8_t byte) {
    const int32_t known = states_[static_cast<size_t>(id)].steps[byte];
    if (known != -2) return known;
    const int32_t next = compute(id, byte);
    states_[static_cast<size_t>(id)].steps[byte] = next;
    return next;
  }
  static constexpr int32_t kExit = 1 << 30;

 private:
  struct State {
    int32_t at;
    CharReader chars;
    std::array<int32_t, 256> steps;
  };
  int32_t compute(int32_t id, uint8_t byte);

  const Dfa* dfa_;
  std::unordered_map<uint64_t, int32_t> ids_;
  std::deque<State> states_;
};

/// For a string whose automaton is in state `at`, between characters. The same wherever such a
/// string stands.
StringMask make_string_mask(const TokenTrie& trie, const Dfa& dfa, int32_t at);

}  // namespace ramjet::text

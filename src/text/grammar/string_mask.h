// Which tokens stay inside a JSON string of a language, and how the tree of tokens is walked.
//
// Pure functions.
#pragma once

#include <cstdint>
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

/// For a string whose automaton is in state `at`, between characters. The same wherever such a
/// string stands.
StringMask make_string_mask(const TokenTrie& trie, const Dfa& dfa, int32_t at);

}  // namespace ramjet::text

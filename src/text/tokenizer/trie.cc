#include "text/tokenizer/trie.h"

#include <algorithm>

namespace ramjet::text {

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& e) { return e.first.empty(); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.first < b.first; });
  // Level by level: a node stands for the entries [begin, end), which share `depth` bytes.
  struct Range {
    uint32_t begin;
    uint32_t end;
  };
  std::vector<Range> ranges{{0, static_cast<uint32_t>(entries.size())}};
  size_t level_begin = 0;
  for (size_t depth = 0; level_begin < ranges.size(); ++depth) {
    const size_t level_end = ranges.size();
    for (size_t at = level_begin; at < level_end; ++at) {
      auto [begin, end] = ranges[at];
      while (begin < end && entries[begin].first.size() == depth) {
        nodes_[at].value = entries[begin++].second;
      }
      nodes_[at].child = static_cast<uint32_t>(nodes_.size());
      while (begin < end) {
        const auto byte = static_cast<uint8_t>(entries[begin].first[depth]);
        uint32_t next = begin + 1;
        while (next < end && static_cast<uint8_t>(entries[next].first[depth]) == byte) ++next;
        ranges.push_back({begin, next});
        nodes_.emplace_back();
        labels_.push_back(byte);
        ++nodes_[at].children;
        begin = next;
      }
    }
    level_begin = level_end;
  }
  for (uint32_t i = 0; i < nodes_[kRoot].children; ++i) {
    first_[labels_[nodes_[kRoot].child + i]] = nodes_[kRoot].child + i;
  }
}

std::pair<size_t, int32_t> ByteTrie::longest_prefix(std::string_view text) const {
  std::pair<size_t, int32_t> best{0, -1};
  uint32_t node = kRoot;
  for (size_t i = 0; i < text.size(); ++i) {
    node = step(node, static_cast<unsigned char>(text[i]));
    if (node == kNone) break;
    if (value(node) >= 0) best = {i + 1, value(node)};
  }
  return best;
}

}  // namespace ramjet::text

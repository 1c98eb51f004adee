#include <algorithm>

#include "text/grammar/string_mask.h"
#include "text/grammar/token_mask.h"

namespace ramjet::text {

TokenTrie::TokenTrie(const Tokenizer& tokenizer, int32_t vocab_size, std::vector<int32_t> end_ids)
    : end_ids_(std::move(end_ids)), vocab_size_(vocab_size) {
  spans_.resize(static_cast<size_t>(vocab_size));
  std::vector<std::pair<std::string, int32_t>> texts;
  for (int32_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    const bool ends = std::find(end_ids_.begin(), end_ids_.end(), id) != end_ids_.end();
    if (ends || tokenizer.is_special(id)) continue;
    std::string bytes = tokenizer.token_bytes(id);
    if (!bytes.empty()) texts.emplace_back(std::move(bytes), id);
  }
  std::erase_if(end_ids_, [vocab_size](int32_t id) { return id < 0 || id >= vocab_size; });
  std::sort(texts.begin(), texts.end());
  std::vector<uint32_t> path;  // nodes from the root to the last text's end
  std::string_view last;
  for (const auto& [bytes, id] : texts) {
    spans_[static_cast<size_t>(id)] = {static_cast<uint32_t>(pool_.size()),
                                       static_cast<uint32_t>(bytes.size())};
    pool_ += bytes;
    size_t common = 0;
    while (common < path.size() && common < bytes.size() && last[common] == bytes[common]) ++common;
    for (; path.size() > common; path.pop_back()) {
      nodes_[path.back()].after = static_cast<uint32_t>(nodes_.size());
    }
    while (path.size() < bytes.size()) {
      Node node;
      node.byte = static_cast<uint8_t>(bytes[path.size()]);
      node.tokens_begin = node.tokens_end = static_cast<uint32_t>(tokens_.size());
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      node.depth = static_cast<uint32_t>(path.size());
      nodes_.push_back(node);
    }
    // Tokens of equal bytes are neighbours, so a node's tokens are a range.
    tokens_.push_back(id);
    nodes_[path.back()].tokens_end = static_cast<uint32_t>(tokens_.size());
    last = bytes;
  }
  for (const uint32_t node : path) nodes_[node].after = static_cast<uint32_t>(nodes_.size());
  any_string_ = make_string_mask(*this, Dfa::all(), 0);
}

std::string_view TokenTrie::bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size_) return {};
  const auto [begin, size] = spans_[static_cast<size_t>(id)];
  return std::string_view(pool_).substr(begin, size);
}

}  // namespace ramjet::text

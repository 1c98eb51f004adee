#include <algorithm>

#include "text/grammar/string_mask.h"
#include "text/grammar/token_mask.h"

namespace ramjet::text {

TokenTrie::TokenTrie(const Tokenizer& tokenizer, int32_t vocab_size, std::vector<int32_t> end_ids)
    : tokenizer_(tokenizer), end_ids_(std::move(end_ids)), vocab_size_(vocab_size) {
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

std::optional<int32_t> TokenTrie::special(std::string_view text) const {
  const auto id = tokenizer_.token_id(text);
  if (!id || *id >= vocab_size_ || !tokenizer_.is_special(*id)) return std::nullopt;
  const bool ends = std::find(end_ids_.begin(), end_ids_.end(), *id) != end_ids_.end();
  return ends ? std::nullopt : id;
}

uint32_t TokenTrie::find(std::string_view bytes) const {
  const auto none = static_cast<uint32_t>(nodes_.size());
  uint32_t node = none;
  for (uint32_t i = 0, end = none; !bytes.empty(); bytes.remove_prefix(1)) {
    while (i < end && nodes_[i].byte != static_cast<uint8_t>(bytes[0])) i = nodes_[i].after;
    if (i >= end) return none;
    node = i;
    end = nodes_[i].after;
    ++i;
  }
  return node;
}

/// The bytes of the longest token that the text begins with.
size_t TokenTrie::longest(std::string_view text, int32_t* id) const {
  size_t length = 0, depth = 0;
  auto end = static_cast<uint32_t>(nodes_.size());
  for (uint32_t i = 0; i < end && depth < text.size();) {
    if (nodes_[i].byte != static_cast<uint8_t>(text[depth])) {
      i = nodes_[i].after;
      continue;
    }
    ++depth;
    end = nodes_[i].after;
    if (nodes_[i].tokens_end > nodes_[i].tokens_begin) {
      *id = tokens_[nodes_[i].tokens_begin];
      length = depth;
    }
    ++i;
  }
  return length;
}

std::vector<int32_t> TokenTrie::split(std::string_view text) const {
  const auto encoded =
      tokenizer_.encode(text, {.add_special_tokens = false, .parse_special = false});
  if (encoded.ok()) {
    std::string_view left = text;
    for (const int32_t id : *encoded) {
      const std::string_view token = bytes(id);
      if (token.empty() || !left.starts_with(token)) break;
      left.remove_prefix(token.size());
    }
    if (left.empty()) return *encoded;
  }
  // Half a character, or a tokenizer that begins every text with a space.
  std::vector<int32_t> ids;
  int32_t id = 0;
  for (size_t size = 0; (size = longest(text, &id)) > 0; text.remove_prefix(size)) {
    ids.push_back(id);
  }
  return ids;
}

}  // namespace ramjet::text

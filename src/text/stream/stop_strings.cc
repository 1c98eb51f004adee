#include "text/stream/stop_strings.h"

#include <algorithm>
#include <deque>

namespace ramjet::text {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : stops_(std::move(stops)), include_stop_(include_stop) {
  build();
}

void StopMatcher::build() {
  nodes_.resize(1);
  for (size_t i = 0; i < stops_.size(); ++i) {
    if (stops_[i].empty()) continue;
    int at = 0;
    for (const char c : stops_[i]) {
      const auto byte = static_cast<unsigned char>(c);
      auto& next = nodes_[static_cast<size_t>(at)].next;
      const auto it = std::find_if(next.begin(), next.end(),
                                   [&](const auto& edge) { return edge.first == byte; });
      if (it != next.end()) {
        at = it->second;
        continue;
      }
      const int child = static_cast<int>(nodes_.size());
      const int depth = nodes_[static_cast<size_t>(at)].depth + 1;
      next.emplace_back(byte, child);
      nodes_.emplace_back().depth = depth;
      at = child;
    }
    int& match = nodes_[static_cast<size_t>(at)].match;
    if (match < 0) match = static_cast<int>(i);
  }
  // Breadth first, so that a node's fail target is done before it.
  std::deque<int> queue{0};
  while (!queue.empty()) {
    const int at = queue.front();
    queue.pop_front();
    for (const auto& [byte, child] : nodes_[static_cast<size_t>(at)].next) {
      Node& node = nodes_[static_cast<size_t>(child)];
      node.fail = at == 0 ? 0 : step(nodes_[static_cast<size_t>(at)].fail, byte);
      if (node.match < 0) node.match = nodes_[static_cast<size_t>(node.fail)].match;
      queue.push_back(child);
    }
  }
}

int StopMatcher::step(int state, unsigned char c) const {
  while (true) {
    const Node& node = nodes_[static_cast<size_t>(state)];
    for (const auto& [byte, child] : node.next) {
      if (byte == c) return child;
    }
    if (state == 0) return 0;
    state = node.fail;
  }
}

StopMatcher::Step StopMatcher::push(std::string_view text) {
  if (matched_) return {{}, matched_};
  for (size_t i = 0; i < text.size(); ++i) {
    state_ = step(state_, static_cast<unsigned char>(text[i]));
    const int match = nodes_[static_cast<size_t>(state_)].match;
    if (match < 0) continue;
    matched_ = match;
    held_ += text.substr(0, i + 1);
    if (!include_stop_) held_.resize(held_.size() - stops_[static_cast<size_t>(match)].size());
    return {std::exchange(held_, {}), matched_};
  }
  held_ += text;
  const auto partial = static_cast<size_t>(nodes_[static_cast<size_t>(state_)].depth);
  std::string out = held_.substr(0, held_.size() - partial);
  held_.erase(0, held_.size() - partial);
  return {std::move(out), std::nullopt};
}

std::string StopMatcher::flush() {
  state_ = 0;
  return std::exchange(held_, {});
}

Result<std::vector<std::vector<int32_t>>> bad_word_ids(const Tokenizer& tokenizer,
                                                       std::span<const std::string> words) {
  std::vector<std::vector<int32_t>> out;
  for (const std::string& word : words) {
    const size_t start = std::min(word.find_first_not_of(' '), word.size());
    const std::string bare = word.substr(start);
    if (bare.empty()) continue;
    for (const std::string& spelling : {bare, " " + bare}) {
      ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                       tokenizer.encode(spelling, {.add_special_tokens = false}));
      if (!ids.empty() && std::find(out.begin(), out.end(), ids) == out.end()) {
        out.push_back(std::move(ids));
      }
    }
  }
  return out;
}

}  // namespace ramjet::text

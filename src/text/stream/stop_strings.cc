#include "text/stream/stop_strings.h"

#include <algorithm>
#include <deque>

namespace ramjet::text {

StopSet::StopSet(std::vector<std::string> stops) : stops_(std::move(stops)), nodes_(1) {
  for (size_t i = 0; i < stops_.size(); ++i) {
    if (!stops_[i].empty()) add(static_cast<int>(i));
  }
  link();
}

void StopSet::add(int index) {
  int at = 0;
  for (const char c : stop(index)) {
    const auto byte = static_cast<unsigned char>(c);
    auto& next = node(at).next;
    const auto it = std::find_if(next.begin(), next.end(),
                                 [&](const auto& edge) { return edge.first == byte; });
    if (it != next.end()) {
      at = it->second;
      continue;
    }
    const int child = static_cast<int>(nodes_.size());
    const int depth = node(at).depth + 1;
    next.emplace_back(byte, child);
    nodes_.emplace_back().depth = depth;
    at = child;
  }
  if (node(at).match < 0) node(at).match = index;
}

/// Breadth first, so that a node's fail target is done before it.
void StopSet::link() {
  std::deque<int> queue{0};
  while (!queue.empty()) {
    const int at = queue.front();
    queue.pop_front();
    for (const auto& [byte, child] : node(at).next) {
      Node& reached = node(child);
      reached.fail = at == 0 ? 0 : step(node(at).fail, byte);
      if (reached.match < 0) reached.match = node(reached.fail).match;
      queue.push_back(child);
    }
  }
}

int StopSet::step(int state, unsigned char c) const {
  while (true) {
    for (const auto& [byte, child] : node(state).next) {
      if (byte == c) return child;
    }
    if (state == 0) return 0;
    state = node(state).fail;
  }
}

StopMatcher::Step StopMatcher::push(std::string_view text) {
  if (matched_) return {{}, matched_};
  for (size_t i = 0; i < text.size(); ++i) {
    state_ = stops_->step(state_, static_cast<unsigned char>(text[i]));
    const int match = stops_->match(state_);
    if (match < 0) continue;
    matched_ = match;
    held_ += text.substr(0, i + 1);
    if (!include_stop_) held_.resize(held_.size() - stops_->stop(match).size());
    return {std::exchange(held_, {}), matched_};
  }
  held_ += text;
  const size_t partial = stops_->depth(state_);
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

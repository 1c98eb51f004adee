// StopMatcher: finds the first of several stop strings in streamed text, holding back no more
// than the longest tail that could still become one. Also bad words as token-id sequences.
//
// A StopSet is immutable and shared by the matchers of a request; a matcher belongs to one
// sequence and one thread. Empty stop strings are ignored.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

/// The stop strings of a request and their Aho-Corasick automaton.
class StopSet {
 public:
  explicit StopSet(std::vector<std::string> stops);

  const std::string& stop(int index) const { return stops_[static_cast<size_t>(index)]; }
  /// The state after `state` and a byte; 0 is the start.
  int step(int state, unsigned char c) const;
  /// Bytes of the longest prefix of a stop string that ends here.
  size_t depth(int state) const { return static_cast<size_t>(node(state).depth); }
  /// Index of the longest stop string that ends here, or -1.
  int match(int state) const { return node(state).match; }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int>> next;
    int fail = 0;
    int depth = 0;
    int match = -1;
  };
  const Node& node(int state) const { return nodes_[static_cast<size_t>(state)]; }
  Node& node(int state) { return nodes_[static_cast<size_t>(state)]; }
  void add(int index);
  void link();

  std::vector<std::string> stops_;
  std::vector<Node> nodes_;  // node 0 is the root
};

class StopMatcher {
 public:
  struct Step {
    std::string text;            // may be sent to the client now
    std::optional<int> matched;  // index of the stop string that ended the text
  };

  /// Owners of `stops`: the matchers of one request.
  explicit StopMatcher(std::shared_ptr<const StopSet> stops, bool include_stop = false)
      : stops_(std::move(stops)), include_stop_(include_stop) {}
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false)
      : StopMatcher(std::make_shared<const StopSet>(std::move(stops)), include_stop) {}

  /// Adds text. Of several matches the one that ends first wins, of those ending together the
  /// longest. After a match all further text is dropped and steps repeat `matched`.
  Step push(std::string_view text);
  /// The end of the sequence: what was held back.
  std::string flush();
  bool stopped() const { return matched_.has_value(); }

 private:
  std::shared_ptr<const StopSet> stops_;
  bool include_stop_;
  int state_ = 0;
  std::string held_;
  std::optional<int> matched_;
};

/// Token-id sequences that spell the bad words: each as it stands and with a leading space, as a
/// word appears in running text; without special tokens; duplicates and empties dropped.
Result<std::vector<std::vector<int32_t>>> bad_word_ids(const Tokenizer& tokenizer,
                                                       std::span<const std::string> words);

}  // namespace ramjet::text

// StopMatcher: finds the first of several stop strings in streamed text, holding back no more
// than the longest tail that could still become one. Also bad words as token-id sequences.
//
// One per sequence; not thread-safe; owns its strings. Empty stop strings are ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

class StopMatcher {
 public:
  struct Step {
    std::string text;            // may be sent to the client now
    std::optional<int> matched;  // index of the stop string that ended the text
  };

  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);

  /// Adds text. Of several matches the one that ends first wins, of those ending together the
  /// longest. After a match all further text is dropped and steps repeat `matched`.
  Step push(std::string_view text);
  /// The end of the sequence: what was held back.
  std::string flush();
  bool stopped() const { return matched_.has_value(); }

 private:
  void build();

  struct Node {
    std::vector<std::pair<unsigned char, int>> next;
    int fail = 0;
    int depth = 0;
    int match = -1;  // index of the longest stop that ends here
  };
  int step(int state, unsigned char c) const;

  std::vector<std::string> stops_;
  bool include_stop_;
  std::vector<Node> nodes_;  // Aho-Corasick automaton; node 0 is the root
  int state_ = 0;
  std::string held_;
  std::optional<int> matched_;
};

/// Token-id sequences that spell the bad words: each as it stands and with a leading space, as a
/// word appears in running text; without special tokens; duplicates and empties dropped.
Result<std::vector<std::vector<int32_t>>> bad_word_ids(const Tokenizer& tokenizer,
                                                       std::span<const std::string> words);

}  // namespace ramjet::text

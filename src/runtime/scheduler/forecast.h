// What running sequences will come to hold: the length that outputs have, and the worst moment of
// the cache. Plain arithmetic, not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace ramjet::runtime {

/// The mean output length of late, as an exponentially weighted average over finished sequences.
class OutputLengths {
 public:
  void record(int64_t tokens);
  /// Tokens that a sequence which has `produced` so far and may stop early will have in the end:
  /// the mean, a quarter more than it has if it passed that, at most `max_output`.
  int64_t expected(int64_t produced, int64_t max_output) const;

 private:
  static constexpr double kFirstGuess = 256;  // as long as nothing has finished
  double mean_ = 0;
};

struct Growth {           // of one sequence
  int64_t remaining = 0;  // steps until it ends and gives its blocks back
  int64_t tokens = 0;     // in its cache, or about to be
  int64_t branches = 1;   // caches that grow by a token a step, beyond common tokens
};

/// The most blocks that all of these hold at one moment, if each takes a token a step and ends on
/// time. A cache's last block counts as half full. Sorts them; O(n log n).
int64_t peak_blocks(std::vector<Growth>& all, int64_t block_tokens);

}  // namespace ramjet::runtime

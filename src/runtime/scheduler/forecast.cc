#include "runtime/scheduler/forecast.h"

#include <algorithm>

namespace ramjet::runtime {

void OutputLengths::record(int64_t tokens) {
  constexpr double kWeight = 1.0 / 32;
  const auto length = static_cast<double>(tokens);
  mean_ = mean_ == 0 ? length : mean_ + kWeight * (length - mean_);
}

int64_t OutputLengths::expected(int64_t produced, int64_t max_output) const {
  const auto mean = static_cast<int64_t>(mean_ == 0 ? kFirstGuess : mean_ + 0.5);
  return std::min(max_output, std::max(mean, produced + produced / 4 + 1));
}

// Blocks are held most just before somebody ends, so only those moments are looked at.
int64_t peak_blocks(std::vector<Growth>& all, int64_t block_tokens) {
  std::sort(all.begin(), all.end(),
            [](const Growth& a, const Growth& b) { return a.remaining < b.remaining; });
  int64_t tokens = 0, branches = 0, peak = 0;
  for (const Growth& g : all) tokens += g.tokens, branches += g.branches;
  for (const Growth& g : all) {
    const int64_t held = tokens + branches * g.remaining + branches * block_tokens / 2;
    peak = std::max(peak, held / block_tokens);
    tokens -= g.tokens, branches -= g.branches;
  }
  return peak;
}

}  // namespace ramjet::runtime

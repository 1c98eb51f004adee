#include "text/grammar/string_mask.h"

#include <array>
#include <deque>
#include <unordered_map>

namespace ramjet::text {
namespace {

constexpr int32_t kDead = -1;
constexpr int32_t kUnknown = -2;

using Steps = std::array<int32_t, 256>;

/// The inside of strings of one language, its states numbered as they are met.
class StringWalker {
 public:
  explicit StringWalker(const Dfa* dfa) : dfa_(dfa) {}

  int32_t state(int32_t at, const CharReader& chars) {
    const uint64_t key = static_cast<uint64_t>(at) << 32 | uint64_t{chars.value} << 8 |
                         static_cast<uint64_t>(chars.mode) << 4 | chars.left;
    const auto [found, fresh] = ids_.emplace(key, static_cast<int32_t>(states_.size()));
    if (fresh) {
      states_.push_back({at, chars, {}});
      states_.back().steps.fill(kUnknown);
    }
    return found->second;
  }
  int32_t step(int32_t id, uint8_t byte) {
    const int32_t known = states_[static_cast<size_t>(id)].steps[byte];
    if (known != kUnknown) return known;
    const int32_t next = compute(id, byte);
    states_[static_cast<size_t>(id)].steps[byte] = next;
    return next;
  }
  static constexpr int32_t kExit = 1 << 30;

 private:
  struct State {
    int32_t at;
    CharReader chars;
    Steps steps;
  };
  int32_t compute(int32_t id, uint8_t byte) {
    int32_t at = states_[static_cast<size_t>(id)].at;
    CharReader chars = states_[static_cast<size_t>(id)].chars;
    const CharReader::Read read = chars.json(byte, false);
    if (!read.ok) return kDead;
    for (int i = 0; i < read.count; ++i) at = dfa_->step(at, read.points[i]);
    if (!dfa_->live(at)) return kDead;
    if (read.end) return dfa_->accepts(at) ? kExit : kDead;
    if (chars.mode != CharReader::Mode::kPlain && !live_characters(*dfa_, at, chars.possible())) {
      return kDead;
    }
    return state(at, chars);
  }

  const Dfa* dfa_;
  std::unordered_map<uint64_t, int32_t> ids_;
  std::deque<State> states_;
};

}  // namespace

StringMask make_string_mask(const TokenTrie& trie, const Dfa& dfa, int32_t at) {
  StringWalker walker(&dfa);
  StringMask out;
  out.bits.assign(trie.words(), 0);
  walk(
      trie, {0, static_cast<uint32_t>(trie.nodes().size())}, walker.state(at, {}),
      [&walker](int32_t s, uint8_t byte) { return walker.step(s, byte); },
      [&](uint32_t i, int32_t s) {
        if (s == StringWalker::kExit) {
          out.exits.push_back(i);
          return false;
        }
        const TokenTrie::Node& node = trie.nodes()[i];
        for (uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
          const auto id = static_cast<uint32_t>(trie.tokens()[t]);
          out.bits[id / 32] |= 1u << (id % 32);
        }
        return true;
      });
  return out;
}

}  // namespace ramjet::text

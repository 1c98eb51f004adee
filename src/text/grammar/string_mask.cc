#include "text/grammar/string_mask.h"

namespace ramjet::text {

int32_t StringWalker::compute(int32_t id, uint8_t byte) {
  int32_t at = states_[static_cast<size_t>(id)].at;
  CharReader chars = states_[static_cast<size_t>(id)].chars;
  const CharReader::Read read = chars.json(byte, false);
  if (!read.ok) return -1;
  for (int i = 0; i < read.count; ++i) at = dfa_->step(at, read.points[i]);
  if (!dfa_->live(at)) return -1;
  if (read.end) return dfa_->accepts(at) ? kExit : -1;
  if (chars.mode != CharReader::Mode::kPlain && !live_characters(*dfa_, at, chars.possible())) {
    return -1;
  }
  return state(at, chars);
}

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

#include "text/grammar/token_mask.h"

#include <ramjet/forced_tokens.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "text/grammar/grammar_impl.h"
#include "text/grammar/string_mask.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxStates = 16'384;          // a KiB each
constexpr size_t kMaxKept = size_t{64} << 20;  // bytes of masks
constexpr size_t kMaxForced = 256;             // bytes at once
constexpr int32_t kDead = -1;
constexpr int32_t kUnknown = -2;

using Steps = std::array<int32_t, 256>;

class Masker {
 public:
  Masker(GrammarPtr grammar, std::shared_ptr<const TokenTrie> trie)
      : grammar_(std::move(grammar)), trie_(std::move(trie)) {
    for (const std::string& text : grammar_->impl().specials) {
      const auto id = trie_->special(text);
      if (id && !text.empty()) specials_.emplace(*id, text);
    }
  }

  using StatePtr = std::shared_ptr<const MachineState>;  // of the table and of masks that are there
  struct Place {
    uint64_t epoch = ~uint64_t{0};
    int32_t id = 0;
    StatePtr state;
  };

  Place start() {
    const std::lock_guard lock(grammar_->impl().mutex);
    grammar_->impl().pool.renew();
    Place place;
    place.state = std::make_shared<const MachineState>(machine().start(grammar_->impl().entry));
    locate(place);
    return place;
  }
  void fill(Place& place, std::span<uint32_t> bits) {
    const std::lock_guard lock(grammar_->impl().mutex);
    grammar_->impl().pool.renew();
    locate(place);
    const std::vector<uint32_t>& mask = mask_of(place.id);
    std::fill(bits.begin(), bits.end(), 0);
    std::copy_n(mask.begin(), std::min(mask.size(), bits.size()), bits.begin());
  }
  /// Follows a token; false where it was not allowed.
  bool accept(Place& place, int32_t token) {
    const auto special = specials_.find(token);
    const bool is_special = special != specials_.end();
    const std::string_view bytes = is_special ? special->second : trie_->bytes(token);
    if (bytes.empty()) return false;
    const std::lock_guard lock(grammar_->impl().mutex);
    grammar_->impl().pool.renew();
    locate(place);
    const int32_t at = follow(is_special ? outside_json(place.id) : place.id, bytes);
    if (at < 0) return false;
    place.id = at;
    place.state = states_[static_cast<size_t>(at)].state;
    return true;
  }
  /// Tokens of the text that must come next.
  void forced(Place& place, size_t most, std::vector<int32_t>* ids) {
    const std::lock_guard lock(grammar_->impl().mutex);
    grammar_->impl().pool.renew();
    locate(place);
    const std::vector<int32_t>& all = jump_of(place.id);
    ids->insert(ids->end(), all.begin(), all.begin() + std::min(most, all.size()));
  }
  bool accepting(Place& place) {
    const std::lock_guard lock(grammar_->impl().mutex);
    return machine().accepting(*place.state);
  }
  /// Whether the text is whole and nothing may follow.
  bool complete(const Place& place) const {
    return std::all_of(place.state->begin(), place.state->end(),
                       [](const Thread& t) { return t.kind == Thread::Kind::kDone; });
  }
  const TokenTrie& trie() const { return *trie_; }

 private:
  struct State {
    StatePtr state;
    Steps steps;
    std::vector<uint32_t> mask;
    std::optional<std::vector<int32_t>> jump;
  };
  Machine& machine() { return grammar_->impl().canonical; }

  /// The place's number, found anew if all was forgotten since.
  void locate(Place& place) {
    const bool full = states_.size() > kMaxStates || kept_ > kMaxKept;
    if (full) {
      states_.clear(), ids_.clear(), strings_.clear(), walkers_.clear();
      kept_ = 0;
      ++epoch_;
    }
    if (place.epoch == epoch_) return;
    place.epoch = epoch_;
    place.id = intern(*place.state);
  }
  int32_t intern(MachineState state) {
    size_t hash = state.size();
    for (const Thread& t : state) hash += t.hash();
    auto& same = ids_[hash];
    for (const int32_t id : same) {
      if (*states_[static_cast<size_t>(id)].state == state) return id;
    }
    const auto id = static_cast<int32_t>(states_.size());
    same.push_back(id);
    states_.push_back({std::make_shared<const MachineState>(std::move(state)), {}, {}, {}});
    states_.back().steps.fill(kUnknown);
    return id;
  }
  int32_t step(int32_t id, uint8_t byte) {
    const int32_t known = states_[static_cast<size_t>(id)].steps[byte];
    if (known != kUnknown) return known;
    MachineState next = machine().step(*states_[static_cast<size_t>(id)].state, byte);
    const int32_t to = next.empty() ? kDead : intern(std::move(next));
    states_[static_cast<size_t>(id)].steps[byte] = to;
    return to;
  }
  int32_t follow(int32_t id, std::string_view bytes) {
    for (const char byte : bytes) {
      if (id < 0) break;
      id = step(id, static_cast<uint8_t>(byte));
    }
    return id;
  }
  /// The state of those threads that are in no JSON value: a special token is never part of one.
  int32_t outside_json(int32_t id) {
    MachineState kept = *states_[static_cast<size_t>(id)].state;
    std::erase_if(kept, [](const Thread& t) {
      return t.kind != Thread::Kind::kByte && t.kind != Thread::Kind::kText;
    });
    return kept.empty() ? kDead : intern(std::move(kept));
  }
  /// The byte that must come next, or -1.
  int only_byte(int32_t id) {
    const MachineState& state = *states_[static_cast<size_t>(id)].state;
    const Thread& first = state.front();
    if (first.kind == Thread::Kind::kString && first.dfa->is_all()) return -1;
    if (machine().accepting(state)) return -1;
    int found = -1;
    for (int byte = 0; byte < 256; ++byte) {
      if (step(id, static_cast<uint8_t>(byte)) < 0) continue;
      if (found >= 0) return -1;
      found = byte;
    }
    return found;
  }
  /// The tokens of the text that must follow `id`, but for those at its end in whose place one
  /// could come that goes on beyond it: that choice is the model's.
  const std::vector<int32_t>& jump_of(int32_t id) {
    if (!states_[static_cast<size_t>(id)].jump) {
      std::string text;
      int32_t end = id;
      for (int byte; text.size() < kMaxForced && (byte = only_byte(end)) >= 0;) {
        end = step(end, static_cast<uint8_t>(byte));
        text += static_cast<char>(byte);
      }
      // Where a special token could stand, the model says whether it does.
      size_t room = text.size();
      for (const auto& [token, spelled] : specials_) room = std::min(room, text.find(spelled));
      std::vector<int32_t> ids;
      if (room > 0) ids = trie_->split(std::string_view(text).substr(0, room));
      size_t at = 0;
      for (size_t i = 0; i < ids.size(); ++i) {
        if (may_cross(std::string_view(text).substr(at), end)) {
          ids.resize(i);
          break;
        }
        at += trie_->bytes(ids[i]).size();
      }
      states_[static_cast<size_t>(id)].jump = std::move(ids);
    }
    return *states_[static_cast<size_t>(id)].jump;
  }
  /// Whether some token is `rest` and more that may follow in state `end`.
  bool may_cross(std::string_view rest, int32_t end) {
    for (const auto& [token, spelled] : specials_) {
      const bool longer = spelled.size() > rest.size() && spelled.starts_with(rest);
      if (longer && follow(end, std::string_view(spelled).substr(rest.size())) >= 0) return true;
    }
    const uint32_t node = trie_->find(rest);
    if (node >= trie_->nodes().size()) return false;
    bool found = false;
    walk(
        *trie_, {node + 1, trie_->nodes()[node].after}, end,
        [this, &found](int32_t s, uint8_t byte) { return found ? kDead : step(s, byte); },
        [this, &found](uint32_t i, int32_t) {
          found |= trie_->nodes()[i].tokens_end > trie_->nodes()[i].tokens_begin;
          return !found;
        });
    return found;
  }
  void set_tokens(uint32_t node, std::vector<uint32_t>& bits) const {
    const TokenTrie::Node& n = trie_->nodes()[node];
    for (uint32_t t = n.tokens_begin; t < n.tokens_end; ++t) {
      const auto id = static_cast<uint32_t>(trie_->tokens()[t]);
      bits[id / 32] |= 1u << (id % 32);
    }
  }
  void add_below(NodeRange range, int32_t from, std::vector<uint32_t>& bits) {
    if (key_thread(from) != nullptr) return add_keys(range, from, bits);
    walk(
        *trie_, range, from, [this](int32_t s, uint8_t byte) { return step(s, byte); },
        [&](uint32_t i, int32_t s) {
          set_tokens(i, bits);
          if (key_thread(s) == nullptr) return true;
          add_keys({i + 1, trie_->nodes()[i].after}, s, bits);
          return false;
        });
  }
  /// The thread that is between characters of a key which the schema does not declare, if all such
  /// keys have values alike.
  const Thread* key_thread(int32_t id) const {
    for (const Thread& t : *states_[static_cast<size_t>(id)].state) {
      if (t.kind != Thread::Kind::kOtherKey || t.chars.mode != CharReader::Mode::kPlain) continue;
      const ObjectPlan& plan = *t.frame->object;
      ExprId value = kFalseExpr;
      for (const auto& c : plan.classes) {
        if (c.value == kFalseExpr || c.value == value) continue;
        if (value != kFalseExpr) return nullptr;
        value = c.value;
      }
      return plan.shape.some.empty() && !t.capture ? &t : nullptr;
    }
    return nullptr;
  }
  /// Below a place in such a key: its inside depends on the language of keys alone, and what may
  /// follow its end is the same behind each; but a key may come once.
  void add_keys(NodeRange range, int32_t from, std::vector<uint32_t>& bits) {
    const StatePtr all = states_[static_cast<size_t>(from)].state;
    const Thread key = *key_thread(from);
    MachineState rest = *all;
    std::erase_if(rest, [&key](const Thread& t) { return t == key; });
    const int32_t alone = rest.empty() ? from : intern(MachineState{key});
    // Apart from what other threads allow, since some of it is taken back.
    std::vector<uint32_t> own(bits.size());
    const std::vector<uint32_t> exits = inside_key(range, key, own);
    std::vector<std::string> taken;
    for (const KeyList* k = key.frame->others.get(); k != nullptr; k = k->before.get()) {
      if (k->key.starts_with(key.text)) taken.push_back(k->key);
    }
    int32_t closed = kDead;  // a state behind a key that is not taken
    const size_t tries = std::min(exits.size(), 8 + 8 * taken.size());
    for (size_t e = 0; e < tries && closed < 0; ++e) {
      closed = follow(alone, path_to(range, exits[e]));
    }
    for (size_t e = 0; e < exits.size() && closed >= 0; ++e) {
      set_tokens(exits[e], own);
      add_below({exits[e] + 1, trie_->nodes()[exits[e]].after}, closed, own);
    }
    if (!taken.empty()) drop_taken(range, alone, taken, own);
    for (size_t i = 0; i < bits.size(); ++i) bits[i] |= own[i];
    if (!rest.empty()) add_below(range, intern(std::move(rest)), bits);
  }
  /// Sets the tokens that stay inside a key; returns where others close it.
  std::vector<uint32_t> inside_key(NodeRange range, const Thread& key,
                                   std::vector<uint32_t>& bits) {
    if (range.begin == 0 && range.end == trie_->nodes().size()) {
      const StringMask& inside = string_mask(*key.dfa, key.b);
      std::copy(inside.bits.begin(), inside.bits.end(), bits.begin());
      return inside.exits;
    }
    StringWalker& walker = walkers_.try_emplace(key.dfa, key.dfa).first->second;
    std::vector<uint32_t> exits;
    walk(
        *trie_, range, walker.state(key.b, {}),
        [&walker](int32_t s, uint8_t byte) { return walker.step(s, byte); },
        [&](uint32_t i, int32_t s) {
          if (s == StringWalker::kExit) {
            exits.push_back(i);
            return false;
          }
          set_tokens(i, bits);
          return true;
        });
    return exits;
  }
  /// The bytes from above the range to a node in it.
  std::string path_to(NodeRange range, uint32_t node) const {
    const auto& nodes = trie_->nodes();
    std::string path;
    for (uint32_t i = range.begin; i < range.end && i <= node;) {
      if (nodes[i].after <= node) {
        i = nodes[i].after;
        continue;
      }
      path += static_cast<char>(nodes[i].byte);
      ++i;
    }
    return path;
  }
  /// Clears the tokens below a place in a key that lead to one of the keys that are taken, by what
  /// the machine says where the text is the beginning of one.
  void drop_taken(NodeRange range, int32_t from, const std::vector<std::string>& taken,
                  std::vector<uint32_t>& bits) {
    const Thread key = states_[static_cast<size_t>(from)].state->front();
    const bool plain = key.chars.mode == CharReader::Mode::kPlain;
    for (uint32_t i = range.begin; i < range.end; i = trie_->nodes()[i].after) {
      const TokenTrie::Node& node = trie_->nodes()[i];
      const auto byte = static_cast<char>(node.byte);
      const bool matters = !plain || byte == '\\' || byte == '"' ||
                           std::any_of(taken.begin(), taken.end(), [&](const std::string& t) {
                             return t.size() > key.text.size() && t[key.text.size()] == byte;
                           });
      if (!matters) continue;
      const int32_t to = step(from, node.byte);
      if (to < 0) {
        clear_tokens({i, node.after}, bits);
        continue;
      }
      const Thread& next = states_[static_cast<size_t>(to)].state->front();
      if (next.kind != Thread::Kind::kOtherKey) continue;
      std::vector<std::string> left;
      std::copy_if(taken.begin(), taken.end(), std::back_inserter(left),
                   [&next](const std::string& t) { return t.starts_with(next.text); });
      if (!left.empty()) drop_taken({i + 1, node.after}, to, left, bits);
    }
  }
  void clear_tokens(NodeRange range, std::vector<uint32_t>& bits) const {
    const auto& nodes = trie_->nodes();
    for (uint32_t i = range.begin; i < range.end; ++i) {
      for (uint32_t t = nodes[i].tokens_begin; t < nodes[i].tokens_end; ++t) {
        const auto id = static_cast<uint32_t>(trie_->tokens()[t]);
        bits[id / 32] &= ~(1u << (id % 32));
      }
    }
  }
  const std::vector<uint32_t>& mask_of(int32_t id) {
    if (!states_[static_cast<size_t>(id)].mask.empty()) {
      return states_[static_cast<size_t>(id)].mask;
    }
    std::vector<uint32_t> bits;
    const StatePtr state = states_[static_cast<size_t>(id)].state;
    const Thread& first = state->front();
    const bool in_string = state->size() == 1 && first.kind == Thread::Kind::kString &&
                           first.chars.mode == CharReader::Mode::kPlain;
    if (in_string) {
      const StringMask& inside = string_mask(*first.dfa, first.b);
      bits = inside.bits;
      // All that leaves the string by a quote behind a character is in one of few states.
      for (const uint32_t exit : inside.exits) {
        first.capture ? add_captured_exit(exit, id, bits) : add_exit(exit, id, bits);
      }
    } else {
      bits.assign(trie_->words(), 0);
      add_below({0, static_cast<uint32_t>(trie_->nodes().size())}, id, bits);
    }
    for (const auto& [token, spelled] : specials_) {
      if (follow(outside_json(id), spelled) < 0) continue;
      bits[static_cast<size_t>(token) / 32] |= 1u << (token % 32);
    }
    if (machine().accepting(*state)) {
      for (const int32_t end : trie_->end_ids()) {
        bits[static_cast<size_t>(end) / 32] |= 1u << (end % 32);
      }
    }
    kept_ += bits.size() * 4;
    State& kept = states_[static_cast<size_t>(id)];
    kept.mask = std::move(bits);
    return kept.mask;
  }
  /// Closing a string leads to one state, whatever was in it.
  void add_exit(uint32_t exit, int32_t id, std::vector<uint32_t>& bits) {
    auto found = after_string_.find({epoch_, id});
    if (found == after_string_.end()) {
      MachineState closing = *states_[static_cast<size_t>(id)].state;
      Thread& t = closing.front();
      for (t.b = 0; !t.dfa->accepts(t.b);) ++t.b;
      MachineState after = machine().step(closing, '"');
      const int32_t to = after.empty() ? kDead : intern(std::move(after));
      if (after_string_.size() > kMaxStates) after_string_.clear();
      found = after_string_.emplace(std::pair(epoch_, id), to).first;
    }
    const int32_t to = found->second;
    if (to < 0) return;
    set_tokens(exit, bits);
    add_below({exit + 1, trie_->nodes()[exit].after}, to, bits);
  }
  /// In an array of unique items what a string holds decides whether it may end.
  void add_captured_exit(uint32_t exit, int32_t id, std::vector<uint32_t>& bits) {
    const TokenTrie::Node& node = trie_->nodes()[exit];
    const int32_t token = trie_->tokens()[node.tokens_begin];  // one at this node or below
    MachineState state = *states_[static_cast<size_t>(id)].state;
    for (const char byte : trie_->bytes(token).substr(0, node.depth)) {
      state = machine().step(state, static_cast<uint8_t>(byte));
      if (state.empty()) return;
    }
    set_tokens(exit, bits);
    if (node.after > exit + 1) add_below({exit + 1, node.after}, intern(std::move(state)), bits);
  }
  const StringMask& string_mask(const Dfa& dfa, int32_t at) {
    if (dfa.is_all()) return trie_->any_string();
    const auto [found, fresh] = strings_.try_emplace({&dfa, at});
    if (fresh) {
      found->second = make_string_mask(*trie_, dfa, at);
      kept_ += found->second.bits.size() * 4 + found->second.exits.size() * 4;
    }
    return found->second;
  }

  const GrammarPtr grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  std::map<int32_t, std::string> specials_;
  uint64_t epoch_ = 0;
  std::deque<State> states_;
  std::unordered_map<size_t, std::vector<int32_t>> ids_;
  std::map<std::pair<const Dfa*, int32_t>, StringMask> strings_;
  std::map<const Dfa*, StringWalker> walkers_;  // of keys
  std::map<std::pair<uint64_t, int32_t>, int32_t> after_string_;
  size_t kept_ = 0;
};

class GrammarMask final : public TokenMask, public ForcedTokens {
 public:
  GrammarMask(std::shared_ptr<Masker> masker, Masker::Place place)
      : masker_(std::move(masker)), place_(std::move(place)) {}

  bool fill(std::span<uint32_t> bits) override {
    try {
      masker_->fill(place_, bits);
    } catch (const Refusal& refusal) {
      throw std::runtime_error(refusal.error.message);  // the runtime's boundary ends the sequence
    }
    const bool any = std::any_of(bits.begin(), bits.end(), [](uint32_t w) { return w != 0; });
    if (!any) throw std::runtime_error("the vocabulary has no token for what the grammar wants");
    return true;
  }
  bool accept(int32_t id) override {
    const auto& ends = masker_->trie().end_ids();
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
      ended_ = masker_->accepting(place_);
      return ended_;
    }
    try {
      return masker_->accept(place_, id);
    } catch (const Refusal& refusal) {
      throw std::runtime_error(refusal.error.message);
    }
  }
  bool finished() const override { return ended_ || masker_->complete(place_); }
  void forced(size_t most, std::vector<int32_t>* ids) override {
    try {
      masker_->forced(place_, most, ids);
    } catch (const Refusal& refusal) {
      throw std::runtime_error(refusal.error.message);
    }
  }
  std::unique_ptr<TokenMask> clone() const override { return std::make_unique<GrammarMask>(*this); }

 private:
  std::shared_ptr<Masker> masker_;  // shared by all sequences of one grammar
  Masker::Place place_;
  bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<TokenMask>> make_token_mask(GrammarPtr grammar,
                                                   std::shared_ptr<const TokenTrie> trie) {
  RETURN_IF_ERROR(grammar->can_generate());
  try {
    auto masker = std::make_shared<Masker>(std::move(grammar), std::move(trie));
    Masker::Place place = masker->start();
    return std::unique_ptr<TokenMask>(
        std::make_unique<GrammarMask>(std::move(masker), std::move(place)));
  } catch (const Refusal& refusal) {
    return refusal.error;
  }
}

}  // namespace ramjet::text

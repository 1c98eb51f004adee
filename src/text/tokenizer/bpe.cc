#include "text/tokenizer/bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kShortSymbols = 32;  // up to here a scan beats the heap
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

std::string_view last_character(std::string_view text) {
  return text.substr(previous_character(text, text.size()));
}
std::string_view first_character(std::string_view text) {
  return text.substr(0, static_cast<size_t>(utf8_length(text[0])));
}

}  // namespace

struct BpeModel::Symbol {
  int32_t id;
  int32_t previous;
  int32_t next;  // -1: last
  bool alive;
};

struct BpeModel::Candidate {
  uint32_t rank;
  uint32_t position;
  int32_t id;
  /// Heap order: lowest rank first, leftmost among equals.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

BpeModel::BpeModel(BpeConfig config, Vocabulary vocabulary)
    : config_(std::move(config)), vocabulary_(std::move(vocabulary)) {
  if (config_.unk_token) unk_id_ = vocabulary_.find(*config_.unk_token);
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  bmp_characters_.assign(0x10000, -1);
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.empty() || token.size() > 3 || token.size() != first_character(token).size())
      continue;
    size_t pos = 0;
    // Of two strings with one id, only the vocabulary's word counts.
    bmp_characters_[next_code_point(token, pos)] = vocabulary_.find(token).value_or(-1);
  }
  can_cut_ = config_.continuing_subword_prefix.empty() && config_.end_of_word_suffix.empty();
  std::vector<ByteTrie::Entry> entries;
  for (const std::string& text : config_.user_defined) {
    if (const auto id = vocabulary_.find(text)) entries.emplace_back(text, *id);
  }
  user_defined_ = ByteTrie(std::move(entries));
}

uint32_t BpeModel::rank_of(size_t merge) const {
  return merge < config_.ranks.size() ? config_.ranks[merge] : static_cast<uint32_t>(merge);
}

Result<std::unique_ptr<Model>> BpeModel::create(BpeConfig config, Vocabulary vocabulary,
                                                const std::vector<Merge>& merges) {
  std::unique_ptr<BpeModel> model(new BpeModel(std::move(config), std::move(vocabulary)));
  model->reserve_merges(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    RETURN_IF_ERROR(model->add_merge(merges[rank], model->rank_of(rank)));
  }
  return std::unique_ptr<Model>(std::move(model));
}

Status BpeModel::add_merge(const Merge& merge, uint32_t rank) {
  const auto missing = [&](std::string_view token) {
    return invalid_argument("merge {}: token '{}' is not in the vocabulary", rank, token);
  };
  const auto [left, right] = merge;
  const std::optional<int32_t> left_id = vocabulary_.find(left);
  const std::optional<int32_t> right_id = vocabulary_.find(right);
  if (!left_id) return missing(left);
  if (!right_id) return missing(right);
  const size_t prefix = config_.continuing_subword_prefix.size();
  if (right.size() < prefix || left.empty() || right.empty()) {
    return invalid_argument("merge {}: '{}' + '{}' cannot be joined", rank, left, right);
  }
  const std::string joined = std::string(left) + std::string(right.substr(prefix));
  const std::optional<int32_t> id = vocabulary_.find(joined);
  if (!id) return missing(joined);
  merges_.set(*left_id, *right_id, {rank, *id});
  add_boundary(left, right);
  return ok_status();
}

void BpeModel::reserve_merges(size_t count) {
  merges_.reserve(count);
  boundaries_.reserve(can_cut_ ? count : 0);
}

void BpeModel::add_boundary(std::string_view left, std::string_view right) {
  if (!can_cut_) return;
  const auto id_of = [&](std::string_view character) {
    size_t pos = 0;
    return character_id(next_code_point(character, pos), character);
  };
  const int32_t a = id_of(last_character(left));
  const int32_t b = id_of(first_character(right));
  if (a >= 0 && b >= 0) boundaries_.set(a, b, {0, 0});
}

int32_t BpeModel::character_id(uint32_t code_point, std::string_view spelling) const {
  if (code_point < 0x10000) return bmp_characters_[code_point];
  return vocabulary_.find(spelling).value_or(-1);
}

bool BpeModel::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (config_.ignore_merges) {
    if (const auto id = vocabulary_.find(word)) return out.push_back(*id), true;
  }
  if (user_defined_.empty()) return encode_gap(word, out);
  size_t start = 0;
  for (size_t pos = 0; pos < word.size();) {
    const auto [length, id] = user_defined_.longest_prefix(word.substr(pos));
    if (length == 0) {
      pos += static_cast<size_t>(utf8_length(word[pos]));
      continue;
    }
    if (!encode_gap(word.substr(start, pos - start), out)) return false;
    out.push_back(id);
    start = pos += length;
  }
  return encode_gap(word.substr(start), out);
}

bool BpeModel::encode_gap(std::string_view word, std::vector<int32_t>& out) const {
  if (word.empty()) return true;
  if (!can_cut_ || word.size() <= CachedWord::kMaxBytes) return encode_cached(word, out);
  // No merge ever joins the two sides of a pair that is no boundary, so each side is on its own.
  size_t start = 0;
  int32_t previous = -1;
  for (size_t pos = 0; pos < word.size();) {
    const size_t at = pos;
    const uint32_t code_point = next_code_point(word, pos);
    const int32_t id = character_id(code_point, word.substr(at, pos - at));
    if (id >= 0 && previous >= 0 && boundaries_.find(previous, id) == nullptr) {
      if (!encode_cached(word.substr(start, at - start), out)) return false;
      start = at;
    }
    previous = id;
  }
  return encode_cached(word.substr(start), out);
}

bool BpeModel::encode_cached(std::string_view segment, std::vector<int32_t>& out) const {
  return cache_.encode(segment, out, [this](std::string_view s, std::vector<int32_t>& ids) {
    return encode_segment(s, ids);
  });
}

bool BpeModel::encode_segment(std::string_view segment, std::vector<int32_t>& out) const {
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  if (!to_symbols(segment, symbols)) return false;
  // With a prefix, joined tokens no longer spell their span, so only the heap's order is exact.
  if (symbols.size() <= kShortSymbols && config_.continuing_subword_prefix.empty()) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
  if (symbols.capacity() > size_t{1} << 20) symbols = {};
  return true;
}

bool BpeModel::to_symbols(std::string_view segment, std::vector<int32_t>& symbols) const {
  const std::string& prefix = config_.continuing_subword_prefix;
  const std::string& suffix = config_.end_of_word_suffix;
  bool pending_unk = false;  // an unknown character waits for the next known one
  for (size_t pos = 0; pos < segment.size();) {
    const size_t at = pos;
    const uint32_t code_point = next_code_point(segment, pos);
    std::string_view spelling = segment.substr(at, pos - at);
    std::string decorated;
    int32_t id;
    if ((at > 0 && !prefix.empty()) || (pos == segment.size() && !suffix.empty())) {
      if (at > 0) decorated = prefix;
      decorated += spelling;
      if (pos == segment.size()) decorated += suffix;
      spelling = decorated;
      id = vocabulary_.find(spelling).value_or(-1);
    } else {
      id = character_id(code_point, spelling);
    }
    if (id >= 0) {
      if (pending_unk) symbols.push_back(*unk_id_);
      pending_unk = false;
      symbols.push_back(id);
    } else if (!unknown(spelling, symbols, pending_unk)) {
      return false;
    }
  }
  if (pending_unk) symbols.push_back(*unk_id_);
  return true;
}

bool BpeModel::unknown(std::string_view spelling, std::vector<int32_t>& symbols,
                       bool& pending) const {
  const auto id_of = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (config_.byte_fallback &&
      std::all_of(spelling.begin(), spelling.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (const char c : spelling) symbols.push_back(id_of(c));
    return true;
  }
  if (!config_.unk_token) return true;  // without one, unknown characters vanish
  if (!unk_id_) return false;
  if (pending && !config_.fuse_unk) symbols.push_back(*unk_id_);
  pending = true;
  return true;
}

void BpeModel::merge_short(std::vector<int32_t>& symbols) const {
  uint32_t ranks[kShortSymbols];
  int32_t joined[kShortSymbols];
  size_t n = symbols.size();
  const auto look_up = [&](size_t i) {
    const PairMap::Value* merge = merges_.find(symbols[i], symbols[i + 1]);
    ranks[i] = merge ? merge->rank : kNoRank;
    joined[i] = merge ? merge->id : -1;
  };
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[best] == kNoRank) break;
    symbols[best] = joined[best];
    std::copy(symbols.begin() + static_cast<ptrdiff_t>(best) + 2,
              symbols.begin() + static_cast<ptrdiff_t>(n),
              symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    std::copy(ranks + best + 1, ranks + n - 1, ranks + best);
    std::copy(joined + best + 1, joined + n - 1, joined + best);
    --n;
    if (best > 0) look_up(best - 1);
    if (best + 1 < n) look_up(best);
  }
  symbols.resize(n);
}

void BpeModel::merge_long(std::vector<int32_t>& ids) const {
  const size_t n = ids.size();
  std::vector<Symbol> symbols(n);
  std::vector<Candidate> heap;
  const auto consider = [&](int32_t left, int32_t right) {
    const PairMap::Value* merge =
        merges_.find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (merge) heap.push_back({merge->rank, static_cast<uint32_t>(left), merge->id});
    return merge != nullptr;
  };
  for (size_t i = 0; i < n; ++i) {
    const auto at = static_cast<int32_t>(i);
    symbols[i] = {ids[i], at - 1, i + 1 < n ? at + 1 : -1, true};
  }
  for (size_t i = 0; i + 1 < n; ++i) consider(static_cast<int32_t>(i), static_cast<int32_t>(i + 1));
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[top.position];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    // The pair may have changed since; what counts is that it still makes the same token.
    const PairMap::Value* merge = merges_.find(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.alive = false;
    const auto here = static_cast<int32_t>(top.position);
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = here;
    if (left.previous >= 0 && consider(left.previous, here)) {
      std::push_heap(heap.begin(), heap.end());
    }
    if (left.next >= 0 && consider(here, left.next)) std::push_heap(heap.begin(), heap.end());
  }
  ids.clear();
  for (const Symbol& s : symbols) {
    if (s.alive) ids.push_back(s.id);
  }
}

}  // namespace ramjet::text

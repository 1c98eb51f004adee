#include "text/tokenizer/unigram.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "text/tokenizer/model_tables.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr size_t kWindowBytes = size_t{1} << 16;
constexpr size_t kMaxPieceBytes = 4096;  // bounds the walk at each character of a word

/// The best way to reach a byte of the word.
template <class Score>
struct Step {
  Score score;
  int32_t id;
  uint32_t start;
};
constexpr uint32_t kUnreached = std::numeric_limits<uint32_t>::max();

template <class Score>
std::vector<Step<Score>>& steps() {
  thread_local std::vector<Step<Score>> s;
  return s;
}

}  // namespace

UnigramModel::UnigramModel(UnigramConfig config, Vocabulary vocabulary, std::vector<double> scores)
    : config_(std::move(config)), vocabulary_(std::move(vocabulary)), scores_(std::move(scores)) {
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  const std::string& types = config_.sentencepiece_types;
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t id = 0; id < scores_.size(); ++id) {
    if (types.empty() || types[id] == kPieceNormal) lowest = std::min(lowest, scores_[id]);
  }
  if (in_sentencepiece()) {
    // Floats, and user-defined pieces at the price there: their length times the highest score,
    // for which it takes the least positive float at most, less a tenth.
    unk_score_ =
        static_cast<double>(static_cast<float>(lowest) - static_cast<float>(kUnknownPenalty));
    float highest = std::numeric_limits<float>::min();
    for (size_t id = 0; id < scores_.size(); ++id) {
      if (types[id] == kPieceNormal) highest = std::max(highest, static_cast<float>(scores_[id]));
    }
    for (size_t id = 0; id < scores_.size(); ++id) {
      if (types[id] != kPieceUserDefined) continue;
      const auto length = static_cast<float>(vocabulary_.token(static_cast<int32_t>(id)).size());
      scores_[id] = static_cast<double>(length * highest - 0.1f);
    }
  } else {
    unk_score_ = lowest - kUnknownPenalty;
  }
  trie_ = ByteTrie(entries());
}

std::vector<ByteTrie::Entry> UnigramModel::entries() const {
  std::vector<ByteTrie::Entry> out;
  out.reserve(scores_.size());
  const std::string& types = config_.sentencepiece_types;
  for (size_t i = 0; i < scores_.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view token = vocabulary_.token(id);
    if (in_sentencepiece() && types[i] != kPieceNormal && types[i] != kPieceUserDefined) continue;
    // Of equal strings the last one's id and score count.
    if (vocabulary_.find(token) == id) out.emplace_back(token, id);
  }
  return out;
}

Result<std::unique_ptr<Model>> UnigramModel::create(UnigramConfig config, Vocabulary vocabulary,
                                                    std::vector<double> scores) {
  const auto size = static_cast<size_t>(vocabulary.end_id());
  if (scores.size() != size) {
    return invalid_argument("Unigram: {} scores for {} pieces", scores.size(), size);
  }
  if (!config.sentencepiece_types.empty() && config.sentencepiece_types.size() != size) {
    return invalid_argument("Unigram: {} piece types for {} pieces",
                            config.sentencepiece_types.size(), size);
  }
  if (config.unk_id && (*config.unk_id < 0 || !vocabulary.contains(*config.unk_id))) {
    return invalid_argument("Unigram: unk_id {} is not in the vocabulary of {} pieces",
                            *config.unk_id, size);
  }
  for (size_t id = 0; id < size; ++id) {
    const std::string_view token = vocabulary.token(static_cast<int32_t>(id));
    if (!std::isfinite(scores[id]))
      return invalid_argument("Unigram: piece {} has no finite score", id);
    if (token.size() > kMaxPieceBytes) {
      return invalid_argument("Unigram: piece {} of {} bytes, the limit is {}", id, token.size(),
                              kMaxPieceBytes);
    }
  }
  return std::unique_ptr<Model>(
      new UnigramModel(std::move(config), std::move(vocabulary), std::move(scores)));
}

bool UnigramModel::save_tables(std::string& out) const {
  if (!put_vocabulary(out, vocabulary_)) return false;
  for (const double score : scores_) {
    char bytes[8];
    std::memcpy(bytes, &score, 8);
    out.append(bytes, 8);
  }
  return true;
}

Result<std::unique_ptr<Model>> UnigramModel::from_tables(UnigramConfig config,
                                                         std::string_view tables) {
  TableReader reader(tables);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, reader.vocabulary());
  const auto size = static_cast<size_t>(vocabulary.end_id());
  if (reader.left() != size * 8) {
    return corrupt("tokenizer tables: {} bytes of scores for {} pieces", reader.left(), size);
  }
  std::vector<double> scores(size);
  ASSIGN_OR_RETURN(const std::string_view bytes, reader.take(size * 8));
  if (size > 0) std::memcpy(scores.data(), bytes.data(), bytes.size());
  return create(std::move(config), std::move(vocabulary), std::move(scores));
}

bool UnigramModel::encode(std::string_view word, std::vector<int32_t>& out) const {
  // A whole text is one word there, and sums of floats depend on what went before.
  if (in_sentencepiece()) return encode_word<float>(word, out);
  return cache_.encode(word, out, [this](std::string_view w, std::vector<int32_t>& ids) {
    return encode_word<double>(w, ids);
  });
}

template <class Score>
bool UnigramModel::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  std::vector<Step<Score>>& best = steps<Score>();
  best.assign(1, {0, -1, 0});
  size_t base = 0;  // of the window that `best` covers
  const auto offer = [&](size_t end, size_t start, double score, int32_t id) {
    if (end - base >= best.size()) best.resize(end - base + 1, {0, -1, kUnreached});
    Step<Score>& step = best[end - base];
    const auto rounded = static_cast<Score>(score);
    if (step.start == kUnreached || rounded > step.score) {
      step = {rounded, id, static_cast<uint32_t>(start - base)};
    }
  };
  for (size_t start = 0; start < word.size();) {
    if (start - base >= kWindowBytes && best.size() == start - base + 1 &&
        (!config_.unk_id || best.back().id != *config_.unk_id)) {
      // No piece reaches beyond: every way leads through here.
      if (!emit<Score>(word.substr(base, start - base), out)) return false;
      best.assign(1, {best.back().score, -1, 0});
      base = start;
    }
    const auto reached = static_cast<double>(best[start - base].score);
    const size_t character = static_cast<size_t>(utf8_length(word[start]));
    bool single = false;
    uint32_t node = ByteTrie::kRoot;
    for (size_t end = start; end < word.size();) {
      node = trie_.step(node, static_cast<unsigned char>(word[end]));
      if (node == ByteTrie::kNone) break;
      ++end;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      single = single || end == start + character;
      offer(end, start, scores_[static_cast<size_t>(id)] + reached, id);
    }
    if (!single) {
      if (!config_.unk_id) return false;
      offer(start + character, start, unk_score_ + reached, *config_.unk_id);
    }
    start += character;
  }
  const bool done = emit<Score>(word.substr(base), out);
  if (best.capacity() > size_t{1} << 20) best = {};
  return done;
}

template <class Score>
bool UnigramModel::emit(std::string_view word, std::vector<int32_t>& out) const {
  const std::vector<Step<Score>>& best = steps<Score>();
  // From the end: pieces, with a run of unknown ones as one. They come out reversed, and their
  // bytes too where they become bytes.
  const size_t begin = out.size();
  for (size_t end = word.size(); end > 0;) {
    const int32_t id = best[end].id;
    size_t start = best[end].start;
    if (config_.unk_id && id == *config_.unk_id) {
      while (start > 0 && best[start].id == id) start = best[start].start;
      if (!emit_unknown(word.substr(start, end - start), out)) return false;
    } else {
      out.push_back(id);
    }
    end = start;
  }
  std::reverse(out.begin() + static_cast<ptrdiff_t>(begin), out.end());
  return true;
}

bool UnigramModel::emit_unknown(std::string_view text, std::vector<int32_t>& out) const {
  if (!in_sentencepiece()) {
    // The run may spell a piece that lost against its unknown characters.
    if (const auto id = vocabulary_.find(text)) return out.push_back(*id), true;
  }
  const auto id_of = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (config_.byte_fallback &&
      std::all_of(text.begin(), text.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (size_t i = text.size(); i-- > 0;) out.push_back(id_of(text[i]));
    return true;
  }
  out.push_back(*config_.unk_id);
  return true;
}

}  // namespace ramjet::text

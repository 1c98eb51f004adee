#include "text/tokenizer/word_models.h"

#include "text/tokenizer/model_tables.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTokenBytes = 4096;  // bounds the walk at each piece of a word

/// Whether the text has more than `limit` characters.
bool is_longer(std::string_view text, size_t limit) {
  if (text.size() <= limit) return false;
  size_t characters = 0;
  for (size_t pos = 0; pos < text.size(); ++characters) {
    if (characters > limit) return true;
    pos += static_cast<size_t>(utf8_length(text[pos]));
  }
  return characters > limit;
}

}  // namespace

WordPieceModel::WordPieceModel(WordPieceConfig config, Vocabulary vocabulary)
    : config_(std::move(config)), vocabulary_(std::move(vocabulary)) {
  unk_id_ = vocabulary_.find(config_.unk_token);
  std::vector<ByteTrie::Entry> first;
  std::vector<ByteTrie::Entry> next;
  const std::string_view prefix = config_.continuing_subword_prefix;
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.empty() || vocabulary_.find(token) != id) continue;
    first.emplace_back(token, id);
    if (token.starts_with(prefix)) next.emplace_back(token.substr(prefix.size()), id);
  }
  first_ = ByteTrie(std::move(first));
  next_ = ByteTrie(std::move(next));
}

Result<std::unique_ptr<Model>> WordPieceModel::create(WordPieceConfig config,
                                                      Vocabulary vocabulary) {
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
    if (vocabulary.token(id).size() > kMaxTokenBytes) {
      return invalid_argument("WordPiece: token {} of {} bytes, the limit is {}", id,
                              vocabulary.token(id).size(), kMaxTokenBytes);
    }
  }
  return std::unique_ptr<Model>(new WordPieceModel(std::move(config), std::move(vocabulary)));
}

bool WordPieceModel::save_tables(std::string& out) const {
  return put_vocabulary(out, vocabulary_);
}

bool WordPieceModel::unknown(std::vector<int32_t>& out) const {
  if (!unk_id_) return false;
  out.push_back(*unk_id_);
  return true;
}

bool WordPieceModel::encode(std::string_view word, std::vector<int32_t>& out) const {
  return cache_.encode(word, out, [this](std::string_view w, std::vector<int32_t>& ids) {
    return encode_word(w, ids);
  });
}

bool WordPieceModel::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  if (is_longer(word, config_.max_input_chars_per_word)) return unknown(out);
  const size_t begin = out.size();
  for (size_t at = 0; at < word.size();) {
    // Only whole characters can match: both word and tokens are valid UTF-8.
    const auto [length, id] = (at == 0 ? first_ : next_).longest_prefix(word.substr(at));
    if (length == 0) {
      out.resize(begin);
      return unknown(out);
    }
    out.push_back(id);
    at += length;
  }
  return true;
}

bool WordLevelModel::save_tables(std::string& out) const {
  return put_vocabulary(out, vocabulary_);
}

bool WordLevelModel::encode(std::string_view word, std::vector<int32_t>& out) const {
  const std::optional<int32_t> id = vocabulary_.find(word);
  if (!id && !unk_id_) return false;
  out.push_back(id ? *id : *unk_id_);
  return true;
}

}  // namespace ramjet::text

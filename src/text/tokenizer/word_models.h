// WordPiece (the longest known piece first, as BERT) and WordLevel (a word is a token or unknown).
//
// Immutable; any thread. Work for a word is linear in its length times that of the longest piece.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/model.h"
#include "text/tokenizer/trie.h"
#include "text/tokenizer/word_cache.h"

namespace ramjet::text {

struct WordPieceConfig {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  size_t max_input_chars_per_word = 100;  // longer words are unknown
};

class WordPieceModel : public Model {
 public:
  /// Errors: kInvalidArgument when a token is too long to look for.
  static Result<std::unique_ptr<Model>> create(WordPieceConfig config, Vocabulary vocabulary);
  bool save_tables(std::string& out) const override;
  bool encode(std::string_view word, std::vector<int32_t>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  WordPieceModel(WordPieceConfig config, Vocabulary vocabulary);
  bool encode_word(std::string_view word, std::vector<int32_t>& out) const;
  bool unknown(std::vector<int32_t>& out) const;

  WordPieceConfig config_;
  Vocabulary vocabulary_;
  ByteTrie first_;  // what a word may begin with
  ByteTrie next_;   // what may follow, without its prefix
  std::optional<int32_t> unk_id_;
  WordCache cache_;
};

class WordLevelModel : public Model {
 public:
  WordLevelModel(const std::string& unk_token, Vocabulary vocabulary)
      : vocabulary_(std::move(vocabulary)), unk_id_(vocabulary_.find(unk_token)) {}
  bool save_tables(std::string& out) const override;
  bool encode(std::string_view word, std::vector<int32_t>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::optional<int32_t> unk_id_;
};

}  // namespace ramjet::text

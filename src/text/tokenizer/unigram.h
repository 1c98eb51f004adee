// Unigram: the cut of a word into pieces whose scores sum highest, found by Viterbi (Kudo 2018),
// in the arithmetic of the implementation it must equal: doubles as `tokenizers`, floats and typed
// pieces as SentencePiece.
//
// Immutable; any thread (each keeps a cache of recent words). Work is linear in the length of a
// word times that of the longest piece.
#pragma once

#include <array>
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

struct UnigramConfig {
  std::optional<int32_t> unk_id;
  bool byte_fallback = false;
  /// Empty for a tokenizer.json; else what SentencePiece counts each piece as, by id.
  std::string sentencepiece_types;
};

/// SentencePiece's kinds of piece, as in its file.
enum PieceType : uint8_t {
  kPieceNormal = 1,
  kPieceUnknown = 2,
  kPieceControl = 3,
  kPieceUserDefined = 4,
  kPieceUnused = 5,
  kPieceByte = 6
};

class UnigramModel : public Model {
 public:
  /// Scores by id, finite. Errors: kInvalidArgument.
  static Result<std::unique_ptr<Model>> create(UnigramConfig config, Vocabulary vocabulary,
                                               std::vector<double> scores);
  /// From what save_tables() wrote. Errors: kCorrupt.
  static Result<std::unique_ptr<Model>> from_tables(UnigramConfig config, std::string_view tables);
  bool save_tables(std::string& out) const override;

  bool encode(std::string_view word, std::vector<int32_t>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  UnigramModel(UnigramConfig config, Vocabulary vocabulary, std::vector<double> scores);
  bool in_sentencepiece() const { return !config_.sentencepiece_types.empty(); }
  std::vector<ByteTrie::Entry> entries() const;
  template <class Score>
  bool encode_word(std::string_view word, std::vector<int32_t>& out) const;
  template <class Score>
  bool emit(std::string_view word, std::vector<int32_t>& out) const;
  bool emit_unknown(std::string_view text, std::vector<int32_t>& out) const;

  UnigramConfig config_;
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  ByteTrie trie_;
  double unk_score_ = 0;
  std::array<int32_t, 256> byte_ids_;  // of <0x00> … <0xFF>; -1: none
  WordCache cache_;
};

}  // namespace ramjet::text

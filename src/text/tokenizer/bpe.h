// Byte-pair encoding: a word starts as its characters, and the adjacent pair of lowest merge rank
// is joined until none is left (Sennrich et al. 2016), with byte fallback as SentencePiece has it.
//
// Immutable; any thread (each thread keeps a small cache of recent words). Work is O(n log n) in
// the length of a word, whatever the word.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer/model.h"
#include "text/tokenizer/pair_map.h"
#include "text/tokenizer/trie.h"
#include "text/tokenizer/word_cache.h"

namespace ramjet::text {

struct BpeConfig {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  /// By merge, ascending; equal ranks go by place in the word (SentencePiece, tiktoken). Empty:
  /// each merge's index.
  std::vector<uint32_t> ranks;
  /// SentencePiece's pieces that are cut out of a word before anything is merged.
  std::vector<std::string> user_defined;
};

class BpeModel : public Model {
 public:
  using Merge = std::pair<std::string_view, std::string_view>;
  /// Merges by rank. Errors: kInvalidArgument when a merge names a token that is not there.
  static Result<std::unique_ptr<Model>> create(BpeConfig config, Vocabulary vocabulary,
                                               const std::vector<Merge>& merges);

  /// From what save_tables() wrote. Errors: kCorrupt.
  static Result<std::unique_ptr<Model>> from_tables(BpeConfig config, std::string_view tables);
  bool save_tables(std::string& out) const override;

  bool encode(std::string_view word, std::vector<int32_t>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Symbol;
  struct Candidate;

  BpeModel(BpeConfig config, Vocabulary vocabulary);
  Status add_merge(const Merge& merge, uint32_t rank);
  void reserve_merges(size_t count);
  uint32_t rank_of(size_t merge) const;
  void add_boundary(std::string_view left, std::string_view right);
  int32_t character_id(uint32_t code_point, std::string_view spelling) const;
  bool encode_gap(std::string_view word, std::vector<int32_t>& out) const;
  bool encode_segment(std::string_view segment, std::vector<int32_t>& out) const;
  bool encode_cached(std::string_view segment, std::vector<int32_t>& out) const;
  bool to_symbols(std::string_view segment, std::vector<int32_t>& symbols) const;
  bool unknown(std::string_view spelling, std::vector<int32_t>& symbols, bool& pending) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;

  BpeConfig config_;
  Vocabulary vocabulary_;
  PairMap merges_;      // (left id, right id) → rank, joined id
  PairMap boundaries_;  // character ids that some merge joins: elsewhere a word may be cut
  bool can_cut_ = false;
  std::optional<int32_t> unk_id_;
  std::array<int32_t, 256> byte_ids_;    // of <0x00> … <0xFF>; -1: none
  std::vector<int32_t> bmp_characters_;  // id of each one-character token below U+10000
  ByteTrie user_defined_;
  WordCache cache_;
};

}  // namespace ramjet::text

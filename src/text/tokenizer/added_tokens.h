// AddedTokens: the tokens that are cut out of a text before the model sees it (BOS, <|im_start|>,
// user additions), with the library's lstrip, rstrip, single_word and normalized rules.
//
// Built once, then immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/vocabulary.h"

namespace ramjet::text {

struct AddedToken {
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool special = false;
  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  /// A stretch of text, or an added token where `id` ≥ 0.
  struct Piece {
    size_t begin;
    size_t end;
    int32_t id;
  };

  /// tokenizer.json's "added_tokens". Ids are those of the model's vocabulary where it has the
  /// token, else they follow it, as the library assigns them.
  static Result<AddedTokens> from_json(const nlohmann::json& json, const Vocabulary& model,
                                       const Normalizer* normalizer);
  AddedTokens() = default;

  /// Cuts `text` at the tokens matched against raw (or normalized) text. Special ones only if
  /// `parse_special`.
  void split(std::string_view text, bool normalized, bool parse_special,
             std::vector<Piece>& out) const;
  bool has(bool normalized) const { return !matcher(normalized).empty(); }

  const AddedToken* find(int32_t id) const;
  /// What the decoder gets for an added token: its normalized form where it matches normalized.
  std::string_view decoder_spelling(int32_t id, const AddedToken& token) const;
  std::optional<int32_t> id_of(std::string_view content) const;
  /// By content, as the library asks when it skips special tokens.
  bool is_special(std::string_view content) const;
  const std::map<int32_t, AddedToken>& by_id() const { return by_id_; }

 private:
  /// Leftmost-longest search for a set of strings: a trie walked from each possible first byte.
  class Matcher {
   public:
    void add(std::string_view pattern, int32_t id);
    bool empty() const { return nodes_.size() <= 1; }
    /// The longest match at the leftmost position from `from`; id < 0: none.
    Piece find(std::string_view text, size_t from) const;

   private:
    struct Node {
      std::vector<std::pair<unsigned char, int32_t>> next;
      int32_t id = -1;
    };
    std::vector<Node> nodes_{1};
    std::array<bool, 256> first_{};
  };

  const Matcher& matcher(bool normalized) const { return normalized ? normalized_ : raw_; }
  void add(const AddedToken& token, const Vocabulary& model);

  std::map<int32_t, AddedToken> by_id_;
  std::unordered_map<int32_t, std::string> normal_forms_;  // where they differ from the content
  int32_t highest_ = -1;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<std::string, bool> specials_;
  std::vector<std::string> order_;  // contents, special ones first, as the library matches them
  Matcher raw_;
  Matcher normalized_;
};

}  // namespace ramjet::text

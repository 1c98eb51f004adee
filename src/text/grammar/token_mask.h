// Token masks: a grammar over a tokenizer's vocabulary.
//
// TokenTrie: the vocabulary's bytes as a tree, made once a tokenizer. GrammarMasker: the states of
// one grammar over one vocabulary, numbered as they are met, with their steps and masks kept; a
// bound of memory, at which all is forgotten. Both are safe from any thread and shared by the
// masks of all sequences. A mask (ramjet::TokenMask) follows one sequence.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

/// The tokens that stay inside a JSON string, and the nodes of the tree where others close it.
struct StringMask {
  std::vector<uint32_t> bits;
  std::vector<uint32_t> exits;
};

class TokenTrie {
 public:
  /// Special tokens and those without bytes are left out: no text is made of them.
  /// `vocab_size`: ids above, of a model's padded vocabulary, are never allowed. The tokenizer must
  /// outlive the tree.
  TokenTrie(const Tokenizer& tokenizer, int32_t vocab_size, std::vector<int32_t> end_ids);

  /// A node of the tree in depth-first order.
  struct Node {
    uint8_t byte = 0;
    uint32_t depth = 0;         // bytes from the root
    uint32_t after = 0;         // the node behind its subtree
    uint32_t tokens_begin = 0;  // of the tokens that end here, in tokens()
    uint32_t tokens_end = 0;
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  const std::vector<int32_t>& end_ids() const { return end_ids_; }
  std::string_view bytes(int32_t id) const;
  /// The tokenizer's own tokens of a text in the middle of another: only those whose bytes are a
  /// beginning of it.
  std::vector<int32_t> split(std::string_view text) const;
  /// The special token that is spelled like this, if there is one that does not end a text.
  std::optional<int32_t> special(std::string_view text) const;
  /// The node that these bytes lead to; nodes().size() if there is none.
  uint32_t find(std::string_view bytes) const;
  /// Of a string that may be anything.
  const StringMask& any_string() const { return any_string_; }
  int32_t vocab_size() const { return vocab_size_; }
  size_t words() const { return (static_cast<size_t>(vocab_size_) + 31) / 32; }

 private:
  size_t longest(std::string_view text, int32_t* id) const;

  const Tokenizer& tokenizer_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> end_ids_;
  std::string pool_;
  std::vector<std::pair<uint32_t, uint32_t>> spans_;  // of each id in the pool
  int32_t vocab_size_;
  StringMask any_string_;
};

/// The mask of a sequence under `grammar`; its clones share what is computed.
/// Errors: kInvalidArgument when nothing can be generated.
Result<std::unique_ptr<TokenMask>> make_token_mask(GrammarPtr grammar,
                                                   std::shared_ptr<const TokenTrie> trie);

}  // namespace ramjet::text

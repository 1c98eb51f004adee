// Tokenizer: text to token ids and back, equal to Hugging Face `tokenizers` to the byte.
//
// Immutable after load, so every method may be called from any thread at once. Loading treats its
// input as hostile: sizes, recursion and regex work are bounded and a bad file is an Error.
// Invalid UTF-8 in a text: each maximal part of an ill-formed sequence becomes one U+FFFD before
// anything else, as Python's bytes.decode(errors="replace") does; encode() never fails for that.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

struct EncodeOptions {
  bool add_special_tokens = true;  // run the post-processor (BOS and friends)
  bool parse_special = true;       // special tokens spelled in the text become their ids
  bool limits = false;             // truncate and pad as the tokenizer.json says (limits.h)
};

/// Two texts as one sequence; type_ids tell which text an id belongs to.
struct EncodedPair {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
};

class Tokenizer {
 public:
  /// Bytes of a Hugging Face tokenizer.json. Errors: kInvalidArgument (not a tokenizer.json, or
  /// inconsistent), kUnsupported (a component or option we do not have; the message names it).
  static Result<std::unique_ptr<Tokenizer>> from_json(std::string_view tokenizer_json);
  /// A folder, or a file in any of the forms of docs/tokenizers.md: tokenizer.json, SentencePiece
  /// .model, tiktoken ranks, vocab.json (with merges.txt beside it), vocab.txt, GGUF (which may
  /// hold a vocabulary alone).
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& path);
  /// What serialized() gave.
  static Result<std::unique_ptr<Tokenizer>> from_serialized(std::string_view bytes);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Errors: kResourceExhausted when a pattern of the tokenizer exceeds the regex match limits or
  /// the text is longer than 128 MiB.
  Result<std::vector<int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Two texts, as classifiers of pairs want them.
  Result<EncodedPair> encode_pair(std::string_view first, std::string_view second,
                                  EncodeOptions options = {}) const;
  /// Equals Hugging Face's decode with clean_up_tokenization_spaces=False; always valid UTF-8.
  /// Ids out of range are skipped. (Version 0.23 fails to skip special tokens that are marked
  /// `normalized` and that the normalizer changes; we do skip them, as the versions before.)
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// The vocabulary's own spelling ("Ġthe"); empty when `id` is no token.
  std::string_view token(int32_t id) const;
  /// The raw bytes a token stands for in the middle of a text: byte-level spelling undone, `<0x0A>`
  /// one byte, "▁" a space. Special and added tokens stand for their spelling.
  std::string token_bytes(int32_t id) const;
  std::optional<int32_t> token_id(std::string_view token) const;
  /// Highest id + 1.
  int32_t vocab_size() const;
  bool is_special(int32_t id) const;
  /// Ascending.
  std::span<const int32_t> special_ids() const;

  /// Bytes to embed in an engine; from_serialized() makes the same tokenizer of them.
  std::string_view serialized() const;

  struct Impl;
  /// Internal, for the loaders beside this file.
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  const Impl& impl() const { return *impl_; }

 private:
  Status encode_text(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::text

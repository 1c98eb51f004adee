// What a Tokenizer is made of; for the files of this folder and the streaming helpers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/decoder.h"
#include "text/tokenizer/limits.h"
#include "text/tokenizer/model.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/post_processor.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {

struct Tokenizer::Impl {
  std::unique_ptr<Normalizer> normalizer;       // null: none
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // null: the whole piece is one word
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;  // null: tokens joined with spaces
  AddedTokens added;
  PostProcessor post_processor;
  Limits limits;
  DecoderTraits traits;
  std::vector<int32_t> special_ids;
  int32_t vocab_size = 0;
  std::string serialized;

  Status encode_piece(std::string_view text, bool first, bool parse_special,
                      std::vector<int32_t>& out) const;
  Status encode_words(NormalizedText piece, std::vector<int32_t>& out) const;
  /// Whether decode() shows anything of the id.
  bool is_visible(int32_t id, bool skip_special) const;
  /// Whether the id is one byte of a <0x0A> run.
  bool is_fallback_byte(int32_t id) const;
};

/// tokenizer.json text for the vocabulary of a GGUF. Errors: kNotFound for one without vocabulary;
/// kUnsupported naming a model or pre-tokenizer that is not known; kInvalidArgument naming a key.
Result<std::string> json_from_gguf(const std::string& path);

}  // namespace ramjet::text

// What a SentencePiece .model file says, and the tokenizer.json that means the same.
//
// Plain data. The file is a protobuf (sentencepiece_model.proto), read field by field as foreign
// bytes: errors name the field. Of UNUSED pieces none is made, as there; that one is never cut
// again into its parts is the one thing we leave out, for no trainer writes such pieces.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer/unigram.h"

namespace ramjet::text {

struct SentencePieceModel {
  enum Algorithm { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = kPieceNormal;
  };
  std::vector<Piece> pieces;  // by id
  Algorithm algorithm = kUnigram;
  bool byte_fallback = false;
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  // Of the normalizer.
  std::string charsmap;  // Charsmap::create()'s bytes
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
};

Result<SentencePieceModel> read_sentencepiece(std::string_view bytes);

/// `config_json`: the tokenizer_config.json beside it, or "". It decides about BOS and EOS; else
/// BPE models get their BOS as Llama's do, Unigram models without BOS their EOS as T5's do. Errors:
/// kUnsupported for word models and for classes that renumber the pieces.
Result<nlohmann::json> json_of_sentencepiece(const SentencePieceModel& model,
                                             std::string_view config_json);

}  // namespace ramjet::text

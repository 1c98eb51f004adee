// Other tokenizer files, made into the tokenizer.json that means the same: what the loader of this
// folder calls, and what the converters share.
//
// Free functions without state. Foreign bytes come in: errors name the file's place and a remedy.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet::text {

/// vocab.json + merges.txt, of the class that tokenizer_config.json names ("" where absent: GPT-2).
Result<nlohmann::json> json_from_vocab_and_merges(std::string_view vocab_json,
                                                  std::string_view merges_text,
                                                  std::string_view config_json);
/// A BERT vocab.txt: a token a line.
Result<nlohmann::json> json_from_vocab_text(std::string_view vocab_text,
                                            std::string_view config_json);
/// A tiktoken file. Its name decides where the number of ranks does not.
Result<nlohmann::json> json_from_tiktoken(std::string_view text, std::string_view file_name);

inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Words of upper, then lower case: o200k and GPT-OSS, and GGUF's "gpt-4o".
inline constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// An empty tokenizer.json with a ByteLevel decoder.
nlohmann::json json_skeleton();
nlohmann::json byte_level_json(bool use_regex);
/// A Split by `pattern`, then ByteLevel without one of its own.
nlohmann::json split_then_bytes(std::string_view pattern);
nlohmann::json special_token(std::string_view content, int64_t id);

/// A token to put before or behind a text; none where the name is empty.
struct Boundary {
  std::string name;
  int64_t id = 0;
};
/// TemplateProcessing for one text and two, or null where both are none.
nlohmann::json bos_eos_template(const Boundary& bos, const Boundary& eos);
/// [CLS] A [SEP], and [CLS] A [SEP] B [SEP].
nlohmann::json bert_template(const Boundary& cls, const Boundary& sep);

}  // namespace ramjet::text

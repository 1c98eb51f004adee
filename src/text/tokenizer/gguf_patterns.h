// The pre-tokenizers that a GGUF names under "tokenizer.ggml.pre". Pure functions over a table.
//
// A name stands for patterns that split a text one after another, as llama.cpp's converter found
// them in the models' tokenizer.json; where that file also normalizes, the table says so. Names
// whose models share a tokenizer share a row.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace ramjet::text {

struct GgufPreTokenizer {
  std::string_view names;  // between spaces
  std::array<std::string_view, 6> patterns;
  bool ignore_merges = false;  // a word that is a token stays whole
  bool add_bos = false;        // where the file does not say
  bool nfc = false;
};

/// Null for a name that is not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);
/// All known names, for messages.
std::string known_gguf_pre_tokenizers();

}  // namespace ramjet::text

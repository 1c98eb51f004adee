// Model: turns one word into token ids (tokenizer.json's "model").
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer/vocabulary.h"

namespace ramjet::text {

/// "BPE", "Unigram" …: what the "model" object says, or what its fields betray, as files of old
/// library versions carry no type.
std::string model_type(const nlohmann::json& json);

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of `word`, valid UTF-8 and not empty. False when a character is unknown and
  /// the vocabulary lacks the token that should stand for it.
  virtual bool encode(std::string_view word, std::vector<int32_t>& out) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;

  /// Appends vocabulary and the like in the form of docs/formats/tokenizer.md; false when they
  /// cannot be said so (two strings share an id).
  virtual bool save_tables(std::string& out) const = 0;

  /// May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<std::unique_ptr<Model>> from_json(const nlohmann::json& json);
  /// From the "model" object without its tables, and what save_tables() wrote.
  static Result<std::unique_ptr<Model>> from_tables(const nlohmann::json& json,
                                                    std::string_view tables);
};

}  // namespace ramjet::text

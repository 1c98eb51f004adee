// Normalizers that work by a Charsmap: tokenizer.json's Precompiled, and SentencePiece's own, which
// tokenizers made from .model files carry (type "SentencePiece", known to this project alone).
//
// Immutable; any thread. May throw nlohmann exceptions on ill-typed JSON; the loader catches.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/tokenizer/normalizer.h"

namespace ramjet::text {

/// {"precompiled_charsmap": base64}
Result<std::unique_ptr<Normalizer>> make_precompiled(const nlohmann::json& json);

/// {"precompiled_charsmap": base64, "add_dummy_prefix", "remove_extra_whitespaces",
/// "escape_whitespaces", "whitespace_as_suffix", "prefix_first_only", "user_defined": [strings that
/// stay as they are]}: sentencepiece's Normalizer::Normalize, rule by rule.
Result<std::unique_ptr<Normalizer>> make_sentencepiece_normalizer(const nlohmann::json& json);

}  // namespace ramjet::text

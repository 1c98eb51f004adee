// Normalizers: rewrite a text before it is cut into words (tokenizer.json's "normalizer").
//
// Immutable; any thread. Texts are valid UTF-8 before and after.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace ramjet::text {

/// A piece of the input on its way to the model.
struct NormalizedText {
  std::string text;
  /// Leading bytes of `text` that stem from the first character of the whole input: Metaspace's
  /// prepend_scheme "first" asks for it.
  size_t origin_bytes = 0;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual Status normalize(NormalizedText& piece) const = 0;

  /// Null for JSON null. May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<std::unique_ptr<Normalizer>> from_json(const nlohmann::json& json);
};

}  // namespace ramjet::text

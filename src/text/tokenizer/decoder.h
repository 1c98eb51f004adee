// Decoders: token spellings back to text (tokenizer.json's "decoder").
//
// Immutable; any thread. Each decoder of a chain rewrites the list of tokens; the text is what
// they join to.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

/// What others must know of a decoder chain to treat single tokens.
struct DecoderTraits {
  bool byte_level = false;     // spellings are in the byte-level alphabet
  bool byte_fallback = false;  // <0x0A> is a byte
  std::string metaspace;       // the spelling of a space, "" when it is a space
  size_t strip_start = 0;      // characters that Strip takes from the start
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void decode(std::vector<std::string>& tokens) const = 0;
  virtual void describe(DecoderTraits& traits) const {}

  /// Null for JSON null. May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<std::unique_ptr<Decoder>> from_json(const nlohmann::json& json);
};

/// The byte a spelling like "<0x0A>" stands for, or -1.
int fallback_byte(std::string_view token);

}  // namespace ramjet::text

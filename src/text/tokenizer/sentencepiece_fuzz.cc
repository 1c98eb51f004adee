// A SentencePiece .model: read, made into a tokenizer, and used both ways.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace text = ramjet::text;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto model = text::read_sentencepiece(bytes);
  // Lines of ranks share the loader: the other half of the inputs are such.
  const auto json = model.ok() ? text::json_of_sentencepiece(*model, "")
                               : text::json_from_tiktoken(bytes, "cl100k");
  if (!json.ok()) return 0;
  const auto tokenizer = text::Tokenizer::from_json(ramjet::dump_json(*json));
  if (!tokenizer.ok()) return 0;
  if (!text::Tokenizer::from_serialized((*tokenizer)->serialized()).ok()) std::abort();
  for (const std::string_view text :
       {std::string_view(
            "  the engine's \xef\xac\x81ne e\xcc\x81 \xe3\x80\x80 12\n\t\xf0\x9f\x98\x80 <s> "),
        bytes.substr(0, 512)}) {
    const auto ids = (*tokenizer)->encode(text, {.parse_special = false});
    if (ids.ok()) (void)(*tokenizer)->decode(*ids, false);
  }
  return 0;
}

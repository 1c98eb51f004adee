// A SentencePiece .model or lines of tiktoken ranks: read, made into a tokenizer, and used both
// ways. Of ranks the first line is the file's name, and the 256 bytes' own come before the rest.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/tokenizer.h"

namespace {

namespace text = ramjet::text;

void use(const ramjet::Json& json, std::string_view bytes) {
  const auto tokenizer = text::Tokenizer::from_json(ramjet::dump_json(json));
  if (!tokenizer.ok()) return;
  if (!text::Tokenizer::from_serialized((*tokenizer)->serialized()).ok()) std::abort();
  for (const std::string_view text :
       {std::string_view(
            "  the engine's \xef\xac\x81ne e\xcc\x81 \xe3\x80\x80 12\r\n\t\xf0\x9f\x98\x80 <s> "),
        bytes.substr(0, 512)}) {
    const auto ids = (*tokenizer)->encode(text, {.parse_special = false});
    if (ids.ok()) (void)(*tokenizer)->decode(*ids, false);
  }
}

void use_ranks(std::string_view bytes) {
  std::string file;
  for (int byte = 0; byte < 256; ++byte) {
    file += text::encode_base64(std::string(1, static_cast<char>(byte))) + " " +
            std::to_string(byte) + "\n";
  }
  const size_t line = bytes.find('\n');
  if (line == bytes.npos) return;
  file += bytes.substr(line + 1);
  (void)text::json_from_tiktoken(bytes, "cl100k");
  const auto json = text::json_from_tiktoken(file, bytes.substr(0, line));
  if (json.ok()) use(*json, bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto model = text::read_sentencepiece(bytes);
  if (!model.ok()) {
    use_ranks(bytes);
    return 0;
  }
  auto json = text::json_of_sentencepiece(*model, "");
  if (!json.ok()) return 0;
  use(*json, bytes);
  // The rules as Hugging Face's tokenizers apply them.
  (*json)["normalizer"] = {{"type", "Precompiled"},
                           {"precompiled_charsmap", text::encode_base64(model->charsmap)}};
  use(*json, bytes);
  return 0;
}

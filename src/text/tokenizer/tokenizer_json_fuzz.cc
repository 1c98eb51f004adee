// The first bytes up to a NUL are a tokenizer.json, the rest a text to encode and decode. An input
// with the magic of a serialized tokenizer is read as one, its checksum put right.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "text/stream/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ramjet::text::IncrementalDetokenizer;
  using ramjet::text::Tokenizer;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("RJTOK") && size >= 20) {
    std::string serialized(input);
    const uint64_t checksum = ramjet::hash64(input.substr(16));
    std::memcpy(serialized.data() + 8, &checksum, 8);
    const auto tokenizer = Tokenizer::from_serialized(serialized);
    if (tokenizer.ok()) (void)(*tokenizer)->encode("abc \xe4\xbd\xa0 <s> 12");
    return 0;
  }
  const size_t cut = std::min(input.find('\0'), size);
  const auto tokenizer = Tokenizer::from_json(input.substr(0, cut));
  if (!tokenizer.ok()) return 0;
  if (!Tokenizer::from_serialized((*tokenizer)->serialized()).ok()) std::abort();
  std::string_view text = input.substr(std::min(cut + 1, size));
  if (text.empty())
    text = "The engine's 12 parts\n\t  \xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80 \xff<s>";
  for (const bool special : {true, false}) {
    const auto ids = (*tokenizer)->encode(text, {special, special});
    if (!ids.ok()) continue;
    const std::string whole = (*tokenizer)->decode(*ids, special);
    IncrementalDetokenizer detokenizer(**tokenizer, special);
    std::string joined;
    for (const int32_t id : *ids) {
      joined += detokenizer.push(id);
      (void)(*tokenizer)->token_bytes(id);
    }
    joined += detokenizer.flush();
    // A chain of decoders may be made to see across tokens (see the detokenizer's header).
    const bool local = (*tokenizer)->serialized().find("decoders") == std::string_view::npos;
    if (local && joined != whole) std::abort();
  }
  const size_t half = text.size() / 2;
  const auto pair =
      (*tokenizer)->encode_pair(text.substr(0, half), text.substr(half), {.limits = true});
  if (pair.ok() && pair->ids.size() != pair->type_ids.size()) std::abort();
  (void)(*tokenizer)->encode(text, {.limits = true});
  return 0;
}

// Hostile schemas, patterns and grammars: any bytes compile, or fail with a typed error in bounded
// time; what compiles follows any text. Input: the kind (one byte), the text, "\n---\n", a text to
// follow.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/grammar/grammar.h"

namespace {

constexpr std::string_view kSeparator = "\n---\n";

std::string spec_of(char kind, std::string_view text) {
  namespace spec = ramjet::text::spec;
  switch (kind) {
    case 'r': return spec::regex(text);
    case 'e': return spec::ebnf(text);
    case 's': return spec::json_schema(text);
    default: return std::string(text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty()) return 0;
  const size_t cut = input.find(kSeparator);
  const auto grammar = ramjet::text::compile_grammar(
      spec_of(input[0], input.substr(1, cut == input.npos ? cut : cut - 1)));
  if (!grammar.ok()) {
    CHECK(grammar.error().code != ramjet::ErrorCode::kInternal, grammar.error().message);
    return 0;
  }
  if (cut == input.npos) return 0;
  const std::string_view text = input.substr(cut + kSeparator.size());
  const auto accepted = (*grammar)->accepts(text);
  const auto generated = (*grammar)->generates(text);
  for (const auto* answer : {&accepted, &generated}) {
    CHECK(answer->ok() || answer->error().code != ramjet::ErrorCode::kInternal, "it must not fail");
  }
  // What a model is led to is a part of what is accepted.
  CHECK(!generated.ok() || !*generated || !accepted.ok() || *accepted, "written but not accepted");
  return 0;
}

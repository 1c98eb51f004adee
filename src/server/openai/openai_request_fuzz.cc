// Bodies of completions, chat and tokenize requests: parsing must end in a value or an ApiError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ramjet::server::ChatRequest, ramjet::server::CompletionRequest;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  ramjet::OrderedJson json;
  if (ramjet::server::parse_body(body, json)) return 0;
  const ramjet::server::ModelFacts facts{.vocab_size = 1000, .max_model_len = 4096};
  CompletionRequest completion;
  if (auto error = ramjet::server::parse_completion(json, facts, completion))
    (void)ramjet::server::error_response(*error);
  ChatRequest chat;
  if (auto error = ramjet::server::parse_chat(json, facts, chat))
    (void)ramjet::server::error_response(*error);
  return 0;
}

// Bodies of requests, as any of the routes may get them: parsing must end in a value or an
// ApiError, and what one API's body becomes in another's must be one that the other understands.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "server/anthropic/messages.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"
#include "server/responses/responses.h"

namespace {

using ramjet::OrderedJson;
using ramjet::server::ApiError, ramjet::server::ChatRequest, ramjet::server::CompletionRequest;

const ramjet::server::ModelFacts kFacts{.vocab_size = 1000, .max_model_len = 4096};

void check(const ApiError& error) {
  CHECK((error.status / 100 == 4 || error.status == 501) && !error.message.empty(), error.message);
  (void)ramjet::server::error_response(error);
}

void parse_as_chat(const OrderedJson& body) {
  ChatRequest chat;
  if (auto error = ramjet::server::parse_chat(body, kFacts, chat)) return check(*error);
  CHECK(chat.prompt.messages != nullptr && chat.prompt.messages->is_array());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  OrderedJson body;
  if (auto error = ramjet::server::parse_body({reinterpret_cast<const char*>(data), size}, body)) {
    check(*error);
    return 0;
  }
  CompletionRequest completion;
  if (auto error = ramjet::server::parse_completion(body, kFacts, completion)) {
    check(*error);
  } else {
    CHECK(!completion.prompts.empty() && completion.best_of >= completion.common.n);
  }
  parse_as_chat(body);
  OrderedJson chat;
  if (auto error = ramjet::server::to_chat_body(body, true, chat)) {
    check(*error);
  } else {
    parse_as_chat(chat);
  }
  const OrderedJson earlier = OrderedJson::array({{{"role", "user"}, {"content", "before"}}});
  OrderedJson responses_chat, messages;
  if (auto error = ramjet::server::responses_to_chat(body, earlier, responses_chat, messages)) {
    check(*error);
  } else {
    parse_as_chat(responses_chat);
  }
  return 0;
}

#include <utility>

#include "base/json.h"
#include "server/anthropic/messages.h"
#include "server/app_state.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/reply.h"

namespace ramjet::server {
namespace {

/// The request as a chat, and what the executor takes for it.
std::optional<ApiError> prepare(const ModelHost& host, const std::string& body, bool needs_limit,
                                ChatRequest& request, GenerationSpec& spec) {
  OrderedJson json;
  OrderedJson chat = OrderedJson::object();
  if (auto error = parse_body(body, json)) return error;
  if (auto error = to_chat_body(json, needs_limit, chat)) return error;
  if (auto error = parse_chat(chat, facts_of(host), request)) return error;
  return prepare_chat(host, request, spec);
}

void messages(AppState& state, RequestContext context) {
  if (refuse_generation(state, context)) return;
  ChatRequest request;
  GenerationSpec spec;
  if (auto error = prepare(*state.host, context.request().body, true, request, spec)) {
    return reply(state, context, messages_error(*error));
  }
  const std::string id = answer_id("msg_", context, request.common);
  auto format = make_messages_format(answer_head(*state.host, id, request.common.model));
  const bool stream = request.common.stream.stream;
  start_generation(state, std::move(context), std::move(spec), {id, stream, std::move(format)});
}

void count_tokens(AppState& state, const RequestContext& context) {
  ChatRequest request;
  GenerationSpec spec;
  if (auto error = prepare(*state.host, context.request().body, false, request, spec)) {
    return reply(state, context, messages_error(*error));
  }
  OrderedJson json;
  json["input_tokens"] = spec.prompts[0].size();
  reply(state, context, {.body = dump(json)});
}

}  // namespace

void add_messages_routes(Router& router, AppState& state) {
  router.add(
      {.method = "POST",
       .pattern = "/v1/messages",
       .heavy = true,
       .handler = [&state](RequestContext context) { messages(state, std::move(context)); }});
  router.add({.method = "POST",
              .pattern = "/v1/messages/count_tokens",
              .heavy = true,
              .handler = [&state](RequestContext context) { count_tokens(state, context); }});
}

}  // namespace ramjet::server

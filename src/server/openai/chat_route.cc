#include <utility>

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/output_plan.h"
#include "server/openai/prepare.h"
#include "server/openai/reply.h"
#include "server/openai/tool_grammar.h"

namespace ramjet::server {

std::optional<ApiError> prepare_chat(const ModelHost& host, ChatRequest& request,
                                     GenerationSpec& spec) {
  const GenerationRequest& common = request.common;
  if (auto error = check_model(host, common.model)) return error;
  std::string text;
  if (auto error = render(host, request.prompt, text)) return error;
  spec.plan = plan_output(host, request, text);
  if (spec.plan != nullptr) {
    if (auto error = hold_strict_calls(*spec.plan->setup, request)) return error;
  }
  std::vector<int32_t> ids;
  if (auto error = tokenize(host, text, common.text.add_special_tokens, ids)) return error;
  if (auto error = finish_prompt(host, common.text, ids)) return error;
  if (auto error = make_request(host, common, ids.size(), spec.request)) return error;
  spec.prompts.push_back(std::move(ids));
  if (auto error = check_logprobs(host, common, spec.request, spec.prompts)) return error;
  spec.text_offsets.push_back(0);
  spec.text = common.text;
  return std::nullopt;
}

namespace {

/// Everything up to the executor.
std::optional<ApiError> prepare(const ModelHost& host, const std::string& body,
                                ChatRequest& request, GenerationSpec& spec) {
  OrderedJson json;
  if (auto error = parse_body(body, json)) return error;
  if (auto error = parse_chat(json, facts_of(host), request)) return error;
  return prepare_chat(host, request, spec);
}

void chat(AppState& state, RequestContext context) {
  if (refuse_generation(state, context)) return;
  auto request = std::make_shared<ChatRequest>();  // with the format
  GenerationSpec spec;
  if (auto error = prepare(*state.host, context.request().body, *request, spec)) {
    return reply_error(state, context, *error);
  }
  const std::string id = answer_id("chatcmpl-", context, request->common);
  auto format = make_chat_format(answer_head(*state.host, id, request->common.model), request,
                                 spec.prompts[0], state.host->tokenizer());
  const bool stream = request->common.stream.stream;
  start_generation(state, std::move(context), std::move(spec), {id, stream, std::move(format)});
}

}  // namespace

void add_chat_routes(Router& router, AppState& state) {
  router.add({.method = "POST",
              .pattern = "/v1/chat/completions",
              .heavy = true,
              .handler = [&state](RequestContext context) { chat(state, std::move(context)); }});
}

}  // namespace ramjet::server

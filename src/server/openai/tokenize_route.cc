#include <utility>

#include "base/json.h"
#include "server/app_state.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

struct TokenizeRequest {
  std::string model;
  std::optional<ChatPrompt> chat;
  std::string prompt;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

std::optional<ApiError> parse_tokenize(const OrderedJson& json, TokenizeRequest& out) {
  Fields fields(json);
  fields.read("model", out.model);
  if (fields.has("messages")) {
    out.chat.emplace();
    out.add_special_tokens = false;  // the template writes them
    parse_chat_prompt(fields, *out.chat);
  } else {
    if (!fields.has("prompt")) fields.fail("prompt", "'prompt' or 'messages' is required");
    fields.read("prompt", out.prompt);
  }
  fields.read("add_special_tokens", out.add_special_tokens);
  fields.read("return_token_strs", out.return_token_strs);
  return fields.take_error();
}

std::optional<ApiError> tokenize_request(const ModelHost& host, const std::string& body,
                                         TokenizeRequest& request, std::vector<int32_t>& ids) {
  OrderedJson json;
  if (auto error = parse_body(body, json)) return error;
  if (auto error = parse_tokenize(json, request)) return error;
  if (auto error = check_model(host, request.model)) return error;
  if (request.chat) {
    if (auto error = render(host, *request.chat, request.prompt)) return error;
  }
  return tokenize(host, request.prompt, request.add_special_tokens, ids);
}

void tokenize_route(AppState& state, const RequestContext& context) {
  const ModelHost& host = *state.host;
  TokenizeRequest request;
  std::vector<int32_t> ids;
  if (auto error = tokenize_request(host, context.request().body, request, ids)) {
    return reply_error(state, context, *error);
  }
  OrderedJson strings = nullptr;
  if (request.return_token_strs) {
    strings = OrderedJson::array();
    for (int32_t id : ids) strings.push_back(std::string(host.tokenizer().token(id)));
  }
  reply(state, context,
        {.body = dump({{"count", ids.size()},
                       {"max_model_len", host.max_model_len()},
                       {"tokens", ids},
                       {"token_strs", std::move(strings)}})});
}

std::optional<ApiError> detokenize(const ModelHost& host, const std::string& body,
                                   std::string& text) {
  OrderedJson json;
  if (auto error = parse_body(body, json)) return error;
  Fields fields(json);
  std::string model;
  std::vector<int32_t> ids;
  fields.read("model", model);
  if (!fields.has("tokens") && fields.ok()) fields.fail("tokens", "'tokens' is required");
  fields.read_ids("tokens", ids, host.vocab_size());
  if (auto error = fields.take_error()) return error;
  if (auto error = check_model(host, model)) return error;
  text = host.tokenizer().decode(ids, false);
  return std::nullopt;
}

void detokenize_route(AppState& state, const RequestContext& context) {
  std::string text;
  if (auto error = detokenize(*state.host, context.request().body, text)) {
    return reply_error(state, context, *error);
  }
  OrderedJson json;
  json["prompt"] = std::move(text);
  reply(state, context, {.body = dump(json)});
}

}  // namespace

void add_tokenize_routes(Router& router, AppState& state) {
  router.add({.method = "POST",
              .pattern = "/tokenize",
              .heavy = true,
              .handler = [&state](RequestContext context) { tokenize_route(state, context); }});
  router.add({.method = "POST",
              .pattern = "/detokenize",
              .heavy = true,
              .handler = [&state](RequestContext context) { detokenize_route(state, context); }});
}

}  // namespace ramjet::server

#include <utility>

#include "base/json.h"
#include "server/app_state.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/reply.h"
#include "server/responses/responses.h"

namespace ramjet::server {
namespace {

using StorePtr = std::shared_ptr<ResponseStore>;  // of the routes and of the answers under way

ApiError no_such_response(std::string_view id) {
  ApiError error = error_of_status(
      404, fmt::format("no response '{}' is stored (the last {} are, while memory lasts)",
                       id.substr(0, 100), ResponseStore::kMaxResponses));
  error.param = "response_id";
  return error;
}

/// The messages before this response's input.
std::optional<ApiError> read_earlier(const OrderedJson& body, const ResponseStore& store,
                                     OrderedJson& earlier) {
  earlier = OrderedJson::array();
  const auto previous = body.find("previous_response_id");
  if (previous == body.end() || previous->is_null()) return std::nullopt;
  if (!previous->is_string()) {
    return bad_request("previous_response_id", "'previous_response_id' must be a string");
  }
  const auto stored = store.find(previous->get<std::string>());
  if (!stored) {
    ApiError error = no_such_response(previous->get<std::string>());
    error.param = "previous_response_id";
    return error;
  }
  auto messages = parse_ordered_json(stored->messages);
  if (messages.ok()) earlier = std::move(messages).value();
  return std::nullopt;
}

std::optional<ApiError> prepare(const ModelHost& host, const StorePtr& store, ChatRequest& request,
                                GenerationSpec& spec, ResponseFacts& facts) {
  OrderedJson json;
  OrderedJson earlier;
  OrderedJson messages;
  OrderedJson chat = OrderedJson::object();
  if (auto error = parse_body(facts.body, json)) return error;
  if (auto error = read_earlier(json, *store, earlier)) return error;
  if (auto error = responses_to_chat(json, earlier, chat, messages)) return error;
  if (auto error = parse_chat(chat, facts_of(host), request)) return error;
  facts.messages = dump(messages);
  const auto keep = json.find("store");
  if (keep == json.end() || *keep != false) facts.store = store;
  return prepare_chat(host, request, spec);
}

void create(AppState& state, const StorePtr& store, RequestContext context) {
  if (refuse_generation(state, context)) return;
  ChatRequest request;
  GenerationSpec spec;
  ResponseFacts facts;
  facts.body = context.request().body;
  if (auto error = prepare(*state.host, store, request, spec, facts)) {
    return reply_error(state, context, *error);
  }
  const std::string id = answer_id("resp_", context, request.common);
  auto format =
      make_responses_format(answer_head(*state.host, id, request.common.model), std::move(facts));
  const bool stream = request.common.stream.stream;
  start_generation(state, std::move(context), std::move(spec), {id, stream, std::move(format)});
}

void show(AppState& state, const StorePtr& store, const RequestContext& context) {
  const auto stored = store->find(context.rest);
  if (!stored) return reply_error(state, context, no_such_response(context.rest));
  reply(state, context, {.body = stored->json});
}

void erase(AppState& state, const StorePtr& store, const RequestContext& context) {
  if (!store->erase(context.rest)) {
    return reply_error(state, context, no_such_response(context.rest));
  }
  reply(state, context,
        {.body = dump({{"id", context.rest}, {"object", "response"}, {"deleted", true}})});
}

/// Only what runs in the background can be cancelled, and nothing does: a client that goes away
/// cancels its response.
void cancel(AppState& state, const StorePtr& store, const RequestContext& context) {
  constexpr std::string_view kEnd = "/cancel";
  const std::string_view rest = context.rest;
  const std::string id(rest.substr(0, rest.size() - std::min(rest.size(), kEnd.size())));
  if (!rest.ends_with(kEnd) || !store->find(id)) {
    return reply_error(state, context, no_such_response(rest));
  }
  reply_error(state, context,
              bad_request("response_id", "only responses made with 'background' can be cancelled"));
}

}  // namespace

void add_responses_routes(Router& router, AppState& state) {
  auto store = std::make_shared<ResponseStore>();
  const auto add = [&](const char* method, const char* pattern, bool heavy, auto handler) {
    router.add({.method = method,
                .pattern = pattern,
                .heavy = heavy,
                .handler = [&state, store, handler](RequestContext context) {
                  handler(state, store, std::move(context));
                }});
  };
  add("POST", "/v1/responses", true, create);
  add("GET", "/v1/responses/{rest}", false, show);
  add("DELETE", "/v1/responses/{rest}", false, erase);
  add("POST", "/v1/responses/{rest}", false, cancel);
}

}  // namespace ramjet::server

#include <utility>

#include "base/json.h"
#include "server/app_state.h"

namespace ramjet::server {
namespace {

OrderedJson model_json(const ModelHost& host, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", host.created()},
          {"owned_by", "ramjet"},
          {"root", host.name()},
          {"parent", nullptr},
          {"max_model_len", host.max_model_len()}};
}

void list_models(AppState& state, const RequestContext& context) {
  OrderedJson data = OrderedJson::array();
  for (const AppState* each : state.all) {
    for (const std::string& name : each->host->names()) {
      data.push_back(model_json(*each->host, name));
    }
  }
  OrderedJson json;
  json["object"] = "list";
  json["data"] = std::move(data);
  reply(state, context, {.body = json.dump()});
}

void show_model(AppState& state, const RequestContext& context) {
  if (!state.host->has_name(context.rest)) {
    return reply_error(state, context, model_not_found(context.rest));
  }
  reply(state, context, {.body = model_json(*state.host, context.rest).dump()});
}

}  // namespace

void add_models_routes(Router& router, AppState& state) {
  router.add({.method = "GET",
              .pattern = "/v1/models",
              .handler = [&state](RequestContext context) { list_models(state, context); }});
  router.add({.method = "GET",
              .pattern = "/v1/models/{rest}",
              .handler = [&state](RequestContext context) { show_model(state, context); }});
}

}  // namespace ramjet::server

#include <string_view>
#include <utility>

#include "server/app_state.h"
#include "server/page/page_files.h"

namespace ramjet::server {
namespace {

std::string_view content_type(std::string_view name) {
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  return "text/html; charset=utf-8";
}

void page(AppState& state, const RequestContext& context, std::string_view name) {
  for (const PageFile& file : page_files()) {
    if (file.name != name) continue;
    HttpResponse response;
    response.content_type = content_type(name);
    response.headers = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src "
         "data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cache-Control", "no-cache"}};
    response.body = file.text;
    return reply(state, context, std::move(response));
  }
  reply_error(state, context, error_of_status(404, "the page has no such file"));
}

}  // namespace

void add_page_routes(Router& router, AppState& state) {
  const auto add = [&](const char* pattern, auto name_of) {
    router.add({.method = "GET",
                .pattern = pattern,
                .needs_key = false,
                .handler = [&state, name_of](RequestContext c) { page(state, c, name_of(c)); }});
  };
  add("/", [](const RequestContext&) { return std::string_view("index.html"); });
  add("/page/{rest}", [](const RequestContext& c) { return std::string_view(c.rest); });
  router.add({.method = "GET",
              .pattern = "/openapi.json",
              .needs_key = false,
              .handler = [&state](RequestContext c) {
                reply(state, c, {.body = openapi_files()[0].text});
              }});
}

}  // namespace ramjet::server

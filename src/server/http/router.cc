#include "server/http/router.h"

#include <utility>

namespace ramjet::server {
namespace {

bool matches(std::string_view pattern, std::string_view path, std::string& rest) {
  constexpr std::string_view kRest = "{rest}";
  rest.clear();
  if (!pattern.ends_with(kRest)) return pattern == path;
  pattern.remove_suffix(kRest.size());
  if (!path.starts_with(pattern) || path.size() == pattern.size()) return false;
  rest = path.substr(pattern.size());
  return true;
}

}  // namespace

void Router::add(Route route) { routes_.push_back(std::move(route)); }

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  std::string rest;
  for (const Route& route : routes_) {
    if (!matches(route.pattern, path, rest)) continue;
    match.path_known = true;
    match.rest = rest;
    match.allow += route.method + (route.method == "GET" ? ", HEAD, " : ", ");
    if (route.method == method || (method == "HEAD" && route.method == "GET")) {
      match.route = &route;
    }
  }
  match.allow += "OPTIONS";
  return match;
}

}  // namespace ramjet::server

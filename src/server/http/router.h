// Router: method and path to handler. A table, filled at start and then only read, so that lookup
// is thread-safe.
//
// A pattern is a path whose last segment may be "{rest}": it matches the remainder, slashes
// included (model names have them), which must not be empty.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/exchange.h"

namespace ramjet::server {

class KeyTicket;

/// A request as its handler gets it.
struct RequestContext {
  std::shared_ptr<Exchange> exchange;  // shared with the connection
  std::string rest;                    // what {rest} matched
  std::string request_id;              // the client's X-Request-Id, or made up
  bool client_chose_id = false;
  double start_s = 0;                 // when the request was complete, by the steady clock
  std::shared_ptr<KeyTicket> ticket;  // of work that counts against its key; else null

  const HttpRequest& request() const { return exchange->request(); }
};

using RouteHandler = std::function<void(RequestContext)>;

struct Route {
  std::string method;
  std::string pattern;
  bool needs_key = true;
  bool slow = false;   // may wait for long: on a thread of its own kind
  bool heavy = false;  // parses, renders or tokenizes: runs beside the light routes, not before
  RouteHandler handler;
};

class Router {
 public:
  void add(Route route);

  struct Match {
    const Route* route = nullptr;  // null: see path_known
    bool path_known = false;       // the path exists under other methods
    std::string rest;
    std::string allow;  // the path's methods, "GET, HEAD, OPTIONS"
  };
  /// HEAD finds a GET route.
  Match find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace ramjet::server

// Plain HTTP messages as handlers see them: no socket, no Beast type.
//
// Values; share like any value. Header names are kept in lower case.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ramjet::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// The first value of `name` (lower case); empty if there is none.
std::string_view find_header(const Headers& headers, std::string_view name);

struct HttpRequest {
  std::string method;  // as sent, e.g. "POST"
  std::string path;    // percent-decoded, without the query
  std::string query;   // as sent, without the '?'
  Headers headers;
  std::string body;
  int version = 11;  // 10 or 11

  std::string_view header(std::string_view name) const { return find_header(headers, name); }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers;
  std::string body;
};

/// "OK", "Not Found", ...; empty for a status without a name.
std::string_view status_text(int status);

/// Decodes %XX. False for a malformed escape or a NUL.
bool percent_decode(std::string_view text, std::string& out);

/// True if all of `text` is valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool is_valid_utf8(std::string_view text);

/// ASCII lower case.
std::string lower_case(std::string_view text);

}  // namespace ramjet::server

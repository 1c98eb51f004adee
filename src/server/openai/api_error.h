// ApiError: a failure as OpenAI clients expect it, and the mapping from Ramjet's own errors.
//
// Values. Messages never hold paths or addresses: what is internal is logged, and the client gets
// the request's id to find it by.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/message.h"

namespace ramjet::server {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // empty: null
  std::string code;   // empty: null
};

ApiError bad_request(std::string param, std::string message, std::string code = {});
/// 501 for a field that this version does not have.
ApiError not_supported(std::string param, std::string message);
ApiError model_not_found(std::string_view model);
/// The error's message goes to the client unless the failure is internal; then it is logged.
ApiError from_error(const Error& error, std::string_view request_id);
/// As above with the type that belongs to `status`.
ApiError error_of_status(int status, std::string message);

/// {"error":{"message","type","param","code"}}
std::string error_json(const ApiError& error);
/// With Retry-After where it belongs.
HttpResponse error_response(const ApiError& error);

}  // namespace ramjet::server

#include "server/openai/api_error.h"

#include <utility>

#include "base/json.h"
#include "base/log.h"

namespace ramjet::server {
namespace {

std::string_view type_of_status(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 500: return "server_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default: return "invalid_request_error";
  }
}

int status_of_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 400;
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kUnsupported: return 501;
    case ErrorCode::kResourceExhausted: return 429;
    case ErrorCode::kDeadlineExceeded:
    case ErrorCode::kCancelled:  // not by the client: it would not read this
    case ErrorCode::kUnavailable: return 503;
    default: return 500;
  }
}

OrderedJson text_or_null(const std::string& text) {
  return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
}

}  // namespace

ApiError error_of_status(int status, std::string message) {
  return {status, std::move(message), std::string(type_of_status(status)), {}, {}};
}

ApiError bad_request(std::string param, std::string message, std::string code) {
  ApiError error = error_of_status(400, std::move(message));
  error.param = std::move(param);
  error.code = std::move(code);
  return error;
}

ApiError not_supported(std::string param, std::string message) {
  ApiError error = error_of_status(501, std::move(message));
  error.param = std::move(param);
  return error;
}

ApiError model_not_found(std::string_view model) {
  // A name from outside goes back cut short.
  ApiError error = error_of_status(
      404, fmt::format("the model '{}' does not exist here; GET /v1/models lists those that do",
                       model.substr(0, 200)));
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

ApiError from_error(const Error& error, std::string_view request_id) {
  const int status = status_of_code(error.code);
  if (status != 500) return error_of_status(status, error.message);
  log_error("{}: {}: {}", request_id, error_code_name(error.code), error.message);
  return error_of_status(
      500, fmt::format("the server failed to finish this request; its log has more under {}",
                       request_id));
}

std::string error_json(const ApiError& error) {
  OrderedJson inner = {{"message", error.message},
                       {"type", error.type},
                       {"param", text_or_null(error.param)},
                       {"code", text_or_null(error.code)}};
  OrderedJson json;
  json["error"] = std::move(inner);
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{.status = error.status, .body = error_json(error)};
  if (error.status == 429 || error.status == 503) response.headers.emplace_back("Retry-After", "1");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace ramjet::server

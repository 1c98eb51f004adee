// How the routes of an encoder make inputs of texts, run them and answer.
//
// Functions for heavy workers. The reply keeps itself alive until the queue's last word.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/app_state.h"
#include "server/openai/api_error.h"
#include "server/openai/request.h"

namespace ramjet::server {

class Fields;

/// What all requests to an encoder may say.
struct EncodeCommon {
  std::string model;
  std::string request_id;
  bool add_special_tokens = true;
  int truncate = 0;  // tokens an input is cut to at its end, special ones kept; 0: refused instead
};
void parse_encode_common(Fields& fields, const ModelHost& host, EncodeCommon& out);

/// Ids of a prompt (its own, or of its text) as an input; an error that names the field `name`.
std::optional<ApiError> make_input(const ModelHost& host, const EncodeCommon& common,
                                   std::string_view name, const Prompt& prompt, EncoderInput& out);
/// Two texts as one input.
std::optional<ApiError> make_pair_input(const ModelHost& host, const EncodeCommon& common,
                                        std::string_view first, std::string_view second,
                                        EncoderInput& out);

struct EncodeWork {
  EncodeJob job;  // without done
  std::string id;
  std::string model;  // as answered
  /// The answer's members between "model" and "usage".
  std::function<void(EncodeRows rows, std::string& out)> write;
};
/// An id with that prefix.
std::string encode_id(std::string_view prefix, const RequestContext& context,
                      const EncodeCommon& common);
/// Runs the job and answers {"id","object":"list","created","model",...,"usage"}.
void start_encoding(AppState& state, RequestContext context, EncodeWork work);

/// The request's body, if the model is an encoder that takes new work and the body is JSON; else
/// false, and answered.
bool begin_encoding(AppState& state, const RequestContext& context, OrderedJson& body);

/// To length 1. All zeros stay so.
void normalize(std::vector<float>& vector);

}  // namespace ramjet::server

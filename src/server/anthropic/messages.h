// The Anthropic Messages API over the same chat: bodies translated both ways.
//
// Free functions without state; callable from any thread.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "server/openai/wire_format.h"

namespace ramjet::server {

/// A body of /v1/messages as one of /v1/chat/completions. Unknown fields (chat_template_kwargs,
/// min_p, ...) go on as they are. Errors name Anthropic's fields. `needs_limit`: max_tokens is
/// required.
std::optional<ApiError> to_chat_body(const nlohmann::ordered_json& body, bool needs_limit,
                                     nlohmann::ordered_json& chat);

std::unique_ptr<WireFormat> make_messages_format(AnswerHead head);

/// {"type":"error","error":{"type","message"}}
HttpResponse messages_error(const ApiError& error);

}  // namespace ramjet::server

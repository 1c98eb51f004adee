// Reply: carries one generation to its client, streamed or whole, in the words of a WireFormat.
//
// Created by start_generation() and kept alive by the generation until its end.
#pragma once

#include <memory>
#include <string>

#include "server/app_state.h"
#include "server/openai/generation.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {

/// How a generation is told to its client.
struct ReplyForm {
  std::string id;
  bool stream = false;
  std::unique_ptr<WireFormat> format;
};

/// Submits `spec` and answers `context` with its events. Failure to submit is answered too.
void start_generation(AppState& state, RequestContext context, GenerationSpec spec, ReplyForm form);

/// `prefix` and the request's id, as in "chatcmpl-abc". A `request_id` in the body comes first.
std::string answer_id(std::string_view prefix, const RequestContext& context,
                      const GenerationRequest& request);
AnswerHead answer_head(const ModelHost& host, std::string id, const std::string& model);

/// True, and answered, if the model is an encoder or the server takes no new work.
bool refuse_generation(AppState& state, const RequestContext& context);

}  // namespace ramjet::server

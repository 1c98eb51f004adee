// From parsed requests to what the executor takes: prompts rendered, tokenized and checked against
// the model's limits. Runs on a heavy worker; no state.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/model_host.h"
#include "server/openai/api_error.h"
#include "server/openai/request.h"

namespace ramjet::server {

struct GenerationSpec;

ModelFacts facts_of(const ModelHost& host);
/// An error unless `model` is empty or one of the host's names.
std::optional<ApiError> check_model(const ModelHost& host, const std::string& model);

std::optional<ApiError> tokenize(const ModelHost& host, std::string_view text, bool add_special,
                                 std::vector<int32_t>& ids);
std::optional<ApiError> render(const ModelHost& host, const ChatPrompt& prompt, std::string& text);
/// Truncates if the request says so; refuses an empty prompt.
std::optional<ApiError> finish_prompt(const ModelHost& host, const TextOptions& options,
                                      std::vector<int32_t>& ids);

/// The executor's request but for its prompt. `longest_prompt`: tokens. The output gets what the
/// request asks for, or at most `default_max_tokens`, or (if that is absent) what the context
/// leaves; asking for more than fits is an error with both numbers.
std::optional<ApiError> make_request(const ModelHost& host, const GenerationRequest& common,
                                     size_t longest_prompt, Request& out);

/// Refuses an answer of several sequences that would hold more logprobs than memory should be given
/// to at once; `request` as the executor will get it, for each of `prompts`.
std::optional<ApiError> check_logprobs(const ModelHost& host, const GenerationRequest& common,
                                       const Request& request,
                                       const std::vector<std::vector<int32_t>>& prompts);

/// All of the above for a completion, up to what the executor takes; the error to answer with, if
/// any. `prompt_texts`: what an echo shows.
std::optional<ApiError> prepare_completion(const ModelHost& host,
                                           const nlohmann::ordered_json& body,
                                           CompletionRequest& request, GenerationSpec& spec,
                                           std::vector<std::string>& prompt_texts);

/// All of the above for a chat, up to what the executor takes; the error to answer with, if any.
std::optional<ApiError> prepare_chat(const ModelHost& host, ChatRequest& request,
                                     GenerationSpec& spec);

}  // namespace ramjet::server

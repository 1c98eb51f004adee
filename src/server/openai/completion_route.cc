#include <algorithm>
#include <utility>

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/reply.h"

namespace ramjet::server {
namespace {

std::optional<ApiError> prepare_prompts(const ModelHost& host, CompletionRequest& request,
                                        GenerationSpec& spec,
                                        std::vector<std::string>& prompt_texts) {
  const TextOptions& text = request.common.text;
  for (Prompt& prompt : request.prompts) {
    std::vector<int32_t> ids = std::move(prompt.ids);
    if (prompt.text) {
      if (auto error = tokenize(host, *prompt.text, text.add_special_tokens, ids)) return error;
    }
    const size_t before = ids.size();
    if (auto error = finish_prompt(host, text, ids)) return error;
    std::string shown;
    if (request.echo) {
      const bool whole = prompt.text && ids.size() >= before;
      shown = whole ? *prompt.text : host.tokenizer().decode(ids, text.skip_special);
    }
    spec.text_offsets.push_back(count_characters(shown));
    spec.prompts.push_back(std::move(ids));
    prompt_texts.push_back(std::move(shown));
  }
  return std::nullopt;
}

void complete(AppState& state, RequestContext context) {
  if (refuse_generation(state, context)) return;
  auto request = std::make_shared<CompletionRequest>();  // with the format
  GenerationSpec spec;
  std::vector<std::string> prompt_texts;
  OrderedJson json;
  auto error = parse_body(context.request().body, json);
  if (!error) error = prepare_completion(*state.host, json, *request, spec, prompt_texts);
  if (error) return reply_error(state, context, *error);
  const std::string id = answer_id("cmpl-", context, request->common);
  auto format =
      make_completion_format(answer_head(*state.host, id, request->common.model), request,
                             spec.prompts, std::move(prompt_texts), state.host->tokenizer());
  const bool stream = request->common.stream.stream;
  start_generation(state, std::move(context), std::move(spec), {id, stream, std::move(format)});
}

}  // namespace

std::optional<ApiError> prepare_completion(const ModelHost& host, const OrderedJson& json,
                                           CompletionRequest& request, GenerationSpec& spec,
                                           std::vector<std::string>& prompt_texts) {
  if (auto error = parse_completion(json, facts_of(host), request)) return error;
  GenerationRequest& common = request.common;
  if (auto error = check_model(host, common.model)) return error;
  if (auto error = prepare_prompts(host, request, spec, prompt_texts)) return error;
  size_t longest = 0;
  for (const auto& ids : spec.prompts) longest = std::max(longest, ids.size());
  // The default of 16 gives way to the context; a length the client chose does not.
  if (!json.contains("max_tokens") || json["max_tokens"].is_null()) {
    const int left = host.max_model_len() - static_cast<int>(std::min<size_t>(longest, 1 << 30));
    common.max_tokens = std::clamp(left, 1, *common.max_tokens);
  }
  if (auto error = make_request(host, common, longest, spec.request)) return error;
  SamplingParams& sampling = spec.request.sampling;
  spec.request.n = request.best_of;
  if (request.best_of > common.n) sampling.logprobs = std::max(0, sampling.logprobs);
  if (request.echo && common.show.logprobs >= 0) {
    sampling.prompt_logprobs = std::max(sampling.prompt_logprobs, common.show.logprobs);
  }
  if (auto error = check_logprobs(host, common, spec.request, spec.prompts)) return error;
  spec.text = common.text;
  spec.no_output = *common.max_tokens == 0;
  return std::nullopt;
}

void add_completion_routes(Router& router, AppState& state) {
  router.add(
      {.method = "POST",
       .pattern = "/v1/completions",
       .heavy = true,
       .handler = [&state](RequestContext context) { complete(state, std::move(context)); }});
}

}  // namespace ramjet::server

#include "server/openai/prepare.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "text/chat/chat_format.h"
#include "text/grammar/grammar.h"
#include "text/stream/stop_strings.h"

namespace ramjet::server {
namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20;
constexpr int64_t kMaxLogprobs = 4'000'000;  // each some hundred bytes of JSON

/// Templates that know no "developer" get what they call it.
OrderedJson with_known_roles(const OrderedJson& messages, const std::string& template_source) {
  OrderedJson out = messages;
  if (template_source.find("developer") != std::string::npos) return out;
  for (OrderedJson& message : out) {
    if (message["role"] == "developer") message["role"] = "system";
  }
  return out;
}

/// Compiled here, on a worker, so that a bad one is the client's error and costs no step.
std::optional<ApiError> check_grammar(const GenerationRequest& common) {
  if (common.grammar.empty()) return std::nullopt;
  const auto grammar = text::compile_grammar(common.grammar);
  Status status = grammar.ok() ? (*grammar)->can_generate() : Status(grammar.error());
  if (status.ok()) return std::nullopt;
  return bad_request(common.grammar_field, common.grammar_field + ": " + status.error().message);
}

ApiError too_long(int limit, size_t prompt_tokens, int max_tokens) {
  std::string message =
      max_tokens > 0
          ? fmt::format(
                "this model's maximum context length is {} tokens, but {} were requested "
                "({} in the prompt, {} for the output); shorten one of them",
                limit, prompt_tokens + static_cast<size_t>(max_tokens), prompt_tokens, max_tokens)
          : fmt::format(
                "this model's maximum context length is {} tokens, but the prompt has {} "
                "and the output needs at least one",
                limit, prompt_tokens);
  return bad_request(max_tokens > 0 ? "max_tokens" : "prompt", std::move(message),
                     "context_length_exceeded");
}

}  // namespace

ModelFacts facts_of(const ModelHost& host) {
  return {host.vocab_size(), host.max_model_len(), host.defaults()};
}

std::optional<ApiError> check_model(const ModelHost& host, const std::string& model) {
  if (model.empty() || host.has_name(model)) return std::nullopt;
  return model_not_found(model);
}

std::optional<ApiError> tokenize(const ModelHost& host, std::string_view text, bool add_special,
                                 std::vector<int32_t>& ids) {
  auto encoded = host.tokenizer().encode(text, {.add_special_tokens = add_special});
  if (!encoded.ok()) return bad_request("prompt", encoded.error().message);
  ids = std::move(encoded).value();
  return std::nullopt;
}

std::optional<ApiError> render(const ModelHost& host, const ChatPrompt& prompt, std::string& text) {
  std::optional<text::ChatTemplate> own;
  if (!prompt.chat_template.empty()) {
    if (prompt.chat_template.size() > kMaxTemplateBytes) {
      return bad_request("chat_template",
                         fmt::format("'chat_template' has {} bytes; {} are allowed",
                                     prompt.chat_template.size(), kMaxTemplateBytes));
    }
    auto compiled = text::ChatTemplate::compile(prompt.chat_template);
    if (!compiled.ok()) return bad_request("chat_template", compiled.error().message);
    own = std::move(compiled).value();
  }
  const text::ChatTemplate* chat_template = own ? &*own : host.chat_template();
  if (chat_template == nullptr) {
    return bad_request("messages",
                       "this model has no chat template; send one as 'chat_template', or use "
                       "/v1/completions");
  }
  const OrderedJson messages = with_known_roles(*prompt.messages, chat_template->source());
  auto rendered =
      text::render_chat(*chat_template, {.messages = &messages,
                                         .tools = prompt.tools.get(),
                                         .kwargs = prompt.kwargs.get(),
                                         .add_generation_prompt = prompt.add_generation_prompt,
                                         .continue_final_message = prompt.continue_final_message,
                                         .bos_token = host.bos_token(),
                                         .eos_token = host.eos_token()});
  if (!rendered.ok()) {
    return bad_request("messages", "the chat template refused: " + rendered.error().message);
  }
  text = std::move(rendered).value();
  return std::nullopt;
}

std::optional<ApiError> finish_prompt(const ModelHost& host, const TextOptions& options,
                                      std::vector<int32_t>& ids) {
  const auto keep = static_cast<size_t>(options.truncate_prompt_tokens);
  if (keep > 0 && ids.size() > keep) {
    ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(keep));
  }
  if (ids.empty() && host.info().bos_id >= 0) ids.push_back(host.info().bos_id);
  if (ids.empty()) return bad_request("prompt", "the prompt is empty");
  return std::nullopt;
}

std::optional<ApiError> make_request(const ModelHost& host, const GenerationRequest& common,
                                     size_t longest_prompt, Request& out) {
  const int limit = host.max_model_len();
  const int left = limit - static_cast<int>(std::min<size_t>(longest_prompt, 1 << 30));
  if (left < 1) return too_long(limit, longest_prompt, 0);
  if (common.max_tokens && *common.max_tokens > left) {
    return too_long(limit, longest_prompt, *common.max_tokens);
  }
  out.sampling = common.sampling;
  out.sampling.stop.max_tokens = common.max_tokens ? std::max(1, *common.max_tokens) : -1;
  out.sampling.logprobs = common.show.logprobs;
  out.sampling.prompt_logprobs = common.show.prompt_logprobs;
  auto bad_words = text::bad_word_ids(host.tokenizer(), common.text.bad_words);
  if (!bad_words.ok()) return bad_request("bad_words", bad_words.error().message);
  out.sampling.controls.bad_words = std::move(bad_words).value();
  out.n = common.n;
  if (auto error = check_grammar(common)) return error;
  out.grammar = common.grammar;
  out.priority = -common.priority;  // clients mean by less: sooner
  out.cache_salt = common.cache_salt;
  return std::nullopt;
}

std::optional<ApiError> check_logprobs(const ModelHost& host, const GenerationRequest& common,
                                       const Request& request,
                                       const std::vector<std::vector<int32_t>>& prompts) {
  if (prompts.size() == 1 && request.n == 1) return std::nullopt;  // the context bounds it
  int64_t count = 0;
  for (const auto& ids : prompts) {
    const auto length = static_cast<int64_t>(ids.size());
    count += length * (request.sampling.prompt_logprobs + 1);
    const int64_t output = common.max_tokens.value_or(host.max_model_len() - length);
    if (!common.stream.stream) count += request.n * output * (common.show.logprobs + 1);
  }
  if (count <= kMaxLogprobs) return std::nullopt;
  return bad_request("logprobs",
                     fmt::format("the answer could hold {} logprobs; {} are allowed: ask for fewer "
                                 "prompts, sequences, tokens or alternatives",
                                 count, kMaxLogprobs));
}

}  // namespace ramjet::server

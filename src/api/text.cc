#include <ramjet/text.h>

#include "api/engine_impl.h"
#include "base/json.h"
#include "base/log.h"
#include "base/result.h"
#include "text/chat/chat_format.h"
#include "text/stream/detokenizer.h"
#include "text/stream/stop_strings.h"

namespace ramjet {
namespace {

constexpr size_t kPromptTail = 8;  // ids, enough to hold a visible one

Result<OrderedJson> parse(std::string_view text, std::string_view what, bool array) {
  auto json = parse_ordered_json(text);
  if (!json.ok()) return json.error().with_context(what);
  if (array ? !json->is_array() : !json->is_object()) {
    return invalid_argument("{}: a JSON {} is expected", what, array ? "array" : "object");
  }
  return json;
}

Result<text::ChatTemplate> template_of(const Engine& engine, const ChatOptions& options) {
  if (!options.chat_template.empty()) return text::ChatTemplate::compile(options.chat_template);
  const std::string_view source = engine.asset("chat_template");
  if (source.empty()) {
    return unsupported("{}: the model has no chat template; give one", engine.path());
  }
  return text::ChatTemplate::compile(std::string(source));
}

}  // namespace

Result<std::vector<int32_t>> tokenize(const Engine& engine, std::string_view text,
                                      bool add_special_tokens) {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, engine.impl().get_tokenizer());
  return tokenizer->encode(text, {.add_special_tokens = add_special_tokens});
}

Result<std::string> chat_prompt(const Engine& engine, std::string_view messages,
                                const ChatOptions& options) {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, engine.impl().get_tokenizer());
  ASSIGN_OR_RETURN(const text::ChatTemplate chat, template_of(engine, options));
  ASSIGN_OR_RETURN(const OrderedJson list, parse(messages, "messages", true));
  OrderedJson tools, kwargs;
  text::ChatInputs inputs;
  inputs.messages = &list;
  inputs.add_generation_prompt = options.add_generation_prompt;
  inputs.continue_final_message = options.continue_final_message;
  if (!options.tools.empty()) {
    ASSIGN_OR_RETURN(tools, parse(options.tools, "tools", true));
    inputs.tools = &tools;
  }
  if (!options.kwargs.empty()) {
    ASSIGN_OR_RETURN(kwargs, parse(options.kwargs, "kwargs", false));
    inputs.kwargs = &kwargs;
  }
  const ModelInfo& model = engine.model();
  if (model.bos_id >= 0) inputs.bos_token = tokenizer->token(model.bos_id);
  if (!model.eos_ids.empty()) inputs.eos_token = tokenizer->token(model.eos_ids.front());
  return text::render_chat(chat, inputs);
}

Result<std::vector<std::vector<int32_t>>> bad_word_ids(const Engine& engine,
                                                       std::span<const std::string> words) {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, engine.impl().get_tokenizer());
  return text::bad_word_ids(*tokenizer, words);
}

struct TextStream::Impl {
  std::shared_ptr<const Engine> engine;  // shared with the caller: it owns the tokenizer
  std::vector<std::string> stops;
  text::IncrementalDetokenizer detokenizer;
  text::StopMatcher matcher;
  std::optional<std::string> stopped_by;

  std::string match(std::string_view piece) {
    text::StopMatcher::Step step = matcher.push(piece);
    if (step.matched && !stopped_by) stopped_by = stops[static_cast<size_t>(*step.matched)];
    return std::move(step.text);
  }
};

TextStream::TextStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextStream::~TextStream() = default;

Result<std::unique_ptr<TextStream>> TextStream::create(std::shared_ptr<const Engine> engine,
                                                       TextStreamOptions options,
                                                       std::span<const int32_t> prompt_ids) {
  ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, engine->impl().get_tokenizer());
  const auto tail = prompt_ids.last(std::min(kPromptTail, prompt_ids.size()));
  auto impl = std::unique_ptr<Impl>(
      new Impl{std::move(engine),
               options.stop,
               text::IncrementalDetokenizer(*tokenizer, options.skip_special, tail),
               text::StopMatcher(std::move(options.stop), options.include_stop),
               {}});
  return std::unique_ptr<TextStream>(new TextStream(std::move(impl)));
}

std::string TextStream::push(std::span<const int32_t> ids) {
  std::string out;
  for (const int32_t id : ids) {
    if (impl_->stopped_by) break;
    out += impl_->match(impl_->detokenizer.push(id));
  }
  return out;
}

std::string TextStream::finish() {
  if (impl_->stopped_by) return {};
  std::string out = impl_->match(impl_->detokenizer.flush());
  if (!impl_->stopped_by) out += impl_->matcher.flush();
  return out;
}

const std::optional<std::string>& TextStream::stopped_by() const { return impl_->stopped_by; }

Status set_log_level(std::string_view level) {
  constexpr std::pair<std::string_view, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},
                                                               {"info", LogLevel::kInfo},
                                                               {"warn", LogLevel::kWarn},
                                                               {"error", LogLevel::kError},
                                                               {"off", LogLevel::kOff}};
  for (const auto& [name, value] : kLevels) {
    if (name != level) continue;
    set_log_level(value);
    return ok_status();
  }
  return invalid_argument("log level '{}': known are debug, info, warn, error and off", level);
}

}  // namespace ramjet

// The requests of /v1/completions and /v1/chat/completions as typed values, and their parsing.
//
// Parsing is a pure function of the body and of a few facts of the model: no tokenizer, no
// backend. It accepts the fields of OpenAI and the common extra ones, ignores unknown fields, and
// reports the first field that is wrong.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/model_host.h"
#include "server/openai/api_error.h"

namespace ramjet::server {

/// What parsing must know of the model.
struct ModelFacts {
  int vocab_size = 0;
  int max_model_len = 0;
  GenerationDefaults defaults;
};

struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
};

/// What is done with text on either side of the model.
struct TextOptions {
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special = true;
  std::vector<std::string> bad_words;
  bool add_special_tokens = true;
  int truncate_prompt_tokens = 0;  // keep the last so many; 0: all
};

/// What the answer shows beside text.
struct ShowOptions {
  int logprobs = -1;         // of the output; -1: none
  int prompt_logprobs = -1;  // as a field of its own
  bool token_ids = false;
  bool tokens_as_ids = false;  // "token_id:12" in place of a token's text
};

/// What completions and chat have in common.
struct GenerationRequest {
  std::string model;  // empty: the server's
  StreamOptions stream;
  TextOptions text;
  ShowOptions show;
  SamplingParams sampling;        // without bad words and max_tokens
  std::optional<int> max_tokens;  // unset: the route's default
  int n = 1;
  int priority = 0;
  uint64_t cache_salt = 0;
  std::string request_id;
  std::string grammar;        // the spec of what the output must be; empty: anything
  std::string grammar_field;  // the field that said so
};

/// A prompt as text, or as ids if `text` is unset.
struct Prompt {
  std::optional<std::string> text;
  std::vector<int32_t> ids;
};

struct CompletionRequest {
  GenerationRequest common;
  std::vector<Prompt> prompts;
  bool echo = false;
  int best_of = 1;  // >= common.n
};

/// Whether the model may, must or must not call tools.
struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string function;  // with kNamed
  bool parallel = true;  // more than one call
};

/// A conversation and how to render it; also what /tokenize takes.
struct ChatPrompt {
  ChatPrompt();
  ~ChatPrompt();
  ChatPrompt(ChatPrompt&&) noexcept;
  ChatPrompt& operator=(ChatPrompt&&) noexcept;

  std::unique_ptr<nlohmann::ordered_json> messages;  // an array
  std::unique_ptr<nlohmann::ordered_json> tools;     // an array, or null for none
  ToolChoice tool_choice;
  std::unique_ptr<nlohmann::ordered_json> kwargs;  // an object
  std::string chat_template;                       // empty: the model's
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct ChatRequest {
  GenerationRequest common;
  ChatPrompt prompt;
};

std::optional<ApiError> parse_completion(const nlohmann::ordered_json& body,
                                         const ModelFacts& facts, CompletionRequest& out);
std::optional<ApiError> parse_chat(const nlohmann::ordered_json& body, const ModelFacts& facts,
                                   ChatRequest& out);

class Fields;
/// The pieces, for routes that share them.
void parse_generation(Fields& fields, const ModelFacts& facts, GenerationRequest& out);
void parse_constraint(Fields& fields, GenerationRequest& out);
void parse_chat_prompt(Fields& fields, ChatPrompt& out);
/// A text, several, ids, or several lists of ids: of the field `name`, which is required.
void parse_prompts(Fields& fields, std::string_view name, int vocab_size, std::vector<Prompt>& out);

}  // namespace ramjet::server

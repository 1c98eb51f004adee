#include <algorithm>
#include <limits>

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"
#include "server/openai/tool_grammar.h"

namespace ramjet::server {
namespace {

constexpr double kMaxInt = std::numeric_limits<int>::max();
constexpr size_t kMaxMembers = 1024;  // of a message, of the template's arguments

ApiError message_error(size_t index, std::string_view what) {
  return bad_request(fmt::format("messages[{}]", index),
                     fmt::format("messages[{}]: {}", index, what));
}

/// Content parts that this model can read: text.
std::optional<ApiError> check_part(const OrderedJson& part, size_t index) {
  if (part.is_string()) return std::nullopt;
  if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
    return message_error(index, "each part of 'content' must be an object with a 'type'");
  }
  const auto type = part["type"].get<std::string>();
  if (type != "text" && type != "refusal" && type != "thinking") {
    return message_error(index, fmt::format("this model does not take content of type '{}'; it "
                                            "takes 'text'",
                                            type.substr(0, 40)));
  }
  const auto text = part.find(type);
  if (text == part.end() || !text->is_string()) {
    return message_error(index,
                         fmt::format("a part of type '{}' must have a string '{}'", type, type));
  }
  return std::nullopt;
}

std::optional<ApiError> check_message(const OrderedJson& message, size_t index) {
  if (!message.is_object()) {
    return message_error(index, fmt::format("must be an object, not {}", json_type(message)));
  }
  if (message.size() > kMaxMembers) {
    return message_error(
        index, fmt::format("has {} members; {} are allowed", message.size(), kMaxMembers));
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string() || role->get_ref<const std::string&>().empty()) {
    return message_error(index, "'role' is required and must be a string");
  }
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    // An assistant may have called tools instead of speaking.
    const bool silent = *role == "assistant" || *role == "tool" || *role == "function";
    if (silent) return std::nullopt;
    return message_error(index, "'content' is required");
  }
  if (content->is_string()) return std::nullopt;
  if (!content->is_array()) {
    return message_error(index, fmt::format("'content' must be a string or an array of parts, not "
                                            "{}",
                                            json_type(*content)));
  }
  for (const OrderedJson& part : *content) {
    if (auto error = check_part(part, index)) return error;
  }
  return std::nullopt;
}

std::optional<ApiError> check_tool(const OrderedJson& tool, size_t index) {
  const std::string param = fmt::format("tools[{}]", index);
  const bool ok = tool.is_object() && tool.contains("type") && tool["type"] == "function" &&
                  tool.contains("function") && tool["function"].is_object() &&
                  tool["function"].contains("name") && tool["function"]["name"].is_string();
  if (ok && tool["function"].contains("strict") && !tool["function"]["strict"].is_null() &&
      !tool["function"]["strict"].is_boolean()) {
    return bad_request(param, param + ": 'strict' must be true or false");
  }
  if (ok) return std::nullopt;
  return bad_request(param, param + R"(: must be {"type":"function","function":{"name":...}})");
}

/// {"type":"function","function":{"name":...}} or {"type":"function","name":...}
std::string chosen_function(const OrderedJson& choice) {
  const auto inner = choice.find("function");
  const OrderedJson& function = inner != choice.end() && inner->is_object() ? *inner : choice;
  const auto name = function.find("name");
  return name != function.end() && name->is_string() ? name->get<std::string>() : "";
}

void parse_tool_choice(Fields& fields, ToolChoice& out) {
  const OrderedJson* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  if (choice->is_object()) {
    out.kind = ToolChoice::Kind::kNamed;
    out.function = chosen_function(*choice);
    if (!out.function.empty()) return;
    return fields.fail("tool_choice",
                       R"('tool_choice' must be {"type":"function","function":{"name":...}})");
  }
  const std::string name = choice->is_string() ? choice->get<std::string>() : "";
  if (name == "none") {
    out.kind = ToolChoice::Kind::kNone;
  } else if (name == "required") {
    out.kind = ToolChoice::Kind::kRequired;
  } else if (name != "auto") {
    fields.fail("tool_choice",
                "'tool_choice' must be 'none', 'auto', 'required' or an object that names a "
                "function");
  }
}

bool offers(const OrderedJson* tools, const std::string& function) {
  return tools != nullptr && std::any_of(tools->begin(), tools->end(), [&](const auto& tool) {
           return tool["function"]["name"] == function;
         });
}

void parse_tools(Fields& fields, ChatPrompt& out) {
  if (fields.has("functions") || fields.has("function_call")) {
    return fields.fail(not_supported("functions", "'functions' is not supported; use 'tools'"));
  }
  const OrderedJson* tools = fields.find_array("tools");
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    if (auto error = check_tool((*tools)[i], i)) return fields.fail(std::move(*error));
  }
  ToolChoice& choice = out.tool_choice;
  parse_tool_choice(fields, choice);
  fields.read("parallel_tool_calls", choice.parallel);
  const bool must =
      choice.kind == ToolChoice::Kind::kRequired || choice.kind == ToolChoice::Kind::kNamed;
  if (must && (tools == nullptr || tools->empty())) {
    return fields.fail("tool_choice", "'tool_choice' asks for a call, but 'tools' is empty");
  }
  if (choice.kind == ToolChoice::Kind::kNamed && !offers(tools, choice.function)) {
    return fields.fail("tool_choice",
                       fmt::format("'tool_choice' names '{}', which is not in 'tools'",
                                   choice.function.substr(0, 64)));
  }
  if (tools != nullptr && !tools->empty() && choice.kind != ToolChoice::Kind::kNone) {
    out.tools = std::make_unique<OrderedJson>(*tools);
  }
}

/// An answer that must be calls is held to their grammar.
void require_calls(Fields& fields, ChatRequest& out) {
  const ToolChoice& choice = out.prompt.tool_choice;
  const bool must =
      choice.kind == ToolChoice::Kind::kRequired || choice.kind == ToolChoice::Kind::kNamed;
  if (!fields.ok() || !must) return;
  if (!out.common.grammar.empty()) {
    return fields.fail("tool_choice", fmt::format("'tool_choice' and '{}' exclude each other",
                                                  out.common.grammar_field));
  }
  out.common.grammar = tool_call_grammar(*out.prompt.tools, choice);
  out.common.grammar_field = "tools";
}

}  // namespace

ChatPrompt::ChatPrompt() = default;
ChatPrompt::~ChatPrompt() = default;
ChatPrompt::ChatPrompt(ChatPrompt&&) noexcept = default;
ChatPrompt& ChatPrompt::operator=(ChatPrompt&&) noexcept = default;

void parse_chat_prompt(Fields& fields, ChatPrompt& out) {
  const OrderedJson* messages = fields.find_array("messages");
  if (messages == nullptr) {
    if (fields.ok()) fields.fail("messages", "'messages' is required");
    return;
  }
  if (messages->empty()) return fields.fail("messages", "'messages' must not be empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    if (auto error = check_message((*messages)[i], i)) return fields.fail(std::move(*error));
  }
  out.messages = std::make_unique<OrderedJson>(*messages);
  parse_tools(fields, out);
  out.kwargs = std::make_unique<OrderedJson>(OrderedJson::object());
  if (const OrderedJson* kwargs = fields.find_object("chat_template_kwargs")) {
    if (kwargs->size() > kMaxMembers) {
      return fields.fail("chat_template_kwargs",
                         fmt::format("'chat_template_kwargs' has {} members; {} are allowed",
                                     kwargs->size(), kMaxMembers));
    }
    *out.kwargs = *kwargs;
  }
  if (const OrderedJson* documents = fields.find_array("documents")) {
    (*out.kwargs)["documents"] = *documents;
  }
  if (fields.has("reasoning_effort")) {
    std::string effort;
    fields.read("reasoning_effort", effort);
    if (!out.kwargs->contains("reasoning_effort")) (*out.kwargs)["reasoning_effort"] = effort;
  }
  fields.read("chat_template", out.chat_template);
  fields.read("continue_final_message", out.continue_final_message);
  if (out.continue_final_message && !fields.has("add_generation_prompt")) {
    out.add_generation_prompt = false;
  }
  fields.read("add_generation_prompt", out.add_generation_prompt);
  if (out.continue_final_message && out.add_generation_prompt) {
    fields.fail("continue_final_message",
                "'continue_final_message' and 'add_generation_prompt' exclude each other");
  }
}

std::optional<ApiError> parse_chat(const OrderedJson& body, const ModelFacts& facts,
                                   ChatRequest& out) {
  Fields fields(body);
  GenerationRequest& common = out.common;
  common.text.add_special_tokens = false;  // the template writes them
  parse_generation(fields, facts, common);
  parse_chat_prompt(fields, out.prompt);
  require_calls(fields, out);
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {  // the newer name wins
    if (!fields.has(name)) continue;
    int max_tokens = 0;
    fields.read(name, max_tokens, {1, kMaxInt});
    common.max_tokens = max_tokens;
  }
  if (common.max_tokens && common.sampling.stop.min_tokens > *common.max_tokens) {
    fields.fail("min_tokens", fmt::format("'min_tokens' ({}) must not exceed 'max_tokens' ({})",
                                          common.sampling.stop.min_tokens, *common.max_tokens));
  }
  bool logprobs = false;
  int top_logprobs = 0;
  fields.read("logprobs", logprobs);
  fields.read("top_logprobs", top_logprobs, {0, 20});
  if (fields.has("top_logprobs") && top_logprobs > 0 && !logprobs) {
    fields.fail("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  }
  if (logprobs) common.show.logprobs = top_logprobs;
  return fields.take_error();
}

}  // namespace ramjet::server

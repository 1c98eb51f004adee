#include "base/json.h"
#include "server/anthropic/messages.h"
#include "server/openai/fields.h"

namespace ramjet::server {
namespace {

using Problem = std::optional<ApiError>;

Problem wrong(size_t index, std::string_view what) {
  const std::string param = fmt::format("messages.{}", index);
  return bad_request(param, fmt::format("{}: {}", param, what));
}

std::string text_member(const OrderedJson& block, const char* name) {
  const auto found = block.find(name);
  return found != block.end() && found->is_string() ? found->get<std::string>() : "";
}

/// A string, or text blocks joined; false for anything else.
bool read_text(const OrderedJson& content, std::string& out) {
  if (content.is_string()) {
    out = content.get<std::string>();
    return true;
  }
  if (!content.is_array()) return content.is_null();
  for (const OrderedJson& block : content) {
    if (!block.is_object() || text_member(block, "type") != "text") return false;
    out += (out.empty() ? "" : "\n") + text_member(block, "text");
  }
  return true;
}

/// What is gathered of one message's blocks.
struct Blocks {
  OrderedJson parts = OrderedJson::array();
  OrderedJson calls = OrderedJson::array();
  std::string thinking;
};

Problem read_block(const OrderedJson& block, size_t index, Blocks& out, OrderedJson& messages) {
  if (!block.is_object()) return wrong(index, "each block of 'content' must be an object");
  const std::string type = text_member(block, "type");
  if (type == "text") {
    out.parts.push_back({{"type", "text"}, {"text", text_member(block, "text")}});
  } else if (type == "thinking") {
    out.thinking += text_member(block, "thinking");
  } else if (type == "tool_use") {
    const OrderedJson input = block.contains("input") ? block["input"] : OrderedJson::object();
    out.calls.push_back(
        {{"id", text_member(block, "id")},
         {"type", "function"},
         {"function", {{"name", text_member(block, "name")}, {"arguments", dump(input)}}}});
  } else if (type == "tool_result") {
    std::string text;
    if (block.contains("content") && !read_text(block["content"], text)) {
      return wrong(index, "a 'tool_result' must hold text");
    }
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", text_member(block, "tool_use_id")},
                        {"content", std::move(text)}});
  } else if (type != "redacted_thinking") {
    return wrong(index,
                 fmt::format("this model does not take content of type '{}'", type.substr(0, 40)));
  }
  return std::nullopt;
}

Problem read_message(const OrderedJson& message, size_t index, OrderedJson& messages) {
  if (!message.is_object()) return wrong(index, "must be an object");
  const std::string role = text_member(message, "role");
  if (role != "user" && role != "assistant") {
    return wrong(index, "'role' must be 'user' or 'assistant'");
  }
  const auto content = message.find("content");
  if (content == message.end()) return wrong(index, "'content' is required");
  if (content->is_string()) {
    messages.push_back({{"role", role}, {"content", *content}});
    return std::nullopt;
  }
  if (!content->is_array()) return wrong(index, "'content' must be a string or an array");
  Blocks blocks;
  for (const OrderedJson& block : *content) {
    if (auto error = read_block(block, index, blocks, messages)) return error;
  }
  const bool empty = blocks.parts.empty() && blocks.calls.empty() && blocks.thinking.empty();
  if (empty) return std::nullopt;  // tool results alone
  OrderedJson out;
  out["role"] = role;
  out["content"] = nullptr;
  if (!blocks.parts.empty() || role == "user") out["content"] = std::move(blocks.parts);
  if (!blocks.calls.empty()) out["tool_calls"] = std::move(blocks.calls);
  if (!blocks.thinking.empty()) out["reasoning_content"] = std::move(blocks.thinking);
  messages.push_back(std::move(out));
  return std::nullopt;
}

Problem read_tools(const OrderedJson& body, OrderedJson& chat) {
  const auto tools = body.find("tools");
  if (tools == body.end() || tools->is_null()) return std::nullopt;
  if (!tools->is_array()) return bad_request("tools", "'tools' must be an array");
  OrderedJson out = OrderedJson::array();
  for (size_t i = 0; i < tools->size(); ++i) {
    const OrderedJson& tool = (*tools)[i];
    const std::string param = fmt::format("tools.{}", i);
    if (!tool.is_object() || text_member(tool, "name").empty()) {
      return bad_request(param, param + ": 'name' is required");
    }
    if (!tool.contains("input_schema")) {
      return bad_request(param, param + ": only tools with an 'input_schema' can be offered");
    }
    OrderedJson function = {{"name", tool["name"]}};
    if (tool.contains("description")) function["description"] = tool["description"];
    function["parameters"] = tool["input_schema"];
    if (tool.contains("strict")) function["strict"] = tool["strict"];
    out.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  chat["tools"] = std::move(out);
  return std::nullopt;
}

Problem read_tool_choice(const OrderedJson& body, OrderedJson& chat) {
  const auto choice = body.find("tool_choice");
  if (choice == body.end() || choice->is_null()) return std::nullopt;
  const std::string type = choice->is_object() ? text_member(*choice, "type") : "";
  if (type == "auto" || type == "none") {
    chat["tool_choice"] = type;
  } else if (type == "any") {
    chat["tool_choice"] = "required";
  } else if (type == "tool") {
    chat["tool_choice"] = {{"type", "function"},
                           {"function", {{"name", text_member(*choice, "name")}}}};
  } else {
    return bad_request("tool_choice", "'tool_choice.type' must be auto, any, tool or none");
  }
  if (choice->contains("disable_parallel_tool_use")) {
    chat["parallel_tool_calls"] = (*choice)["disable_parallel_tool_use"] != true;
  }
  return std::nullopt;
}

}  // namespace

Problem to_chat_body(const OrderedJson& body, bool needs_limit, OrderedJson& chat) {
  if (needs_limit && (!body.contains("max_tokens") || body["max_tokens"].is_null())) {
    return bad_request("max_tokens", "'max_tokens' is required");
  }
  for (const auto& [name, value] : body.items()) {
    const bool translated = name == "messages" || name == "system" || name == "tools" ||
                            name == "tool_choice" || name == "stop_sequences" ||
                            name == "thinking" || name == "n" || name == "logprobs";
    if (!translated) chat[name] = value;
  }
  OrderedJson messages = OrderedJson::array();
  if (body.contains("system") && !body["system"].is_null()) {
    std::string system;
    if (!read_text(body["system"], system)) {
      return bad_request("system", "'system' must be a string or an array of text blocks");
    }
    messages.push_back({{"role", "system"}, {"content", std::move(system)}});
  }
  const auto list = body.find("messages");
  if (list == body.end() || !list->is_array() || list->empty()) {
    return bad_request("messages", "'messages' must be an array that is not empty");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    if (auto error = read_message((*list)[i], i, messages)) return error;
  }
  chat["messages"] = std::move(messages);
  if (auto error = read_tools(body, chat)) return error;
  if (auto error = read_tool_choice(body, chat)) return error;
  if (body.contains("stop_sequences")) chat["stop"] = body["stop_sequences"];
  if (const auto thinking = body.find("thinking");
      thinking != body.end() && thinking->is_object()) {
    OrderedJson& kwargs = chat["chat_template_kwargs"];
    if (kwargs.is_null()) kwargs = OrderedJson::object();
    const bool on = text_member(*thinking, "type") != "disabled";
    if (kwargs.is_object() && !kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = on;
  }
  return std::nullopt;
}

}  // namespace ramjet::server

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/responses/responses.h"

namespace ramjet::server {
namespace {

using Problem = std::optional<ApiError>;

std::string text_member(const OrderedJson& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Problem wrong(size_t index, std::string_view what) {
  const std::string param = fmt::format("input[{}]", index);
  return bad_request(param, fmt::format("{}: {}", param, what));
}

/// Text of a string or of parts; false for parts that are no text.
bool read_text(const OrderedJson& content, std::string& out) {
  if (content.is_string()) {
    out = content.get<std::string>();
    return true;
  }
  if (!content.is_array()) return content.is_null();
  for (const OrderedJson& part : content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) return false;
    out += part["text"].get<std::string>();
  }
  return true;
}

/// Reasoning and calls belong to one assistant's message: what follows joins it.
OrderedJson& assistant_turn(OrderedJson& messages) {
  const bool goes_on = !messages.empty() && messages.back()["role"] == "assistant" &&
                       messages.back()["content"].is_null();
  if (!goes_on) messages.push_back({{"role", "assistant"}, {"content", nullptr}});
  return messages.back();
}

Problem read_item(const OrderedJson& item, size_t index, OrderedJson& messages) {
  if (!item.is_object()) return wrong(index, "must be an object");
  std::string type = text_member(item, "type");
  if (type.empty()) type = "message";
  std::string text;
  if (type == "message") {
    const std::string role = text_member(item, "role");
    if (role.empty()) return wrong(index, "'role' is required");
    if (!item.contains("content") || !read_text(item["content"], text)) {
      return wrong(index, "'content' must be a string or an array of text parts");
    }
    if (role == "assistant") {
      assistant_turn(messages)["content"] = std::move(text);
    } else {
      messages.push_back({{"role", role}, {"content", std::move(text)}});
    }
  } else if (type == "reasoning") {
    if (item.contains("content") && !read_text(item["content"], text)) text.clear();
    if (!text.empty()) assistant_turn(messages)["reasoning_content"] = std::move(text);
  } else if (type == "function_call") {
    OrderedJson& message = messages.empty() || messages.back()["role"] != "assistant"
                               ? assistant_turn(messages)
                               : messages.back();
    message["tool_calls"].push_back(
        {{"id", text_member(item, "call_id")},
         {"type", "function"},
         {"function",
          {{"name", text_member(item, "name")}, {"arguments", text_member(item, "arguments")}}}});
  } else if (type == "function_call_output") {
    if (!item.contains("output") || !read_text(item["output"], text)) {
      return wrong(index, "'output' must be a string or an array of text parts");
    }
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", text_member(item, "call_id")},
                        {"content", std::move(text)}});
  } else {
    return wrong(index, fmt::format("items of type '{}' are not supported", type.substr(0, 40)));
  }
  return std::nullopt;
}

Problem read_tools(const OrderedJson& body, OrderedJson& chat) {
  const auto tools = body.find("tools");
  if (tools != body.end() && tools->is_array() && !tools->empty()) {
    OrderedJson out = OrderedJson::array();
    for (size_t i = 0; i < tools->size(); ++i) {
      const OrderedJson& tool = (*tools)[i];
      const std::string param = fmt::format("tools[{}]", i);
      if (!tool.is_object() || text_member(tool, "type") != "function" ||
          text_member(tool, "name").empty()) {
        return bad_request(param, param + ": only functions, with a 'name', can be offered");
      }
      OrderedJson function = OrderedJson::object();
      for (const char* name : {"name", "description", "parameters", "strict"}) {
        if (tool.contains(name) && !tool[name].is_null()) function[name] = tool[name];
      }
      out.push_back({{"type", "function"}, {"function", std::move(function)}});
    }
    chat["tools"] = std::move(out);
  }
  for (const char* name : {"tool_choice", "parallel_tool_calls"}) {
    if (body.contains(name)) chat[name] = body[name];
  }
  return std::nullopt;
}

/// text.format, reasoning.effort and the fields that chat has under other names.
void read_options(const OrderedJson& body, OrderedJson& chat) {
  if (body.contains("max_output_tokens")) chat["max_tokens"] = body["max_output_tokens"];
  if (body.contains("reasoning") && body["reasoning"].is_object() &&
      body["reasoning"].contains("effort")) {
    chat["reasoning_effort"] = body["reasoning"]["effort"];
  }
  if (!body.contains("text") || !body["text"].is_object() || !body["text"].contains("format")) {
    return;
  }
  OrderedJson format = body["text"]["format"];
  if (format.is_object() && text_member(format, "type") == "json_schema") {
    OrderedJson inner = format;
    inner.erase("type");
    format = OrderedJson::object();
    format["type"] = "json_schema";
    format["json_schema"] = std::move(inner);
  }
  chat["response_format"] = std::move(format);
}

}  // namespace

Problem responses_to_chat(const OrderedJson& body, const OrderedJson& earlier, OrderedJson& chat,
                          OrderedJson& messages) {
  for (const char* name : {"background", "conversation", "prompt"}) {
    if (body.contains(name) && !body[name].is_null() && body[name] != false) {
      return not_supported(name, fmt::format("'{}' is not supported", name));
    }
  }
  for (const auto& [name, value] : body.items()) {
    bool translated = false;
    for (const char* own :
         {"input", "instructions", "max_output_tokens", "reasoning", "text", "tools", "tool_choice",
          "previous_response_id", "store", "include", "truncation", "metadata", "top_logprobs", "n",
          "stream_options", "service_tier", "background", "conversation", "prompt"}) {
      translated = translated || name == own;
    }
    if (!translated) chat[name] = value;
  }
  messages = earlier;
  const auto input = body.find("input");
  if (input == body.end() || (!input->is_string() && !input->is_array())) {
    return bad_request("input", "'input' must be a string or an array of items");
  }
  if (input->is_string()) messages.push_back({{"role", "user"}, {"content", *input}});
  for (size_t i = 0; input->is_array() && i < input->size(); ++i) {
    if (auto error = read_item((*input)[i], i, messages)) return error;
  }
  if (messages.empty()) return bad_request("input", "'input' must not be empty");
  OrderedJson all = OrderedJson::array();
  if (body.contains("instructions") && body["instructions"].is_string()) {
    all.push_back({{"role", "system"}, {"content", body["instructions"]}});
  }
  for (const OrderedJson& message : messages) all.push_back(message);
  chat["messages"] = std::move(all);
  read_options(body, chat);
  return read_tools(body, chat);
}

}  // namespace ramjet::server

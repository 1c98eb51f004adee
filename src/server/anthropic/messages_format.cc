#include <utility>

#include "base/json.h"
#include "server/anthropic/messages.h"

namespace ramjet::server {
namespace {

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

OrderedJson error_body(const ApiError& error) {
  OrderedJson inner = {{"type", error_type(error.status)}, {"message", error.message}};
  OrderedJson json = {{"type", "error"}};
  json["error"] = std::move(inner);
  return json;
}

std::string_view stop_reason(const Delta& delta, bool has_calls) {
  if (delta.finish == "length") return "max_tokens";
  if (std::holds_alternative<std::string>(delta.stop_reason)) return "stop_sequence";
  return has_calls ? "tool_use" : "end_turn";
}

OrderedJson stop_sequence(const Delta& delta) {
  const auto* text = std::get_if<std::string>(&delta.stop_reason);
  return text != nullptr ? OrderedJson(*text) : OrderedJson(nullptr);
}

OrderedJson messages_usage(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.completion_tokens}};
}

/// Arguments are a JSON object, or the beginning of one where a grammar's call was cut off.
OrderedJson input_of(const std::string& arguments) {
  auto json = parse_ordered_json(arguments);
  return json.ok() ? std::move(*json) : OrderedJson::object();
}

class MessagesFormat final : public WireFormat {
 public:
  explicit MessagesFormat(AnswerHead head) : head_(std::move(head)) {}

  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {}
  void write_delta(const Delta& delta, const Usage& usage, std::string& out) override;
  void write_end(const Usage& usage, std::string& out) override;
  void write_error(const ApiError& error, std::string& out) override {
    event(error_body(error), out);
  }
  std::string whole(std::vector<Delta> choices, const Usage& usage) override;
  HttpResponse error_reply(const ApiError& error) override { return messages_error(error); }

 private:
  enum class Block { kNone, kThinking, kText, kToolUse };

  static void event(const OrderedJson& json, std::string& out) {
    out += "event: " + json["type"].get<std::string>() + "\ndata: " + dump(json) + "\n\n";
  }
  OrderedJson message_json(OrderedJson content, const Usage& usage) const;
  void begin_block(Block block, OrderedJson content, std::string& out);
  void end_block(std::string& out);
  void add(OrderedJson delta, std::string& out);

  const AnswerHead head_;
  Block block_ = Block::kNone;
  int index_ = 0;
  bool has_calls_ = false;
  OrderedJson end_ = {{"stop_reason", "end_turn"}, {"stop_sequence", nullptr}};
};

OrderedJson MessagesFormat::message_json(OrderedJson content, const Usage& usage) const {
  return {{"id", head_.id},           {"type", "message"},
          {"role", "assistant"},      {"model", head_.model},
          {"content", content},       {"stop_reason", nullptr},
          {"stop_sequence", nullptr}, {"usage", messages_usage(usage)}};
}

void MessagesFormat::begin_block(Block block, OrderedJson content, std::string& out) {
  if (block_ == block && block != Block::kToolUse) return;
  end_block(out);
  block_ = block;
  OrderedJson json = {{"type", "content_block_start"}, {"index", index_}};
  json["content_block"] = std::move(content);
  event(json, out);
}

void MessagesFormat::end_block(std::string& out) {
  if (block_ == Block::kNone) return;
  if (block_ == Block::kThinking) {
    OrderedJson delta = {{"type", "signature_delta"}, {"signature", ""}};
    add(std::move(delta), out);
  }
  const OrderedJson json = {{"type", "content_block_stop"}, {"index", index_}};
  event(json, out);
  ++index_;
  block_ = Block::kNone;
}

void MessagesFormat::add(OrderedJson delta, std::string& out) {
  OrderedJson json = {{"type", "content_block_delta"}, {"index", index_}};
  json["delta"] = std::move(delta);
  event(json, out);
}

void MessagesFormat::write_delta(const Delta& delta, const Usage& usage, std::string& out) {
  if (delta.first) {
    OrderedJson json = {{"type", "message_start"}};
    json["message"] = message_json(OrderedJson::array(), usage);
    event(json, out);
    const OrderedJson ping = {{"type", "ping"}};
    event(ping, out);
  }
  if (!delta.reasoning.empty()) {
    begin_block(Block::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, out);
    add({{"type", "thinking_delta"}, {"thinking", delta.reasoning}}, out);
  }
  if (!delta.text.empty()) {
    begin_block(Block::kText, {{"type", "text"}, {"text", ""}}, out);
    add({{"type", "text_delta"}, {"text", delta.text}}, out);
  }
  for (const text::CallDelta& call : delta.calls) {
    has_calls_ = true;
    if (call.first) {
      begin_block(Block::kToolUse,
                  {{"type", "tool_use"},
                   {"id", call.id},
                   {"name", call.name},
                   {"input", OrderedJson::object()}},
                  out);
    }
    if (!call.arguments.empty()) {
      add({{"type", "input_json_delta"}, {"partial_json", call.arguments}}, out);
    }
  }
  if (delta.finish.empty()) return;
  end_["stop_reason"] = stop_reason(delta, has_calls_);
  end_["stop_sequence"] = stop_sequence(delta);
}

void MessagesFormat::write_end(const Usage& usage, std::string& out) {
  end_block(out);
  OrderedJson json = {{"type", "message_delta"}};
  json["delta"] = end_;
  json["usage"] = messages_usage(usage);
  event(json, out);
  const OrderedJson stop = {{"type", "message_stop"}};
  event(stop, out);
}

std::string MessagesFormat::whole(std::vector<Delta> choices, const Usage& usage) {
  const Delta& delta = choices.front();
  OrderedJson content = OrderedJson::array();
  if (!delta.reasoning.empty()) {
    content.push_back({{"type", "thinking"}, {"thinking", delta.reasoning}, {"signature", ""}});
  }
  if (!delta.text.empty() || delta.calls.empty()) {
    content.push_back({{"type", "text"}, {"text", delta.text}});
  }
  for (const text::CallDelta& call : delta.calls) {
    content.push_back({{"type", "tool_use"},
                       {"id", call.id},
                       {"name", call.name},
                       {"input", input_of(call.arguments)}});
  }
  OrderedJson json = message_json(std::move(content), usage);
  json["stop_reason"] = stop_reason(delta, !delta.calls.empty());
  json["stop_sequence"] = stop_sequence(delta);
  return dump(json);
}

}  // namespace

std::unique_ptr<WireFormat> make_messages_format(AnswerHead head) {
  return std::make_unique<MessagesFormat>(std::move(head));
}

HttpResponse messages_error(const ApiError& error) {
  HttpResponse response = error_response(error);
  response.body = dump(error_body(error));
  return response;
}

}  // namespace ramjet::server

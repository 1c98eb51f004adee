#include <utility>

#include "base/json.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

class ChatFormat final : public WireFormat {
 public:
  ChatFormat(AnswerHead head, std::shared_ptr<ChatRequest> request, std::vector<int32_t> prompt_ids,
             const text::Tokenizer& tokenizer)
      : head_(std::move(head)),
        request_(std::move(request)),
        show_(request_->common.show),
        prompt_ids_(std::move(prompt_ids)),
        tokenizer_(tokenizer),
        writer_(head_, "chat.completion.chunk", request_->common.stream) {}

  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {
    prompt_logprobs_ = std::move(logprobs);
  }
  void write_delta(const Delta& delta, const Usage& usage, std::string& out) override;
  void write_end(const Usage& usage, std::string& out) override { writer_.write_end(usage, out); }
  void write_error(const ApiError& error, std::string& out) override {
    ChunkWriter::write_error(error, out);
  }
  std::string whole(std::vector<Delta> choices, const Usage& usage) override;

 private:
  static std::vector<std::string> delta_parts(const Delta& delta);
  static OrderedJson message_json(const Delta& delta);
  OrderedJson token_json(const TokenLogprob& token) const;
  OrderedJson logprobs_json(const std::vector<LogprobEntry>& entries) const;
  std::string choice_head(int index) const { return fmt::format("{{\"index\":{},", index); }

  const AnswerHead head_;
  const std::shared_ptr<ChatRequest> request_;  // with the route that parsed it
  const ShowOptions& show_;
  const std::vector<int32_t> prompt_ids_;
  const text::Tokenizer& tokenizer_;
  const ChunkWriter writer_;
  std::vector<PositionLogprobs> prompt_logprobs_;
  bool prompt_ids_sent_ = false;
};

OrderedJson ChatFormat::token_json(const TokenLogprob& token) const {
  OrderedJson bytes = OrderedJson::array();
  for (unsigned char byte : tokenizer_.token_bytes(token.id)) bytes.push_back(byte);
  return {{"token", token_label(tokenizer_, token.id, show_.tokens_as_ids)},
          {"logprob", finite_logprob(token.logprob)},
          {"bytes", std::move(bytes)}};
}

OrderedJson ChatFormat::logprobs_json(const std::vector<LogprobEntry>& entries) const {
  if (show_.logprobs < 0) return nullptr;
  OrderedJson content = OrderedJson::array();
  for (const LogprobEntry& entry : entries) {
    OrderedJson token = token_json(entry.position.chosen);
    token["top_logprobs"] = OrderedJson::array();
    for (const TokenLogprob& top : entry.position.top) {
      token["top_logprobs"].push_back(token_json(top));
    }
    content.push_back(std::move(token));
  }
  OrderedJson json;
  json["content"] = std::move(content);
  json["refusal"] = nullptr;
  return json;
}

/// The members of each chunk's delta.
std::vector<std::string> ChatFormat::delta_parts(const Delta& delta) {
  std::vector<std::string> parts;
  if (!delta.reasoning.empty()) {  // both names are in use
    std::string& part = parts.emplace_back("\"reasoning\":");
    append_json_string(delta.reasoning, part);
    part += ",\"reasoning_content\":";
    append_json_string(delta.reasoning, part);
  }
  if (!delta.text.empty()) append_json_string(delta.text, parts.emplace_back("\"content\":"));
  for (const text::CallDelta& call : delta.calls) {
    if (call.first) {
      const OrderedJson json = {{"index", call.index},
                                {"id", call.id},
                                {"type", "function"},
                                {"function", {{"name", call.name}, {"arguments", ""}}}};
      parts.push_back("\"tool_calls\":[" + dump(json) + "]");
    }
    if (call.arguments.empty()) continue;
    std::string& part = parts.emplace_back(
        fmt::format(R"("tool_calls":[{{"index":{},"function":{{"arguments":)", call.index));
    append_json_string(call.arguments, part);
    part += "}}]";
  }
  return parts;
}

OrderedJson ChatFormat::message_json(const Delta& delta) {
  OrderedJson calls = OrderedJson::array();
  for (const text::CallDelta& call : delta.calls) {
    calls.push_back({{"id", call.id},
                     {"type", "function"},
                     {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  OrderedJson message;
  message["role"] = "assistant";
  message["content"] = delta.text;
  if (delta.text.empty() && !calls.empty()) message["content"] = nullptr;
  message["refusal"] = nullptr;
  message["tool_calls"] = std::move(calls);
  for (const char* name : {"reasoning", "reasoning_content"}) {  // both names are in use
    message[name] = nullptr;
    if (!delta.reasoning.empty()) message[name] = delta.reasoning;
  }
  return message;
}

void ChatFormat::write_delta(const Delta& delta, const Usage& usage, std::string& out) {
  if (delta.first) {
    std::string more;
    if (show_.token_ids && !std::exchange(prompt_ids_sent_, true)) {
      more = ",\"prompt_token_ids\":" + dump(OrderedJson(prompt_ids_));
    }
    writer_.write(choice_head(delta.choice) +
                      R"("delta":{"role":"assistant","content":""},"logprobs":null,)"
                      R"("finish_reason":null})",
                  more, usage, out);
  }
  const bool says_ids = show_.token_ids && !delta.ids.empty();
  std::vector<std::string> parts = delta_parts(delta);
  // Logprobs and ids belong to the tokens of all parts; the first part carries them.
  if (parts.empty() && (!delta.logprobs.empty() || says_ids)) parts.emplace_back(R"("content":"")");
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string choice = choice_head(delta.choice) + "\"delta\":{" + parts[i] + "},\"logprobs\":";
    choice += i > 0 || delta.logprobs.empty() ? "null" : dump(logprobs_json(delta.logprobs));
    choice += ",\"finish_reason\":null";
    if (i == 0 && says_ids) choice += ",\"token_ids\":" + dump(OrderedJson(delta.ids));
    writer_.write(choice + "}", {}, usage, out);
  }
  if (!delta.finish.empty()) {
    writer_.write(fmt::format(R"({}"delta":{{}},"logprobs":null,"finish_reason":"{}",)"
                              R"("stop_reason":{}}})",
                              choice_head(delta.choice), delta.finish,
                              dump(stop_reason_json(delta.stop_reason))),
                  {}, usage, out);
  }
}

std::string ChatFormat::whole(std::vector<Delta> choices, const Usage& usage) {
  OrderedJson list = OrderedJson::array();
  for (const Delta& delta : choices) {
    OrderedJson choice = {{"index", delta.choice},
                          {"message", message_json(delta)},
                          {"logprobs", logprobs_json(delta.logprobs)},
                          {"finish_reason", delta.finish},
                          {"stop_reason", stop_reason_json(delta.stop_reason)}};
    if (show_.token_ids) choice["token_ids"] = delta.ids;
    list.push_back(std::move(choice));
  }
  OrderedJson json = {{"id", head_.id},
                      {"object", "chat.completion"},
                      {"created", head_.created},
                      {"model", head_.model},
                      {"choices", std::move(list)},
                      {"usage", usage_json(usage)},
                      {"system_fingerprint", head_.fingerprint}};
  if (show_.prompt_logprobs >= 0) {
    json["prompt_logprobs"] = prompt_logprobs_json(tokenizer_, prompt_logprobs_);
  }
  if (show_.token_ids) json["prompt_token_ids"] = prompt_ids_;
  return dump(json);
}

}  // namespace

std::unique_ptr<WireFormat> make_chat_format(AnswerHead head, std::shared_ptr<ChatRequest> request,
                                             std::vector<int32_t> prompt_ids,
                                             const text::Tokenizer& tokenizer) {
  return std::make_unique<ChatFormat>(std::move(head), std::move(request), std::move(prompt_ids),
                                      tokenizer);
}

}  // namespace ramjet::server

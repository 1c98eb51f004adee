#include <utility>

#include "base/json.h"
#include "server/responses/responses.h"

namespace ramjet::server {
namespace {

/// Text that was parsed before.
OrderedJson parsed(const std::string& text) {
  auto json = parse_ordered_json(text);
  return json.ok() ? std::move(json).value() : OrderedJson::object();
}

class ResponsesFormat final : public WireFormat {
 public:
  ResponsesFormat(AnswerHead head, ResponseFacts facts)
      : head_(std::move(head)), facts_(std::move(facts)), request_(parsed(facts_.body)) {}

  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {}
  void write_delta(const Delta& delta, const Usage& usage, std::string& out) override;
  void write_end(const Usage& usage, std::string& out) override;
  void write_error(const ApiError& error, std::string& out) override;
  std::string whole(std::vector<Delta> choices, const Usage& usage) override;

 private:
  enum class Item { kNone, kReasoning, kMessage, kCall };

  void event(const char* type, OrderedJson members, std::string& out);
  OrderedJson response_json(const char* status) const;
  OrderedJson at_item(const char* id_name = "item_id") const;
  OrderedJson part() const;
  void begin(Item item, const text::CallDelta* call, std::string& out);
  void end(std::string& out);
  void add(Item item, const std::string& text, std::string& out);
  /// The items so far, as messages for a conversation that goes on, are kept.
  OrderedJson finish(const Usage& usage);

  const AnswerHead head_;
  const ResponseFacts facts_;
  const OrderedJson request_;
  OrderedJson output_ = OrderedJson::array();
  OrderedJson item_;  // the one that is being written
  Item kind_ = Item::kNone;
  std::string text_;  // of it
  std::string finish_;
  int sequence_ = 0;
};

OrderedJson ResponsesFormat::response_json(const char* status) const {
  OrderedJson json = {{"id", head_.id},
                      {"object", "response"},
                      {"created_at", head_.created},
                      {"status", status},
                      {"background", false},
                      {"error", nullptr},
                      {"incomplete_details", nullptr},
                      {"model", head_.model},
                      {"output", output_}};
  const std::pair<const char*, OrderedJson> told[] = {{"instructions", nullptr},
                                                      {"max_output_tokens", nullptr},
                                                      {"metadata", OrderedJson::object()},
                                                      {"parallel_tool_calls", true},
                                                      {"previous_response_id", nullptr},
                                                      {"reasoning", nullptr},
                                                      {"store", true},
                                                      {"temperature", nullptr},
                                                      {"text", nullptr},
                                                      {"tool_choice", "auto"},
                                                      {"tools", OrderedJson::array()},
                                                      {"top_p", nullptr},
                                                      {"truncation", "disabled"},
                                                      {"user", nullptr}};
  for (const auto& [name, absent] : told) {
    json[name] = request_.contains(name) && !request_[name].is_null() ? request_[name] : absent;
  }
  if (json["text"].is_null()) json["text"]["format"]["type"] = "text";
  json["usage"] = nullptr;
  return json;
}

void ResponsesFormat::event(const char* type, OrderedJson members, std::string& out) {
  OrderedJson json = OrderedJson::object();
  json["type"] = type;
  json["sequence_number"] = sequence_++;
  json.update(members);
  out += fmt::format("event: {}\ndata: {}\n\n", type, dump(json));
}

OrderedJson ResponsesFormat::at_item(const char* id_name) const {
  OrderedJson json = OrderedJson::object();
  json[id_name] = item_["id"];
  json["output_index"] = output_.size();
  return json;
}

/// The one part of a message or of reasoning.
OrderedJson ResponsesFormat::part() const {
  OrderedJson json = OrderedJson::object();
  json["type"] = kind_ == Item::kReasoning ? "reasoning_text" : "output_text";
  json["text"] = text_;
  if (kind_ == Item::kMessage) {
    json["annotations"] = OrderedJson::array();
    json["logprobs"] = OrderedJson::array();
  }
  return json;
}

void ResponsesFormat::begin(Item item, const text::CallDelta* call, std::string& out) {
  if (kind_ == item && call == nullptr) return;
  end(out);
  kind_ = item;
  text_.clear();
  const std::string suffix = fmt::format("{}_{}", head_.id, output_.size());
  item_ = OrderedJson::object();
  if (item == Item::kReasoning) {
    item_ = {{"type", "reasoning"}, {"id", "rs_" + suffix}, {"summary", OrderedJson::array()}};
    item_["content"] = OrderedJson::array();
  } else if (item == Item::kMessage) {
    item_ = {{"type", "message"}, {"id", "msg_" + suffix}, {"role", "assistant"}};
    item_["content"] = OrderedJson::array();
  } else {
    item_ = {{"type", "function_call"},
             {"id", "fc_" + suffix},
             {"call_id", call->id},
             {"name", call->name},
             {"arguments", ""}};
  }
  item_["status"] = "in_progress";
  OrderedJson added = OrderedJson::object();
  added["output_index"] = output_.size();
  added["item"] = item_;
  event("response.output_item.added", std::move(added), out);
  if (item == Item::kCall) return;
  OrderedJson members = at_item();
  members["content_index"] = 0;
  members["part"] = part();
  event("response.content_part.added", std::move(members), out);
}

void ResponsesFormat::add(Item item, const std::string& text, std::string& out) {
  text_ += text;
  OrderedJson members = at_item();
  if (item != Item::kCall) members["content_index"] = 0;
  members["delta"] = text;
  if (item == Item::kMessage) members["logprobs"] = OrderedJson::array();
  event(item == Item::kReasoning ? "response.reasoning_text.delta"
        : item == Item::kMessage ? "response.output_text.delta"
                                 : "response.function_call_arguments.delta",
        std::move(members), out);
}

void ResponsesFormat::end(std::string& out) {
  if (kind_ == Item::kNone) return;
  item_["status"] = "completed";
  OrderedJson members = at_item();
  if (kind_ == Item::kCall) {
    item_["arguments"] = text_;
    members["name"] = item_["name"];
    members["arguments"] = text_;
    event("response.function_call_arguments.done", std::move(members), out);
  } else {
    members["content_index"] = 0;
    OrderedJson done = members;
    members["text"] = text_;
    if (kind_ == Item::kMessage) members["logprobs"] = OrderedJson::array();
    event(kind_ == Item::kReasoning ? "response.reasoning_text.done" : "response.output_text.done",
          std::move(members), out);
    done["part"] = part();
    item_["content"].push_back(done["part"]);
    event("response.content_part.done", std::move(done), out);
  }
  OrderedJson ended = OrderedJson::object();
  ended["output_index"] = output_.size();
  ended["item"] = item_;
  event("response.output_item.done", std::move(ended), out);
  output_.push_back(std::move(item_));
  kind_ = Item::kNone;
}

void ResponsesFormat::write_delta(const Delta& delta, const Usage& usage, std::string& out) {
  if (delta.first) {
    OrderedJson members = OrderedJson::object();
    members["response"] = response_json("in_progress");
    event("response.created", members, out);
    event("response.in_progress", std::move(members), out);
  }
  if (!delta.reasoning.empty()) {
    begin(Item::kReasoning, nullptr, out);
    add(Item::kReasoning, delta.reasoning, out);
  }
  if (!delta.text.empty()) {
    begin(Item::kMessage, nullptr, out);
    add(Item::kMessage, delta.text, out);
  }
  for (const text::CallDelta& call : delta.calls) {
    if (call.first) begin(Item::kCall, &call, out);
    if (!call.arguments.empty()) add(Item::kCall, call.arguments, out);
  }
  if (!delta.finish.empty()) finish_ = delta.finish;
}

OrderedJson ResponsesFormat::finish(const Usage& usage) {
  const bool cut = finish_ == "length";
  OrderedJson json = response_json(cut ? "incomplete" : "completed");
  if (cut) json["incomplete_details"]["reason"] = "max_output_tokens";
  json["usage"] = {{"input_tokens", usage.prompt_tokens},
                   {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                   {"output_tokens", usage.completion_tokens},
                   {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
                   {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  if (facts_.store == nullptr) return json;
  // The answer as an input of the next turn.
  OrderedJson next = OrderedJson::object();
  next["input"] = output_;
  OrderedJson chat = OrderedJson::object();
  OrderedJson messages;
  const OrderedJson earlier = parsed(facts_.messages);
  if (!responses_to_chat(next, earlier, chat, messages)) {
    facts_.store->put(head_.id, {dump(json), dump(messages)});
  }
  return json;
}

void ResponsesFormat::write_end(const Usage& usage, std::string& out) {
  end(out);
  OrderedJson members = OrderedJson::object();
  members["response"] = finish(usage);
  event(finish_ == "length" ? "response.incomplete" : "response.completed", std::move(members),
        out);
}

void ResponsesFormat::write_error(const ApiError& error, std::string& out) {
  OrderedJson members = OrderedJson::object();
  OrderedJson json = response_json("failed");
  json["error"] = {{"code", error.type}, {"message", error.message}};
  members["response"] = std::move(json);
  event("response.failed", std::move(members), out);
}

std::string ResponsesFormat::whole(std::vector<Delta> choices, const Usage& usage) {
  std::string events;  // the items are made on the way
  Delta& delta = choices.front();
  delta.first = false;
  write_delta(delta, usage, events);
  end(events);
  return dump(finish(usage));
}

}  // namespace

std::unique_ptr<WireFormat> make_responses_format(AnswerHead head, ResponseFacts facts) {
  return std::make_unique<ResponsesFormat>(std::move(head), std::move(facts));
}

}  // namespace ramjet::server

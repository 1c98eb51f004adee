#include "text/chat/chat_format.h"

#include <algorithm>

#include "base/hash.h"
#include "base/json.h"
#include "text/chat/unicode.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kNeedle = "RAMJET_PROBE";
constexpr int64_t kProbeSteps = 1'000'000;
// As in transformers: the space tells whether the template trims the message.
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kReservedNames[] = {"messages", "tools", "add_generation_prompt"};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// What one chat request renders: a context, and questions to the template about its tastes.
class ChatRequest {
 public:
  ChatRequest(const ChatTemplate& chat_template, const ChatInputs& inputs,
              const RenderOptions& options)
      : template_(chat_template), inputs_(inputs), options_(options) {}

  Result<std::string> render() {
    RETURN_IF_ERROR(check());
    RETURN_IF_ERROR(make_context());
    OrderedJson messages = OrderedJson::array();
    for (const OrderedJson& message : *inputs_.messages) messages.push_back(normalized(message));
    const bool has_calls =
        std::any_of(messages.begin(), messages.end(), [](const OrderedJson& message) {
          return message.contains("tool_calls") || message.contains("tool_call_id");
        });
    OrderedJson mended = has_calls ? messages : OrderedJson();
    choose_arguments(messages);
    auto text = render_messages(std::move(messages));
    if (text.ok() || !has_calls) return text;
    shape_calls(mended);
    auto second = render_messages(std::move(mended));
    return second.ok() ? std::move(second) : std::move(text);
  }

 private:
  Result<std::string> render_messages(OrderedJson messages) {
    RETURN_IF_ERROR(shape_content(messages));
    if (inputs_.continue_final_message) return render_continued(std::move(messages));
    context_["messages"] = std::move(messages);
    return template_.render(context_, options_);
  }

  Status check() const {
    const OrderedJson* messages = inputs_.messages;
    if (messages == nullptr || !messages->is_array()) {
      return invalid_argument("messages must be an array");
    }
    if (messages->empty()) return invalid_argument("messages is empty; give at least one message");
    for (size_t i = 0; i < messages->size(); ++i) {
      if (!(*messages)[i].is_object()) {
        return invalid_argument("messages[{}] must be an object, not {}", i,
                                (*messages)[i].type_name());
      }
    }
    if (inputs_.tools != nullptr && !inputs_.tools->is_array() && !inputs_.tools->is_null()) {
      return invalid_argument("tools must be an array");
    }
    if (inputs_.kwargs != nullptr && !inputs_.kwargs->is_object() && !inputs_.kwargs->is_null()) {
      return invalid_argument("chat_template_kwargs must be an object");
    }
    if (inputs_.continue_final_message && inputs_.add_generation_prompt) {
      return invalid_argument(
          "continue_final_message and add_generation_prompt exclude each other; set one of them");
    }
    return ok_status();
  }

  Status make_context() {
    if (!inputs_.bos_token.empty()) context_["bos_token"] = inputs_.bos_token;
    if (!inputs_.eos_token.empty()) context_["eos_token"] = inputs_.eos_token;
    context_["documents"] = nullptr;
    if (inputs_.kwargs != nullptr && inputs_.kwargs->is_object()) {
      for (const auto& [name, value] : inputs_.kwargs->items()) {
        if (std::find(std::begin(kReservedNames), std::end(kReservedNames), name) !=
            std::end(kReservedNames)) {
          return invalid_argument("chat_template_kwargs cannot set '{}'; it has a field of its own",
                                  name);
        }
        context_[name] = value;
      }
    }
    const bool has_tools = inputs_.tools != nullptr && !inputs_.tools->empty();
    context_["tools"] = has_tools ? *inputs_.tools : OrderedJson(nullptr);
    context_["add_generation_prompt"] = inputs_.add_generation_prompt;
    return ok_status();
  }

  /// Without null members, and with the reasoning under all names that templates read.
  static OrderedJson normalized(const OrderedJson& message) {
    OrderedJson out = OrderedJson::object();
    const OrderedJson* reasoning = nullptr;
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      if (reasoning == nullptr && message.contains(name) && !message[name].is_null()) {
        reasoning = &message[name];
      }
    }
    if (reasoning != nullptr) out["thinking"] = *reasoning;
    for (const auto& [name, value] : message.items()) {
      if (!value.is_null()) out[name] = value;
    }
    if (reasoning != nullptr) out["reasoning_content"] = *reasoning;
    return out;
  }

  /// Does the template show `needle` for these messages, and not as part of a dump of them?
  bool shows(OrderedJson messages, std::string_view needle, std::string_view dump_mark) {
    OrderedJson context = context_;
    context["messages"] = std::move(messages);
    RenderOptions options = options_;
    options.limits.max_steps = std::min(options.limits.max_steps, kProbeSteps);
    const auto text = template_.render(context, options);
    return text.ok() && contains(*text, needle) && !contains(*text, dump_mark);
  }

  static OrderedJson user_message(OrderedJson content) {
    return OrderedJson::array({{{"role", "user"}, {"content", std::move(content)}}});
  }
  static OrderedJson text_parts(std::string_view text) {
    return OrderedJson::array({{{"type", "text"}, {"text", text}}});
  }
  bool takes_parts() {
    const OrderedJson messages = user_message(text_parts(kNeedle));
    return shows(messages, kNeedle, "'type'") && shows(messages, kNeedle, "\"type\"");
  }
  bool takes_text() { return shows(user_message(kNeedle), kNeedle, "\xFF"); }

  /// Messages with a tool call whose arguments are `arguments`.
  bool takes_arguments(const OrderedJson& arguments) {
    OrderedJson messages = user_message("weather?");
    messages.push_back(
        {{"role", "assistant"},
         {"content", ""},
         {"tool_calls",
          OrderedJson::array({{{"id", "abcdefgh1"},
                               {"type", "function"},
                               {"function", {{"name", "probe"}, {"arguments", arguments}}}}})}});
    return shows(std::move(messages), kNeedle, "\\\"");
  }

  static bool has_text_arguments(const OrderedJson& call) {
    return call.is_object() && call.contains("function") && call["function"].is_object() &&
           call["function"].contains("arguments") && call["function"]["arguments"].is_string();
  }

  /// Arguments come as a JSON string from OpenAI clients; most templates want the object.
  void choose_arguments(OrderedJson& messages) {
    std::optional<bool> wants_object;
    for (OrderedJson& message : messages) {
      if (!message.contains("tool_calls") || !message["tool_calls"].is_array()) continue;
      for (OrderedJson& call : message["tool_calls"]) {
        if (!has_text_arguments(call)) continue;
        if (!wants_object) {
          const OrderedJson object = {{"city", kNeedle}};
          wants_object = takes_arguments(object) || !takes_arguments(object.dump());
        }
        if (*wants_object) parse_object(call["function"]["arguments"]);
      }
    }
  }

  /// What spells no object stays as it is: the model said so.
  static void parse_object(OrderedJson& arguments) {
    const auto& text = arguments.get_ref<const std::string&>();
    if (text.empty()) {
      arguments = OrderedJson::object();
    } else if (auto parsed = parse_ordered_json(text); parsed.ok() && parsed->is_object()) {
      arguments = std::move(*parsed);
    }
  }

  /// What stands for the content of a message that only calls tools.
  enum class Silence { kAbsent, kEmpty, kNull };

  static void set_content(OrderedJson& message, Silence silence) {
    if (silence == Silence::kAbsent) message.erase("content");
    if (silence == Silence::kEmpty) message["content"] = "";
    if (silence == Silence::kNull) message["content"] = nullptr;
  }

  /// Does the template show a tool call with these arguments?
  bool takes_call(const OrderedJson& arguments, Silence silence) {
    OrderedJson messages = user_message("weather?");
    OrderedJson message = {
        {"role", "assistant"},
        {"content", ""},
        {"tool_calls",
         OrderedJson::array({{{"id", "abcdefgh1"},
                              {"type", "function"},
                              {"function", {{"name", "probe"}, {"arguments", arguments}}}}})}};
    set_content(message, silence);
    messages.push_back(std::move(message));
    return shows(std::move(messages), kNeedle, "\\\"");
  }

  struct CallShape {
    Silence silence = Silence::kAbsent;
    bool object_arguments = true;
    bool text_arguments = false;  // any text will do
  };

  /// The first form of a silent message that the template shows; `given` is tried first.
  CallShape call_shape(Silence given) {
    const OrderedJson object = {{"city", kNeedle}};
    for (Silence silence : {given, Silence::kEmpty, Silence::kNull, Silence::kAbsent}) {
      const bool takes_object = takes_call(object, silence);
      if (!takes_object && !takes_call(object.dump(), silence)) continue;
      return {silence, takes_object, takes_call(kNeedle, silence)};
    }
    return {given, true, false};
  }

  static bool is_silent(const OrderedJson& message) {
    return !message.contains("content") || message["content"].is_null() || message["content"] == "";
  }

  /// For a template that fails on what was sent: calls of earlier turns in the form that it reads.
  /// What clients send of them may be anything, and must not make a conversation fail for good.
  void shape_calls(OrderedJson& messages) {
    std::optional<CallShape> shapes[2];  // for content that is absent, and for an empty string
    const bool short_ids = contains(template_.source(), "[TOOL_CALLS]");
    for (OrderedJson& message : messages) {
      if (short_ids) shorten_id(message, "tool_call_id");
      if (!message.contains("tool_calls")) continue;
      OrderedJson calls = OrderedJson::array();
      if (message["tool_calls"].is_array()) {
        for (OrderedJson& call : message["tool_calls"]) {
          if (call.is_object()) calls.push_back(std::move(call));
        }
      }
      if (calls.empty()) {
        message.erase("tool_calls");
        continue;
      }
      const bool empty = message.contains("content") && message["content"] == "";
      std::optional<CallShape>& shape = shapes[empty ? 1 : 0];
      if (!shape) shape = call_shape(empty ? Silence::kEmpty : Silence::kAbsent);
      for (OrderedJson& call : calls) {
        if (short_ids) shorten_id(call, "id");
        shape_arguments(call, *shape);
      }
      message["tool_calls"] = std::move(calls);
      if (is_silent(message)) set_content(message, shape->silence);
    }
  }

  static void shape_arguments(OrderedJson& call, const CallShape& shape) {
    if (!call.contains("function") || !call["function"].is_object()) return;
    OrderedJson& function = call["function"];
    if (!function.contains("arguments") || function["arguments"].is_null()) {
      function["arguments"] = OrderedJson::object();
    }
    OrderedJson& arguments = function["arguments"];
    if (!shape.object_arguments && !arguments.is_string()) arguments = arguments.dump();
    if (shape.object_arguments && arguments.is_string()) parse_arguments(arguments, shape);
  }

  /// What spells no object stays as it is, if the template can show it: the model said so.
  static void parse_arguments(OrderedJson& arguments, const CallShape& shape) {
    const auto& text = arguments.get_ref<const std::string&>();
    if (text.empty()) {
      arguments = OrderedJson::object();
    } else if (auto parsed = parse_ordered_json(text); parsed.ok() && parsed->is_object()) {
      arguments = std::move(*parsed);
    } else if (!shape.text_arguments) {
      arguments = OrderedJson{{"arguments", text}};
    }
  }

  /// Mistral's templates take ids of nine letters and digits: others get such a name.
  static void shorten_id(OrderedJson& holder, const char* member) {
    if (!holder.contains(member) || !holder[member].is_string()) return;
    const auto id = holder[member].get<std::string>();
    if (id.size() != 9) holder[member] = hash128(id).hex().substr(0, 9);
  }

  Status shape_content(OrderedJson& messages) {
    const auto has = [&](auto is_type) {
      return std::any_of(messages.begin(), messages.end(), [&](const OrderedJson& m) {
        return m.contains("content") && is_type(m["content"]);
      });
    };
    const bool reads_parts = contains(template_.source(), "text");
    if (has([](const OrderedJson& c) { return c.is_array(); }) && !(reads_parts && takes_parts())) {
      return flatten(messages);
    }
    if (has([](const OrderedJson& c) { return c.is_string(); }) && reads_parts && !takes_text() &&
        takes_parts()) {
      for (OrderedJson& message : messages) {
        if (!message.contains("content") || !message["content"].is_string()) continue;
        message["content"] = text_parts(message["content"].get_ref<const std::string&>());
      }
    }
    return ok_status();
  }

  static Status flatten(OrderedJson& messages) {
    for (size_t i = 0; i < messages.size(); ++i) {
      OrderedJson& message = messages[i];
      if (!message.contains("content") || !message["content"].is_array()) continue;
      std::string joined;
      bool is_first = true;
      for (const OrderedJson& part : message["content"]) {
        const OrderedJson* text = &part;
        if (part.is_object()) text = part.contains("text") ? &part["text"] : nullptr;
        if (text == nullptr || !text->is_string()) {
          return invalid_argument(
              "messages[{}].content has a part without text, but this model takes text only", i);
        }
        if (!is_first) joined += '\n';
        is_first = false;
        joined += text->get_ref<const std::string&>();
      }
      message["content"] = std::move(joined);
    }
    return ok_status();
  }

  /// The text of the final message to continue, marked at its end; null when there is none.
  static OrderedJson* final_text(OrderedJson& messages) {
    OrderedJson& last = messages.back();
    if (!last.contains("content")) return nullptr;
    OrderedJson& content = last["content"];
    if (content.is_string()) return &content;
    if (!content.is_array()) return nullptr;
    for (auto part = content.rbegin(); part != content.rend(); ++part) {
      if (part->is_object() && part->contains("text") && (*part)["text"].is_string()) {
        return &(*part)["text"];
      }
    }
    return nullptr;
  }

  Result<std::string> render_continued(OrderedJson messages) {
    OrderedJson* text = final_text(messages);
    if (text == nullptr) {
      return invalid_argument("continue_final_message: the final message has no text to continue");
    }
    const auto final_message = text->get<std::string>();
    *text = final_message + std::string(kContinueTag);
    context_["messages"] = std::move(messages);
    ASSIGN_OR_RETURN(std::string rendered, template_.render(context_, options_));
    const std::string_view tag = chat::strip(kContinueTag);
    const size_t at = rendered.rfind(tag);
    if (at == std::string::npos || !contains(rendered, chat::strip(final_message))) {
      return invalid_argument(
          "continue_final_message: the chat template changes or drops the final message, so that "
          "it cannot be continued");
    }
    const bool keeps_space = std::string_view(rendered).substr(at).starts_with(kContinueTag);
    rendered.resize(at);
    // The template trims messages: so must what the message ended with.
    if (!keeps_space) rendered.resize(chat::strip_right(rendered).size());
    return rendered;
  }

  const ChatTemplate& template_;
  const ChatInputs& inputs_;
  const RenderOptions& options_;
  OrderedJson context_ = OrderedJson::object();
};

}  // namespace

Result<std::string> render_chat(const ChatTemplate& chat_template, const ChatInputs& inputs,
                                const RenderOptions& options) {
  return ChatRequest(chat_template, inputs, options).render();
}

}  // namespace ramjet::text

// Hostile templates and contexts: any bytes compile and render, or fail with a message.
// Input: the template, then optionally "\n---\n" and the context as JSON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "text/chat/chat_format.h"
#include "text/chat/chat_template.h"

namespace {

constexpr std::string_view kSeparator = "\n---\n";
constexpr std::string_view kDefaultContext =
    R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo",
        "tool_calls":[{"function":{"name":"f","arguments":{"a":[1,2.5,null]}}}]}],
        "tools":[{"type":"function"}],"s":"Straße","n":7,"f":0.5,"l":[3,1,2],"d":{"a":{"b":1}},
        "add_generation_prompt":true})";

void check_error(const ramjet::Error& error) {
  CHECK(error.code != ramjet::ErrorCode::kInternal, error.message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find(kSeparator);
  const auto compiled = ramjet::text::ChatTemplate::compile(std::string(input.substr(0, cut)));
  if (!compiled.ok()) {
    check_error(compiled.error());
    return 0;
  }
  auto context = ramjet::parse_ordered_json(
      cut == std::string_view::npos ? kDefaultContext : input.substr(cut + kSeparator.size()));
  if (!context.ok() || !context->is_object()) {
    context = ramjet::parse_ordered_json(kDefaultContext);
  }
  ramjet::text::RenderOptions options;
  options.now = ramjet::text::TemplateTime{2024, 7, 26, 12, 34, 56, 0, {}};
  options.limits.max_steps = 200'000;
  options.limits.max_memory_bytes = 16 << 20;
  options.limits.max_output_bytes = 1 << 20;
  const auto rendered = compiled->render(*context, options);
  if (rendered.ok()) {
    CHECK(rendered->size() <= options.limits.max_output_bytes);
  } else {
    check_error(rendered.error());
  }
  if (context->contains("messages")) {
    const ramjet::OrderedJson messages = (*context)["messages"];
    ramjet::text::ChatInputs inputs;
    inputs.messages = &messages;
    const auto chat = ramjet::text::render_chat(*compiled, inputs, options);
    if (!chat.ok()) check_error(chat.error());
  }
  return 0;
}

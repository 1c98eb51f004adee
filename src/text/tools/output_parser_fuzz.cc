// Fuzzes the parsers of model output: any text in any pieces, under every format. The message is
// the same in whatever pieces it comes, and calls are always whole.
#include <cstdlib>

#include "base/json.h"
#include "text/tools/output_parser.h"

namespace ramjet::text {
namespace {

constexpr const char* kTemplates[] = {
    "<think> <tool_call>",
    "<think> <|start_header_id|>",
    "<tool_call> <parameter=",
    "<think> <arg_key>",
    "[TOOL_CALLS] [THINK]",
    "<think> <｜tool▁calls▁begin｜>",
    "<|tool_calls_section_begin|>",
    "<|tool_call|>",
    "<|tool|>",
    "<|tool_call> <|channel>thought",
    "<|channel|> <|message|>",
    "<minimax:tool_call>",
    "plain",
};

MessageDelta parse(const std::shared_ptr<const ParserSetup>& setup, std::string_view text,
                   size_t piece) {
  const auto parser = make_output_parser(setup);
  MessageDelta message;
  for (size_t at = 0; at < text.size(); at += piece) {
    append(message, parser->push(text.substr(at, piece)));
  }
  append(message, parser->finish());
  return message;
}

std::string show(const MessageDelta& message) {
  std::string out = message.reasoning + "|" + message.content;
  for (const CallDelta& call : message.calls) {
    const auto json = parse_json(call.arguments);
    if (!json.ok() || !json->is_object() || call.name.empty()) std::abort();
    out += "|" + call.id + "|" + call.name + "|" + call.arguments;
  }
  return out;
}

}  // namespace
}  // namespace ramjet::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace text = ramjet::text;
  if (size < 2) return 0;
  const std::string_view output(reinterpret_cast<const char*>(data) + 2, size - 2);
  auto setup = std::make_shared<text::ParserSetup>();
  setup->format =
      text::OutputFormat::of_template(text::kTemplates[data[0] % std::size(text::kTemplates)]);
  setup->tools = std::make_shared<const text::ToolSchemas>();
  if ((data[1] & 1) != 0) setup->starts_in_reasoning = !setup->format.reasoning_open.empty();
  if ((data[1] & 2) != 0) setup->hidden = setup->markers();
  const std::string whole = text::show(text::parse(setup, output, size));
  if (text::show(text::parse(setup, output, 1)) != whole) std::abort();
  if (text::show(text::parse(setup, output, 1 + data[1] / 8)) != whole) std::abort();
  return 0;
}

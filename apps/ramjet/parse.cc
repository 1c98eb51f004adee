// ramjet parse: a model's output, as text on stdin, to the message a server would make of it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/chat/chat_format.h"
#include "text/tools/output_parser.h"

namespace ramjet {
namespace {

struct Options {
  std::string template_path;
  std::string tools_path;
  std::string kwargs = "{}";
  bool json = false;
};

std::string read_stdin() {
  std::string out;
  char block[65536];
  while (const size_t size = std::fread(block, 1, sizeof(block), stdin)) out.append(block, size);
  return out;
}

/// An array of tools, or an object with one under "tools".
Result<OrderedJson> read_tools(const std::string& path) {
  if (path.empty()) return OrderedJson::array();
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  auto json = parse_ordered_json(file.text());
  if (!json.ok()) return json.error().with_context(path);
  OrderedJson tools = std::move(json).value();
  if (tools.is_object() && tools.contains("tools")) tools = OrderedJson(tools["tools"]);
  if (!tools.is_array()) return invalid_argument("{}: the tools must be an array", path);
  return tools;
}

/// The end of a prompt by this template; empty where it takes no such conversation.
std::string prompt_of(const text::ChatTemplate& chat_template, const OrderedJson& tools,
                      const OrderedJson& kwargs) {
  const OrderedJson messages = OrderedJson::parse(R"([{"role":"user","content":"Hello"}])");
  const auto prompt =
      text::render_chat(chat_template, {.messages = &messages, .tools = &tools, .kwargs = &kwargs});
  return prompt.ok() ? *prompt : "";
}

/// The tokens by which models end are no text when they come as tokens.
void drop_end_token(std::string& text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  const std::string_view body = std::string_view(text).substr(0, end + 1);
  for (std::string_view token :
       {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>",
        "<｜end▁of▁sentence｜>", "</s>", "<|observation|>", "<turn|>", "<end_of_turn>"}) {
    if (body.ends_with(token)) return text.resize(body.size() - token.size());
  }
}

text::MessageDelta parse_message(text::ParserSetup setup, const std::string& output) {
  // Without its prompt, an output that ends reasoning must have been begun within it.
  const text::OutputFormat& format = setup.format;
  if (!format.reasoning_close.empty()) {
    const size_t close = output.find(format.reasoning_close);
    setup.starts_in_reasoning =
        close != std::string::npos && output.find(format.reasoning_open) > close;
  }
  const auto parser =
      text::make_output_parser(std::make_shared<const text::ParserSetup>(std::move(setup)));
  text::MessageDelta message = parser->push(output);
  text::append(message, parser->finish());
  return message;
}

OrderedJson text_or_null(const std::string& text, bool is_null) {
  return is_null ? OrderedJson(nullptr) : OrderedJson(text);
}

int run(const Options& options) {
  const auto file = MappedFile::open(options.template_path);
  if (!file.ok()) return fail(file.error());
  const auto tools = read_tools(options.tools_path);
  if (!tools.ok()) return fail(tools.error());
  const auto kwargs = parse_ordered_json(options.kwargs);
  if (!kwargs.ok()) return fail(kwargs.error().with_context("--kwargs"));
  const auto compiled = text::ChatTemplate::compile(std::string(file->text()));
  if (!compiled.ok()) return fail(compiled.error().with_context(options.template_path));

  text::ParserSetup setup;
  setup.format = text::OutputFormat::of_template(file->text());
  setup.tools = std::make_shared<const text::ToolSchemas>(*tools);
  const std::string prompt = prompt_of(*compiled, *tools, *kwargs);
  setup.prompt_tail =
      prompt.substr(prompt.size() - std::min(prompt.size(), text::kPromptTailBytes));
  const std::string format = setup.format.name;
  const bool short_ids = setup.format.has_short_ids;
  std::string output = read_stdin();
  drop_end_token(output);
  const text::MessageDelta message = parse_message(std::move(setup), output);

  OrderedJson calls = OrderedJson::array();
  for (const text::CallDelta& call : message.calls) {
    calls.push_back({{"id", call.id.empty() ? text::make_call_id(short_ids) : call.id},
                     {"type", "function"},
                     {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  const bool silent = message.content.empty() && !message.calls.empty();
  print_json({{"content", text_or_null(message.content, silent)},
              {"reasoning", text_or_null(message.reasoning, message.reasoning.empty())},
              {"tool_calls", std::move(calls)},
              {"format", format}});
  return 0;
}

}  // namespace

void add_parse_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand(
      "parse", "Split a model's output (stdin) into content, reasoning and tool calls");
  auto options = std::make_shared<Options>();  // owned by the callback
  command->add_option("--template", options->template_path, "the model's chat template")
      ->required();
  command->add_option("--tools", options->tools_path, "JSON array of the tools it was offered");
  command->add_option("--kwargs", options->kwargs,
                      "JSON object of the template's arguments, as {\"enable_thinking\":false}");
  command->add_flag("--json", options->json, "what it prints in any case");
  command->callback([options, &runner] { runner.run = [options] { return run(*options); }; });
}

}  // namespace ramjet

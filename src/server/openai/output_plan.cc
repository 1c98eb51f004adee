#include "server/openai/output_plan.h"

#include <algorithm>

#include "base/json.h"

namespace ramjet::server {

std::shared_ptr<const OutputPlan> plan_output(const ModelHost& host, const ChatRequest& request,
                                              std::string_view prompt) {
  auto setup = std::make_shared<text::ParserSetup>();
  setup->format = request.prompt.chat_template.empty()
                      ? host.output_format()
                      : text::OutputFormat::of_template(request.prompt.chat_template);
  const bool has_tools = request.prompt.tools != nullptr;
  const bool reasons = setup->format.is_harmony || !setup->format.reasoning_open.empty();
  const ToolChoice& choice = request.prompt.tool_choice;
  const bool named = choice.kind == ToolChoice::Kind::kNamed;
  const bool required = choice.kind == ToolChoice::Kind::kRequired;
  // What a grammar shapes from its first byte is the answer itself.
  const bool shaped = !request.common.grammar.empty() && !named && !required;
  if (shaped || (!has_tools && !reasons)) return nullptr;

  if (has_tools) setup->tools = std::make_shared<text::ToolSchemas>(*request.prompt.tools);
  if (!choice.parallel) setup->max_calls = 1;
  setup->prompt_tail =
      prompt.substr(prompt.size() - std::min(prompt.size(), text::kPromptTailBytes));
  auto plan = std::make_shared<OutputPlan>();
  if (required) setup->shape = text::ParserSetup::Shape::kCallList;
  if (named) {
    setup->shape = text::ParserSetup::Shape::kArguments;
    setup->function = choice.function;
    plan->says_tool_calls = false;  // as OpenAI has it
  }
  if (request.common.text.skip_special) {
    const text::Tokenizer& tokenizer = host.tokenizer();
    for (std::string& marker : setup->markers()) {
      const auto id = tokenizer.token_id(marker);
      if (!id || !tokenizer.is_special(*id)) continue;
      setup->hidden.push_back(marker);
      plan->markers.emplace_back(*id, std::move(marker));
    }
  }
  plan->setup = std::move(setup);
  return plan;
}

}  // namespace ramjet::server

#include "text/tools/output_parser.h"

namespace ramjet::text {

void append_calls(std::vector<CallDelta>& calls, std::vector<CallDelta>&& more) {
  for (CallDelta& call : more) {
    if (call.first || calls.empty()) {
      calls.push_back(std::move(call));
    } else {
      calls.back().arguments += call.arguments;
    }
  }
}

void append(MessageDelta& message, MessageDelta&& piece) {
  message.reasoning += piece.reasoning;
  message.content += piece.content;
  append_calls(message.calls, std::move(piece.calls));
}

std::unique_ptr<OutputParser> make_output_parser(std::shared_ptr<const ParserSetup> setup) {
  switch (setup->shape) {
    case ParserSetup::Shape::kCallList: return make_call_list_parser(std::move(setup));
    case ParserSetup::Shape::kArguments: return make_arguments_parser(std::move(setup));
    case ParserSetup::Shape::kModel: break;
  }
  if (setup->format.is_harmony) return make_harmony_parser(std::move(setup));
  return make_marked_parser(std::move(setup));
}

}  // namespace ramjet::text

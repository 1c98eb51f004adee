#include "text/tools/output_parser.h"

namespace ramjet::text {

void append(MessageDelta& message, MessageDelta&& piece) {
  message.reasoning += piece.reasoning;
  message.content += piece.content;
  for (CallDelta& call : piece.calls) {
    if (call.first || message.calls.empty()) {
      message.calls.push_back(std::move(call));
    } else {
      message.calls.back().arguments += call.arguments;
    }
  }
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

// OutputPlan: how the text of a chat request's answers becomes a message: which parser, from which
// state, and which special tokens it must see though clients do not.
//
// Immutable, shared by the sequences of a request.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/model_host.h"
#include "server/openai/request.h"
#include "text/tools/output_parser.h"

namespace ramjet::server {

struct OutputPlan {
  std::shared_ptr<const text::ParserSetup> setup;  // with the parsers
  std::vector<std::pair<int32_t, std::string>> markers;
  bool says_tool_calls = true;  // as the reason why an answer with calls ended
};

/// Null where the text is the message as it stands: a model without reasoning, a request without
/// tools. `prompt`: as rendered.
std::shared_ptr<const OutputPlan> plan_output(const ModelHost& host, const ChatRequest& request,
                                              std::string_view prompt);

}  // namespace ramjet::server

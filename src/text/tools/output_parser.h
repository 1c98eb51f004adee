// OutputParser: a model's text in, piece by piece; content, reasoning and tool calls out.
//
// One per sequence, one thread; shares its setup. The result is the same in whatever pieces the
// text comes. Nothing of a marker is ever shown: what may become one is held back, and nothing else
// is. A call that only the model's good will shapes is told once it is complete and its arguments
// are a JSON object, so that no client ever sees half a call; what turns out to be none is content.
// A call whose shape a grammar guarantees (Shape::kCallList, kArguments) is told as it comes. White
// space between a block and what is around it is dropped.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tools/output_format.h"
#include "text/tools/tool_schemas.h"

namespace ramjet::text {

/// A piece of a call. The first piece of each has `first`, `name`, and `id` if the model gave one.
struct CallDelta {
  int index = 0;
  bool first = false;
  std::string id;
  std::string name;
  std::string arguments;  // a fragment; all of one call's, joined, are a JSON object
};

struct MessageDelta {
  std::string reasoning;
  std::string content;
  std::vector<CallDelta> calls;

  bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
};

/// Appends `more`, of which those that go on with a call are put together with it.
void append_calls(std::vector<CallDelta>& calls, std::vector<CallDelta>&& more);
void append(MessageDelta& message, MessageDelta&& piece);

struct ParserSetup {
  enum class Shape {
    kModel,      // what the model's format says
    kCallList,   // a grammar made it a JSON array of {"name", "parameters"}
    kArguments,  // a grammar made it the arguments of `function`
  };
  Shape shape = Shape::kModel;
  OutputFormat format;
  std::shared_ptr<const ToolSchemas> tools;  // with the request; null: calls are not looked for
  std::string function;
  int max_calls = 1 << 20;  // those behind it are dropped
  /// The end of the prompt: it may have begun the reasoning, or a channel.
  std::string prompt_tail;
  bool starts_in_reasoning = false;  // beside what the prompt says
  /// Markers that are special tokens: not shown in what turned out to be no call.
  std::vector<std::string> hidden;

  bool wants_calls() const { return tools != nullptr; }
  /// The markers that the parser must see even if they are special tokens.
  std::vector<std::string> markers() const { return format.markers(wants_calls()); }
};

class OutputParser {
 public:
  virtual ~OutputParser() = default;
  virtual MessageDelta push(std::string_view piece) = 0;
  /// The end of the text: what was held back. Call once.
  virtual MessageDelta finish() = 0;
  virtual bool is_reasoning() const = 0;
};

/// `setup` is shared with the parsers of the request's other sequences.
std::unique_ptr<OutputParser> make_output_parser(std::shared_ptr<const ParserSetup> setup);

/// How much of a prompt make_output_parser() looks at.
inline constexpr size_t kPromptTailBytes = 256;

// The families behind make_output_parser().
std::unique_ptr<OutputParser> make_marked_parser(std::shared_ptr<const ParserSetup> setup);
std::unique_ptr<OutputParser> make_harmony_parser(std::shared_ptr<const ParserSetup> setup);
std::unique_ptr<OutputParser> make_call_list_parser(std::shared_ptr<const ParserSetup> setup);
std::unique_ptr<OutputParser> make_arguments_parser(std::shared_ptr<const ParserSetup> setup);

}  // namespace ramjet::text

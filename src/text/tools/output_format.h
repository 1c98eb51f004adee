// OutputFormat: how a model marks its reasoning and its tool calls, read off its chat template.
//
// Plain data, immutable once made. docs/tools.md lists the formats.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ramjet::text {

enum class CallSyntax {
  kJson,      // marker, then {"name", "arguments"} or an array of such, then maybe a closing marker
  kBareJson,  // the same without markers, as all of the message: Llama 3
  kMistral,   // [TOOL_CALLS][{...}] and [TOOL_CALLS]name[ARGS]{...}
  kDeepSeek,  // marker tokens around a name and JSON arguments
  kKimi,      // likewise, with ids
  kNamed,     // <function=name>{arguments}</function>
  kParameter,  // <function=name><parameter=key>value</parameter></function>
  kKeyValue,   // <tool_call>name<arg_key>..</arg_key><arg_value>..</arg_value></tool_call>
  kGemma,      // <|tool_call>call:name{key:<|"|>text<|"|>}<tool_call|>
};

/// A kind of block that holds calls.
struct CallBlock {
  CallSyntax syntax = CallSyntax::kJson;
  std::string open;
  std::string close;  // kJson: may be missing
};

struct OutputFormat {
  std::string name = "json";  // as documented: "hermes", "llama3", ...
  std::vector<CallBlock> blocks;
  /// Around calls, and nothing by themselves.
  std::vector<std::string> brackets;
  bool takes_bare_json = false;
  /// A call's marker is a special token, so that it ends open reasoning.
  bool calls_end_reasoning = false;
  bool is_harmony = false;
  bool has_short_ids = false;  // nine letters and digits
  std::string reasoning_open;  // empty: the model does not say what it thinks
  std::string reasoning_close;

  /// Every marker a parser of this format must see, special tokens or not. Without `with_calls`
  /// those of reasoning alone.
  std::vector<std::string> markers(bool with_calls) const;

  /// The format that a template's text speaks of; for one that knows no tools, JSON with or without
  /// <tool_call> around it.
  static OutputFormat of_template(std::string_view source);
};

/// A fresh id for a call: "call_" and 24 letters and digits, or nine of them.
std::string make_call_id(bool is_short);

}  // namespace ramjet::text

// render_chat: messages, tools and options of a chat request through a model's chat template, by
// the conventions of `transformers`' apply_chat_template.
//
// Free function without state; callable from any thread. Borrows its inputs for the call.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "text/chat/chat_template.h"

namespace ramjet::text {

struct ChatInputs {
  const nlohmann::ordered_json* messages = nullptr;  // required: an array of message objects
  const nlohmann::ordered_json* tools = nullptr;     // an array, or null for none
  const nlohmann::ordered_json* kwargs = nullptr;    // an object (chat_template_kwargs), or null
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // excludes add_generation_prompt
  std::string bos_token;                // empty: undefined in the template
  std::string eos_token;
};

/// The prompt text. What happens before the template sees a message:
/// * members that are null are dropped (OpenAI clients send `content: null`);
/// * `reasoning_content`, `thinking` and `reasoning` stand in for each other;
/// * `tool_calls[].function.arguments` given as a JSON string becomes the object it spells;
/// * content given as parts becomes one string (text parts joined by newlines) when the template
///   takes strings only.
/// `tools` and `documents` are none where not given. With continue_final_message the text ends with
/// the final message, unclosed.
/// Where the template then fails and there are tool calls, it gets them once more in a form that it
/// shows: arguments as text or object (what spells none under "arguments"), `content` absent, "" or
/// null beside calls, ids of nine letters for Mistral's.
/// Errors: those of ChatTemplate::render; kInvalidArgument for inputs of the wrong shape, for a
/// part that is not text where only strings fit, and for a final message the template drops.
Result<std::string> render_chat(const ChatTemplate& chat_template, const ChatInputs& inputs,
                                const RenderOptions& options = {});

}  // namespace ramjet::text

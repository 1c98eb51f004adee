#include "text/tools/output_format.h"

#include <random>

namespace ramjet::text {
namespace {

struct Row {
  const char* needle;  // in the template
  const char* name;
  CallSyntax syntax;
  const char* open;
  const char* close;
};

// The first row whose needle the template has, from the most telling to the least.
constexpr Row kRows[] = {
    {"<｜tool▁calls▁begin｜>", "deepseek", CallSyntax::kDeepSeek, "<｜tool▁call▁begin｜>",
     "<｜tool▁call▁end｜>"},
    {"<|tool_calls_section_begin|>", "kimi", CallSyntax::kKimi, "<|tool_call_begin|>",
     "<|tool_call_end|>"},
    {"<|tool_call>", "gemma", CallSyntax::kGemma, "<|tool_call>", "<tool_call|>"},
    {"<arg_key>", "glm", CallSyntax::kKeyValue, "<tool_call>", "</tool_call>"},
    {"<minimax:tool_call>", "minimax", CallSyntax::kParameter, "<minimax:tool_call>",
     "</minimax:tool_call>"},
    {"<seed:tool_call>", "seed", CallSyntax::kParameter, "<seed:tool_call>", "</seed:tool_call>"},
    {"<parameter=", "qwen3-coder", CallSyntax::kParameter, "<tool_call>", "</tool_call>"},
    {"[TOOL_CALLS]", "mistral", CallSyntax::kMistral, "[TOOL_CALLS]", ""},
    {"<|tool_call|>", "granite", CallSyntax::kJson, "<|tool_call|>", "<|/tool_call|>"},
    {"<|tool|>", "phi4", CallSyntax::kJson, "<|tool_call|>", "<|/tool_call|>"},
    {"<TOOLCALL>", "nemotron", CallSyntax::kJson, "<TOOLCALL>", "</TOOLCALL>"},
    {"<|START_ACTION|>", "command-r", CallSyntax::kJson, "<|START_ACTION|>", "<|END_ACTION|>"},
    {"<tool_calls>", "jamba", CallSyntax::kJson, "<tool_calls>", "</tool_calls>"},
    {"<tool_call>", "hermes", CallSyntax::kJson, "<tool_call>", "</tool_call>"},
    {"<|python_tag|>", "llama3", CallSyntax::kBareJson, "<|python_tag|>", ""},
    {"<|start_header_id|>", "llama3", CallSyntax::kBareJson, "<|python_tag|>", ""},
};

struct Thinking {
  const char* needle;
  const char* open;
  const char* close;
};

constexpr Thinking kThinking[] = {
    {"<|channel>thought", "<|channel>thought", "<channel|>"},
    {"<seed:think>", "<seed:think>", "</seed:think>"},
    {"[THINK]", "[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"},
    {"<think>", "<think>", "</think>"},
    {"</think>", "<think>", "</think>"},
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void add_syntax(const Row& row, OutputFormat& format) {
  format.name = row.name;
  format.blocks.push_back({row.syntax, row.open, row.close});
  switch (row.syntax) {
    case CallSyntax::kDeepSeek:
      format.brackets = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"};
      format.calls_end_reasoning = true;
      break;
    case CallSyntax::kKimi:
      format.brackets = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"};
      format.calls_end_reasoning = true;
      break;
    case CallSyntax::kParameter:
      // The outer marker is at times forgotten.
      if (format.name == "minimax") {
        format.blocks.push_back({row.syntax, "<invoke name=", ""});
      } else {
        format.blocks.push_back({row.syntax, "<function=", ""});
      }
      break;
    case CallSyntax::kMistral: format.has_short_ids = true; break;
    case CallSyntax::kBareJson:
      format.blocks.push_back({CallSyntax::kNamed, "<function=", "</function>"});
      format.takes_bare_json = true;
      break;
    default: break;
  }
  if (format.name == "granite") {
    format.blocks.push_back({CallSyntax::kJson, "<tool_call>", "</tool_call>"});
  }
  if (format.name == "phi4") format.blocks.push_back({CallSyntax::kJson, "functools[", ""});
}

}  // namespace

OutputFormat OutputFormat::of_template(std::string_view source) {
  OutputFormat format;
  if (contains(source, "<|channel|>") && contains(source, "<|message|>")) {
    format.name = "harmony";
    format.is_harmony = true;
    return format;
  }
  for (const Thinking& thinking : kThinking) {
    if (!contains(source, thinking.needle)) continue;
    format.reasoning_open = thinking.open;
    format.reasoning_close = thinking.close;
    break;
  }
  for (const Row& row : kRows) {
    if (!contains(source, row.needle)) continue;
    add_syntax(row, format);
    return format;
  }
  format.blocks.push_back({CallSyntax::kJson, "<tool_call>", "</tool_call>"});
  format.takes_bare_json = true;
  return format;
}

std::vector<std::string> OutputFormat::markers(bool with_calls) const {
  if (is_harmony) {
    return {"<|start|>",     "<|channel|>", "<|message|>", "<|end|>",
            "<|constrain|>", "<|call|>",    "<|return|>"};
  }
  std::vector<std::string> out;
  const auto add = [&](const std::string& marker) {
    if (!marker.empty()) out.push_back(marker);
  };
  add(reasoning_open);
  add(reasoning_close);
  // Gemma's marker is a special token and a word.
  if (reasoning_open == "<|channel>thought") add("<|channel>");
  if (!with_calls) return out;
  for (const CallBlock& block : blocks) {
    add(block.open);
    add(block.close);
    if (block.syntax == CallSyntax::kMistral) out.insert(out.end(), {"[CALL_ID]", "[ARGS]"});
    if (block.syntax == CallSyntax::kDeepSeek) out.push_back("<｜tool▁sep｜>");
    if (block.syntax == CallSyntax::kKimi) out.push_back("<|tool_call_argument_begin|>");
    if (block.syntax == CallSyntax::kGemma) out.push_back("<|\"|>");
    if (block.syntax == CallSyntax::kKeyValue) {
      out.insert(out.end(), {"<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"});
    }
    if (block.syntax == CallSyntax::kParameter) {
      out.insert(out.end(), {"</function>", "</parameter>", "</invoke>"});
    }
  }
  out.insert(out.end(), brackets.begin(), brackets.end());
  return out;
}

std::string make_call_id(bool is_short) {
  constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string id = is_short ? "" : "call_";
  for (int i = 0; i < (is_short ? 9 : 24); ++i) id += kLetters[pick(random)];
  return id;
}

}  // namespace ramjet::text

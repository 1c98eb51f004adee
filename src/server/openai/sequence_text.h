// SequenceText: one sequence's tokens in, the text and the logprobs that may be shown out.
//
// Detokenizes, finds stop strings (holding back what could become one), and keeps each token's
// logprobs until its text is shown. One per sequence; not thread-safe; borrows the tokenizer.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/openai/output_plan.h"
#include "server/openai/request.h"
#include "text/stream/detokenizer.h"
#include "text/stream/stop_strings.h"

namespace ramjet::server {

/// null, the stop token id, or the stop string.
using StopReason = std::variant<std::monostate, int32_t, std::string>;

struct LogprobEntry {
  PositionLogprobs position;
  size_t text_offset = 0;  // in characters, of the choice's text
};

/// What became known of one choice.
struct Delta {
  int choice = 0;
  bool first = false;  // of its choice
  std::string text;
  std::string reasoning;
  std::vector<text::CallDelta> calls;
  std::vector<int32_t> ids;
  std::vector<LogprobEntry> logprobs;
  std::string finish;  // "stop", "length", "tool_calls"; empty while it goes on
  StopReason stop_reason;
};

class SequenceText {
 public:
  /// `stops`: options.stop, shared by the sequences of a request. `prompt_ids`: for the context of
  /// the first characters. `text_offset`: characters that are shown before this text (an echoed
  /// prompt).
  SequenceText(const text::Tokenizer& tokenizer, const TextOptions& options,
               std::shared_ptr<const text::StopSet> stops, std::span<const int32_t> prompt_ids,
               size_t text_offset);
  /// Makes a message of the text. Before the first push.
  void parse_by(std::shared_ptr<const OutputPlan> plan);

  /// Adds an event. After `delta.finish` is set, further events change nothing.
  void push(const RequestOutput& output, Delta& delta);
  int tokens() const { return tokens_; }
  int reasoning_tokens() const { return reasoning_tokens_; }
  bool done() const { return done_; }

 private:
  void add_token(int32_t id, Delta& delta);
  void add_text(std::string_view piece, Delta& delta);
  void show(std::string_view text, Delta& delta);
  void take(text::MessageDelta message, Delta& delta);
  void end_message(Delta& delta);
  void release_logprobs(bool all, Delta& delta);
  void finish(const RequestOutput& output, Delta& delta);

  std::shared_ptr<const text::StopSet> stops_;
  const bool include_stop_;
  text::IncrementalDetokenizer detokenizer_;
  text::StopMatcher matcher_;
  std::deque<LogprobEntry> pending_;        // of tokens whose text is held back
  size_t pushed_;                           // characters that left the detokenizer
  size_t shown_;                            // characters that left the matcher
  std::shared_ptr<const OutputPlan> plan_;  // with the generation; may be null
  std::unique_ptr<text::OutputParser> parser_;
  bool has_calls_ = false;
  int tokens_ = 0;
  int reasoning_tokens_ = 0;
  bool first_ = true;
  bool done_ = false;
};

/// Characters (code points) of valid UTF-8.
size_t count_characters(std::string_view text);

}  // namespace ramjet::server

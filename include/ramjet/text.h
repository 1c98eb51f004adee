// Text around an executor: prompts of conversations, and a sequence's ids as text.
//
//   auto prompt = chat_prompt(*engine, R"([{"role":"user","content":"Hi"}])", {});
//   auto ids = tokenize(*engine, *prompt, /*add_special_tokens=*/false);
//
// The functions may be called from any thread; a TextStream belongs to one sequence and thread.
#pragma once

#include <ramjet/engine.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ramjet {

/// Errors of all: kUnsupported if the engine has no tokenizer (or template).
Result<std::vector<int32_t>> tokenize(const Engine& engine, std::string_view text,
                                      bool add_special_tokens);

struct ChatOptions {
  std::string tools;          // a JSON array as in OpenAI's API; empty: none
  std::string kwargs;         // a JSON object of variables for the template; empty: none
  std::string chat_template;  // Jinja; empty: the model's own
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // excludes add_generation_prompt
};

/// The text of a prompt, special tokens included. `messages`: a JSON array as in OpenAI's API.
/// Errors: kInvalidArgument for JSON of another shape, and where the template refuses.
Result<std::string> chat_prompt(const Engine& engine, std::string_view messages,
                                const ChatOptions& options);

/// Id sequences that spell the words: for LogitControls::bad_words.
Result<std::vector<std::vector<int32_t>>> bad_word_ids(const Engine& engine,
                                                       std::span<const std::string> words);

struct TextStreamOptions {
  std::vector<std::string> stop;  // texts that end the sequence
  bool include_stop = false;      // they are shown
  bool skip_special = true;       // special tokens are not
};

/// Ids in, text that is final out: no piece splits a character, and what could still become a stop
/// text is held back. All pieces and finish() together are the sequence's text.
class TextStream {
 public:
  /// `prompt_ids`: for the space in front of a first word.
  static Result<std::unique_ptr<TextStream>> create(std::shared_ptr<const Engine> engine,
                                                    TextStreamOptions options,
                                                    std::span<const int32_t> prompt_ids);
  ~TextStream();
  std::string push(std::span<const int32_t> ids);
  /// The end of the sequence: what was held back.
  std::string finish();
  /// The stop text that ended it; from then on, push() gives nothing.
  const std::optional<std::string>& stopped_by() const;

 private:
  struct Impl;
  explicit TextStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What goes to stderr: "debug", "info", "warn", "error" or "off". Errors: kInvalidArgument.
Status set_log_level(std::string_view level);

}  // namespace ramjet

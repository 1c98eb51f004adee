// WireFormat: how one API family writes a generation as JSON, whole or streamed. And the pieces
// that families share.
//
// One object serves one request, called from one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/openai/generation.h"
#include "server/openai/request.h"

namespace ramjet::server {

/// What every answer says of itself.
struct AnswerHead {
  std::string id;
  std::string model;
  std::string fingerprint;
  int64_t created = 0;  // Unix seconds
};

class WireFormat {
 public:
  virtual ~WireFormat() = default;
  virtual void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) = 0;
  /// Appends server-sent events for `delta`.
  virtual void write_delta(const Delta& delta, const Usage& usage, std::string& out) = 0;
  /// Appends what ends a stream that went well, and one that failed.
  virtual void write_end(const Usage& usage, std::string& out) = 0;
  virtual void write_error(const ApiError& error, std::string& out) = 0;
  /// The answer in one piece; one delta a choice, holding all of it.
  virtual std::string whole(std::vector<Delta> choices, const Usage& usage) = 0;
  /// The same with its headers, for formats whose answer is not plain JSON.
  virtual HttpResponse whole_reply(std::vector<Delta> choices, const Usage& usage) {
    return {.body = whole(std::move(choices), usage)};
  }
  /// The answer to a request that failed before anything of it was sent.
  virtual HttpResponse error_reply(const ApiError& error) { return error_response(error); }
};

/// Both must outlive the format, the request through the pointer.
std::unique_ptr<WireFormat> make_chat_format(AnswerHead head, std::shared_ptr<ChatRequest> request,
                                             std::vector<int32_t> prompt_ids,
                                             const text::Tokenizer& tokenizer);
/// `prompt_texts`: as echoed.
std::unique_ptr<WireFormat> make_completion_format(AnswerHead head,
                                                   std::shared_ptr<CompletionRequest> request,
                                                   std::vector<std::vector<int32_t>> prompt_ids,
                                                   std::vector<std::string> prompt_texts,
                                                   const text::Tokenizer& tokenizer);

// Shared pieces.

/// A token as text: its bytes where they are UTF-8, else "bytes:\xe2\x80"; with `as_id`,
/// "token_id:12".
std::string token_label(const text::Tokenizer& tokenizer, int32_t id, bool as_id);
/// JSON knows no infinity: -inf becomes -9999.
double finite_logprob(float logprob);
nlohmann::ordered_json usage_json(const Usage& usage);
nlohmann::ordered_json stop_reason_json(const StopReason& reason);
/// [null, {"12": {"logprob", "rank", "decoded_token"}}, ...]
nlohmann::ordered_json prompt_logprobs_json(const text::Tokenizer& tokenizer,
                                            const std::vector<PositionLogprobs>& logprobs);
/// Appends `text` as a JSON string. It must be valid UTF-8.
void append_json_string(std::string_view text, std::string& out);
/// dump() that does not throw.
std::string dump(const nlohmann::ordered_json& json);

/// Writes the chunks of a stream: the constant head, one choice, the usage.
class ChunkWriter {
 public:
  ChunkWriter(const AnswerHead& head, std::string_view object, const StreamOptions& options);
  /// `choice`: the JSON of one choice. `more`: members to add, each with a comma in front.
  void write(std::string_view choice, std::string_view more, const Usage& usage,
             std::string& out) const;
  /// The last chunk with the usage, if asked for, and [DONE].
  void write_end(const Usage& usage, std::string& out) const;
  static void write_error(const ApiError& error, std::string& out);

 private:
  std::string head_;
  StreamOptions options_;
};

}  // namespace ramjet::server

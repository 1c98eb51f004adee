// KServe v2 (Open Inference Protocol) over the same completions, with Triton's extensions: binary
// tensors, generate, generate_stream, statistics, repository. docs/kserve.md has the names.
//
// Values and free functions; callable from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"
#include "server/openai/wire_format.h"

namespace ramjet::server::kserve {

inline constexpr std::string_view kVersion = "1";  // of every model

/// "org/name/versions/1/infer" taken apart.
struct Target {
  std::string model;
  std::string version;  // empty: any
  std::string action;   // "infer", "ready", ...; empty: metadata
};
Target parse_target(std::string_view rest);

/// An output that a client names.
struct WantedOutput {
  std::string name;
  bool binary = false;
};

/// How an answer is to be told.
struct AnswerForm {
  std::string model;
  std::string id;                     // the client's, echoed
  bool tensors = false;               // infer; else generate
  std::vector<WantedOutput> outputs;  // of infer; empty: all that there are
  bool binary = false;                // infer without named outputs
  bool finish_reason = false;
  bool log_probs = false;
  bool counts = false;
};

/// The body of an infer request as one of /v1/completions, and how to answer. Errors name the
/// tensor.
std::optional<ApiError> read_infer(const HttpRequest& request, nlohmann::ordered_json& completion,
                                   AnswerForm& form);
/// Likewise of generate and generate_stream.
std::optional<ApiError> read_generate(std::string_view body, bool stream,
                                      nlohmann::ordered_json& completion, AnswerForm& form);
/// Fields in the words of Triton's backends (max_tokens, stop_words, random_seed, ...) as those of
/// /v1/completions; what is not known goes on as it is.
std::optional<ApiError> to_completion(const nlohmann::ordered_json& fields,
                                      nlohmann::ordered_json& completion, AnswerForm& form);

/// Inputs and outputs of every model: [{"name","datatype","shape"}].
nlohmann::ordered_json input_specs();
nlohmann::ordered_json output_specs();

/// What the statistics extension counts. Thread-safe.
struct Statistics {
  std::atomic<uint64_t> success{0}, success_ns{0}, fail{0}, fail_ns{0}, last_ms{0};
};

struct FormatParts {
  AnswerForm form;
  std::vector<std::string> prompts;  // shown in front of the texts; empty strings for none
  int sequences = 1;                 // of each prompt
  std::shared_ptr<Statistics> statistics;
  double start_s = 0;
};
std::unique_ptr<WireFormat> make_format(FormatParts parts);

/// {"error": MESSAGE}
HttpResponse error_reply(const ApiError& error);

}  // namespace ramjet::server::kserve
